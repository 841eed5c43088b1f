package clientapi

import (
	"bytes"
	"context"

	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	typeMember         = "m.room.member"
	typeCanonicalAlias = "m.room.canonical_alias"
)

// getState reads the whole state: now for members, at leaving for those who
// left.
func (s *Server) getState(ctx context.Context, c *web.Call) (any, error) {
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	events, err := s.rooms.FullState(ctx, v.info, v.root)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, v, events)
}

// getStateEvent reads one piece of state: its content, or with format=event
// the whole event.
func (s *Server) getStateEvent(ctx context.Context, c *web.Call) (any, error) {
	format, err := c.QueryEnum("format", "content", "content", "event")
	if err != nil {
		return nil, err
	}
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	key := event.Key{Type: c.Path("eventType"), StateKey: c.Path("stateKey")}
	found, err := s.rooms.StateEvents(ctx, v.info, v.root, []event.Key{key})
	if err != nil {
		return nil, err
	}
	switch {
	case found[0] == nil:
		return nil, fault.New(fault.NotFound, "The room has no such state")
	case format == "content":
		return found[0].PDU.Content(), nil
	}
	body, err := s.render.AppendOne(ctx, nil, v.info, v.to(), found[0])
	return web.Raw(body), err
}

// putStateEvent sets a piece of state.
func (s *Server) putStateEvent(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	content, err := c.JSON()
	if err != nil {
		return nil, err
	}
	typ, stateKey := c.Path("eventType"), c.Path("stateKey")
	switch typ {
	case typeMember:
		if err := s.putMember(ctx, c, room, id.UserID(stateKey)); err != nil {
			return nil, hideRoom(c, err)
		}
		return s.memberEvent(ctx, room, stateKey)
	case typeCanonicalAlias:
		if err := s.checkCanonicalAlias(ctx, c, room); err != nil {
			return nil, err
		}
	}
	sent, err := s.rooms.Send(ctx, roomserver.SendRequest{Room: room, Draft: roomserver.Draft{
		Type: typ, StateKey: &stateKey, Sender: c.User(), Content: bytes.TrimSpace(content),
	}})
	return eventAnswer{sent.EventID}, hideRoom(c, err)
}

// memberEvent names the event of a user's current membership.
func (s *Server) memberEvent(ctx context.Context, room id.RoomID, user string) (any, error) {
	info, err := s.rooms.Info(ctx, room)
	if err != nil {
		return nil, err
	}
	root, err := s.rooms.CurrentRoot(ctx, info)
	if err != nil {
		return nil, err
	}
	found, err := s.rooms.StateEvents(ctx, info, root, []event.Key{{Type: typeMember, StateKey: user}})
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, fault.New(fault.NotFound, "The membership was not kept")
	}
	return eventAnswer{found[0].PDU.ID()}, nil
}

// maxAliases bounds the alternative aliases that are looked up for one event.
const maxAliases = 50

// checkCanonicalAlias refuses aliases that do not point to the room. Those
// that the event names already are let be.
//
// Spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
func (s *Server) checkCanonicalAlias(ctx context.Context, c *web.Call, room id.RoomID) error {
	var said struct {
		Alias *id.RoomAlias  `json:"alias"`
		Alt   []id.RoomAlias `json:"alt_aliases"`
	}
	if err := c.Decode(&said); err != nil {
		return err
	}
	v, err := s.lookAt(ctx, c, room)
	if err != nil {
		return err
	}
	found, err := s.rooms.StateEvents(ctx, v.info, v.root, []event.Key{{Type: typeCanonicalAlias}})
	if err != nil {
		return err
	}
	known := namedAliases(found[0])
	if said.Alias != nil && *said.Alias != "" {
		said.Alt = append(said.Alt, *said.Alias)
	}
	if len(said.Alt) > maxAliases {
		return fault.New(fault.InvalidParam, "A room has at most %d aliases", maxAliases)
	}
	for _, alias := range said.Alt {
		if known[alias] {
			continue
		}
		if !web.ValidRoomAlias(string(alias)) {
			return fault.New(fault.InvalidParam, "%q is not a room alias", alias)
		}
		target, err := s.rooms.ResolveAlias(ctx, alias)
		if err != nil || target.Room != room {
			return fault.Wrap(err, fault.BadAlias, "The alias %s does not point to this room", alias)
		}
	}
	return nil
}

// namedAliases are the aliases that an m.room.canonical_alias event names.
func namedAliases(e *storage.Event) map[id.RoomAlias]bool {
	out := map[id.RoomAlias]bool{}
	if e == nil {
		return out
	}
	content := event.Value(e.PDU.Content())
	if alias, ok := content.Get("alias").Str(); ok {
		out[id.RoomAlias(alias)] = true
	}
	for v := range content.Get("alt_aliases").Elements() {
		if alias, ok := v.Str(); ok {
			out[id.RoomAlias(alias)] = true
		}
	}
	return out
}
