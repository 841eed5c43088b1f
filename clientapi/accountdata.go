package clientapi

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"entente/internal/web"
)

// ownRoom is the room in the path of a call about the caller's own things.
func ownRoom(c *web.Call) (id.RoomID, error) {
	if err := c.OwnPath("userId"); err != nil {
		return "", err
	}
	return c.RoomID("roomId")
}

func (s *Server) getAccountData(ctx context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	return s.readAccountData(ctx, c, "")
}

func (s *Server) getRoomAccountData(ctx context.Context, c *web.Call) (any, error) {
	room, err := ownRoom(c)
	if err != nil {
		return nil, err
	}
	return s.readAccountData(ctx, c, room)
}

func (s *Server) readAccountData(ctx context.Context, c *web.Call, room id.RoomID) (any, error) {
	content, err := s.accounts.AccountData(ctx, c.User(), room, c.Path("type"))
	if err != nil {
		return nil, err
	}
	return web.Raw(content), nil
}

func (s *Server) putAccountData(ctx context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	return s.writeAccountData(ctx, c, "")
}

func (s *Server) putRoomAccountData(ctx context.Context, c *web.Call) (any, error) {
	room, err := ownRoom(c)
	if err != nil {
		return nil, err
	}
	return s.writeAccountData(ctx, c, room)
}

func (s *Server) writeAccountData(ctx context.Context, c *web.Call, room id.RoomID) (any, error) {
	content, err := c.JSON()
	if err != nil {
		return nil, err
	}
	return web.Empty, s.accounts.SetAccountData(ctx, c.User(), room, c.Path("type"), content)
}

// getTags lists the caller's tags of a room.
//
// Spec: client-server-api/#room-tagging
func (s *Server) getTags(ctx context.Context, c *web.Call) (any, error) {
	room, err := ownRoom(c)
	if err != nil {
		return nil, err
	}
	tags, err := s.accounts.Tags(ctx, c.User(), room)
	return map[string]map[string]json.RawMessage{"tags": tags}, err
}

func (s *Server) putTag(ctx context.Context, c *web.Call) (any, error) {
	room, err := ownRoom(c)
	if err != nil {
		return nil, err
	}
	var form struct {
		Order *float64 `json:"order"`
	}
	if err := c.Decode(&form); err != nil {
		return nil, err
	}
	return web.Empty, s.accounts.SetTag(ctx, c.User(), room, c.Path("tag"), c.Body())
}

func (s *Server) deleteTag(ctx context.Context, c *web.Call) (any, error) {
	room, err := ownRoom(c)
	if err != nil {
		return nil, err
	}
	return web.Empty, s.accounts.DeleteTag(ctx, c.User(), room, c.Path("tag"))
}

func (s *Server) postFilter(ctx context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	body, err := c.JSON()
	if err != nil {
		return nil, err
	}
	filter, err := s.accounts.PutFilter(ctx, c.User(), body)
	return map[string]string{"filter_id": filter}, err
}

func (s *Server) getFilter(ctx context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	body, err := s.accounts.Filter(ctx, c.User(), c.Path("filterId"))
	return web.Raw(body), err
}
