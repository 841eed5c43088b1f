package clientapi

import (
	"context"
	"encoding/json"
	"slices"

	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

var memberships = []string{"join", "invite", "knock", "leave", "ban"}

// getMembers lists the members of a room, now or at a point of it.
func (s *Server) getMembers(ctx context.Context, c *web.Call) (any, error) {
	with, err := c.QueryEnum("membership", "", memberships...)
	if err != nil {
		return nil, err
	}
	without, err := c.QueryEnum("not_membership", "", memberships...)
	if err != nil {
		return nil, err
	}
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	root := v.root
	if at := c.QueryString("at"); at != "" {
		p, err := s.point(ctx, v.info, at)
		if err != nil {
			return nil, err
		}
		past, ok, err := s.rooms.RootBefore(ctx, v.info, v.viewer, p)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, roomserver.NotInRoom(c.User())
		}
		root = past
	}
	events, err := s.rooms.StateOfType(ctx, v.info, root, typeMember)
	if err != nil {
		return nil, err
	}
	events = slices.DeleteFunc(events, func(e *storage.Event) bool {
		membership := e.PDU.Membership()
		return with != "" && membership != with || without != "" && membership == without
	})
	chunk, err := s.list(ctx, v, events)
	return struct {
		Chunk json.RawMessage `json:"chunk"`
	}{chunk}, err
}

// roomMember is what joined_members says of a user.
type roomMember struct {
	DisplayName string `json:"display_name,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// getJoinedMembers lists the joined members of a room that the caller is in.
func (s *Server) getJoinedMembers(ctx context.Context, c *web.Call) (any, error) {
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	if !v.viewer.Joined {
		return nil, roomserver.NotInRoom(c.User())
	}
	events, err := s.rooms.Joined(ctx, v.info)
	if err != nil {
		return nil, err
	}
	joined := make(map[id.UserID]roomMember, len(events))
	for _, e := range events {
		user, ok := e.PDU.StateKey()
		if !ok {
			return nil, fault.New(fault.Internal, "Event %s is no membership", e.PDU.ID())
		}
		var m roomMember
		content := event.Value(e.PDU.Content())
		m.DisplayName, _ = content.Get("displayname").Str()
		m.AvatarURL, _ = content.Get("avatar_url").Str()
		joined[id.UserID(user)] = m
	}
	return map[string]any{"joined": joined}, nil
}
