package inbound

import (
	"context"
	"encoding/json"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// getDirectory answers what an alias of ours stands for.
func (s *Server) getDirectory(ctx context.Context, c *web.Call) (any, error) {
	text, err := c.QueryRequired("room_alias")
	if err != nil {
		return nil, err
	}
	alias := id.RoomAlias(text)
	if !event.ValidRoomAlias(alias) {
		return nil, fault.New(fault.InvalidParam, "room_alias is not a room alias")
	}
	target, err := s.rooms.LocalAlias(ctx, alias)
	if err != nil {
		return nil, err
	}
	return client.DirectoryAnswer{RoomID: target.Room, Servers: target.Servers}, nil
}

// getProfile answers the profile of one of our users.
func (s *Server) getProfile(ctx context.Context, c *web.Call) (any, error) {
	text, err := c.QueryRequired("user_id")
	if err != nil {
		return nil, err
	}
	user := id.UserID(text)
	if !event.ValidUserID(user) {
		return nil, fault.New(fault.InvalidParam, "user_id is not a user ID")
	}
	if s.o.Profile == nil || !s.rooms.Local(user) {
		return nil, fault.New(fault.NotFound, "There is no such user")
	}
	profile, err := s.o.Profile(ctx, user, c.QueryString("field"))
	if err != nil {
		return nil, err
	}
	if profile == nil {
		profile = map[string]json.RawMessage{}
	}
	return profile, nil
}

// getPublicRooms answers a page of our published rooms.
func (s *Server) getPublicRooms(ctx context.Context, c *web.Call) (any, error) {
	limit, err := c.QueryInt("limit", 0, 0, maxTimestamp)
	if err != nil {
		return nil, err
	}
	return s.publicRooms(ctx, client.PublicRoomsRequest{
		Limit: int(limit), Since: c.QueryString("since"), ThirdPartyInstanceID: c.QueryString("third_party_instance_id"),
	})
}

// postPublicRooms answers a page of those of our published rooms that a filter
// lets through.
func (s *Server) postPublicRooms(ctx context.Context, c *web.Call) (any, error) {
	var q client.PublicRoomsRequest
	if err := c.Decode(&q); err != nil {
		return nil, err
	}
	if q.Limit < 0 {
		return nil, fault.New(fault.InvalidParam, "limit is not negative")
	}
	return s.publicRooms(ctx, q)
}

func (s *Server) publicRooms(ctx context.Context, q client.PublicRoomsRequest) (any, error) {
	if s.o.HideDirectory {
		return nil, fault.New(fault.Forbidden, "This server does not show its published rooms to other servers")
	}
	req := roomserver.DirectoryRequest{Limit: q.Limit, Since: q.Since}
	if err := req.ReadFilter(q.Filter); err != nil {
		return nil, err
	}
	return s.rooms.PublicRooms(ctx, req)
}
