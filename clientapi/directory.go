package clientapi

import (
	"context"
	"encoding/json"
	"math"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"

	"maunium.net/go/mautrix/id"
)

// getAlias finds the room of an alias. Whoever has no token learns about our
// aliases only, so that strangers cannot make us call other servers.
func (s *Server) getAlias(ctx context.Context, c *web.Call) (any, error) {
	alias, err := c.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	find := s.rooms.ResolveAlias
	if c.User() == "" {
		find = s.rooms.LocalAlias
	}
	found, err := find(ctx, alias)
	return struct {
		RoomID  id.RoomID `json:"room_id"`
		Servers []string  `json:"servers"`
	}{found.Room, found.Servers}, err
}

func (s *Server) putAlias(ctx context.Context, c *web.Call) (any, error) {
	alias, err := c.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	var body roomAnswer
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if !web.ValidRoomID(string(body.RoomID)) {
		return nil, fault.New(fault.InvalidParam, "room_id is not a room ID")
	}
	return web.Empty, s.rooms.AddAlias(ctx, c.User(), alias, body.RoomID)
}

func (s *Server) deleteAlias(ctx context.Context, c *web.Call) (any, error) {
	alias, err := c.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	return web.Empty, s.rooms.RemoveAlias(ctx, c.User(), c.Principal().Admin, alias)
}

// getAliases lists the local aliases of a room.
func (s *Server) getAliases(ctx context.Context, c *web.Call) (any, error) {
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	aliases, err := s.rooms.Aliases(ctx, v.info)
	return map[string][]id.RoomAlias{"aliases": aliases}, err
}

// listing says whether a room is in the directory.
type listing struct {
	Visibility string `json:"visibility"`
}

// getListing says whether a room is in the directory. One that is not is shown
// to its members only.
func (s *Server) getListing(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	published, err := s.rooms.Published(ctx, room)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if published {
		return listing{"public"}, nil
	}
	if _, err := s.lookAt(ctx, c, room); err != nil {
		if fault.Is(err, fault.Forbidden) {
			err = fault.New(fault.NotFound, "There is no such room in the directory")
		}
		return nil, err
	}
	return listing{"private"}, nil
}

func (s *Server) putListing(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	body := listing{"public"}
	if err := c.DecodeOptional(&body); err != nil {
		return nil, err
	}
	if body.Visibility != "public" && body.Visibility != "private" {
		return nil, fault.New(fault.InvalidParam, "visibility is public or private")
	}
	if body.Visibility == "public" {
		if err := s.mayList(c); err != nil {
			return nil, err
		}
	}
	err = s.rooms.Publish(ctx, c.User(), c.Principal().Admin, room, body.Visibility == "public")
	return web.Empty, hideRoom(c, err)
}

// mayList refuses callers whom the server does not let list rooms in its
// directory.
func (s *Server) mayList(c *web.Call) error {
	d := s.opts.Directory
	if d.Frozen || d.Closed && !c.Principal().Admin {
		return fault.New(fault.Forbidden, "You may not list rooms in this server's directory")
	}
	return nil
}

// publicRoomsBody asks for a page of a directory.
type publicRoomsBody struct {
	Limit      *int            `json:"limit"`
	Since      string          `json:"since"`
	Filter     json.RawMessage `json:"filter"`
	AllNets    bool            `json:"include_all_networks"`
	ThirdParty string          `json:"third_party_instance_id"`
}

// getPublicRooms lists the directory, of this server or of another.
func (s *Server) getPublicRooms(ctx context.Context, c *web.Call) (any, error) {
	limit, err := c.QueryInt("limit", 0, 0, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	n := int(limit)
	return s.publicRooms(ctx, c, publicRoomsBody{Limit: &n, Since: c.QueryString("since")})
}

// postPublicRooms lists the directory with a filter.
func (s *Server) postPublicRooms(ctx context.Context, c *web.Call) (any, error) {
	var body publicRoomsBody
	if err := c.DecodeOptional(&body); err != nil {
		return nil, err
	}
	return s.publicRooms(ctx, c, body)
}

func (s *Server) publicRooms(ctx context.Context, c *web.Call, body publicRoomsBody) (any, error) {
	if c.User() == "" && !s.opts.Directory.Anonymous {
		return nil, fault.New(fault.MissingToken, "This server's directory is for its users only")
	}
	limit := 0
	if body.Limit != nil && *body.Limit > 0 {
		limit = *body.Limit
	}
	if server := c.QueryString("server"); server != "" && server != s.rooms.Name() {
		if c.User() == "" {
			return nil, fault.New(fault.MissingToken, "Directories of other servers are for our users only")
		}
		if !web.ValidServerName(server) {
			return nil, fault.New(fault.InvalidParam, "server is not a server name")
		}
		return s.rooms.PublicRoomsOf(ctx, server, client.PublicRoomsRequest{
			Limit: limit, Since: body.Since, Filter: body.Filter, IncludeAllNetworks: body.AllNets, ThirdPartyInstanceID: body.ThirdParty,
		})
	}
	req := roomserver.DirectoryRequest{Limit: limit, Since: body.Since}
	if err := req.ReadFilter(body.Filter); err != nil {
		return nil, err
	}
	return s.rooms.PublicRooms(ctx, req)
}
