package roomserver

import (
	"context"
	"slices"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Exposure says what of an event another server may have.
type Exposure int

// The exposures.
const (
	// Withheld: nothing. The event is not to be mentioned.
	Withheld Exposure = iota
	// Redacted: the redacted form, which keeps the graph and the state whole
	// for a server that is in the room.
	Redacted
	// Whole: all of it.
	Whole
)

// VisibleToServer says what of a room's events a server may have, for
// answering backfill, get_missing_events and event. An event whose content its
// users may not see goes out redacted to a server in the room, and not at all
// to another.
//
// Spec: client-server-api/#server-behaviour-5, server-server-api/#backfilling-and-retrieving-missing-events
func (s *Server) VisibleToServer(ctx context.Context, info *storage.RoomInfo, server string, events []*storage.Event) ([]Exposure, error) {
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	l := &serverLook{server: s, ctx: ctx, info: info, name: server, inRoom: h != nil && h.Destinations.Has(server), scenes: map[state.Root]*serverScene{}}
	out := make([]Exposure, len(events))
	for i, e := range events {
		if out[i], err = l.exposure(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// serverLook is one server's look at a number of events.
type serverLook struct {
	server *Server
	ctx    context.Context
	info   *storage.RoomInfo
	name   string
	inRoom bool

	scenes map[state.Root]*serverScene
	users  []id.UserID // of the server, who were ever in the room; those in it first
	read   bool        // users were read
}

// serverScene is what the state at an event says about a server's users.
type serverScene struct {
	root       state.Root
	visibility visibility
	best       storage.Membership // join, invite, or leave for anything else
	bestRead   bool
}

func (l *serverLook) exposure(e *storage.Event) (Exposure, error) {
	if e.Status == storage.Rejected || e.Status == storage.Outlier {
		return Withheld, nil
	}
	if event.ServerOf(e.PDU.Sender()) == l.name {
		return Whole, nil
	}
	if key, ok := e.PDU.StateKey(); ok && e.PDU.Type() == typeMember && event.ServerOf(id.UserID(key)) == l.name {
		return Whole, nil
	}
	hidden := Withheld
	if l.inRoom {
		hidden = Redacted
	}
	root := rootOf(e)
	if root == storage.UnknownRoot {
		return hidden, nil
	}
	at, err := l.scene(root)
	if err != nil {
		return Withheld, err
	}
	visible, err := l.allows(at, at.visibility)
	if err == nil && !visible && e.PDU.IsState(typeHistoryVisibility, "") {
		visible, err = l.allows(at, visibilityOf(e))
	}
	if err != nil || !visible {
		return hidden, err
	}
	return Whole, nil
}

// allows reports whether some user of the server could see the event.
func (l *serverLook) allows(at *serverScene, v visibility) (bool, error) {
	if v == worldReadable || v == shared && l.inRoom {
		return true, nil
	}
	best, err := l.best(at)
	return best == storage.Join || best == storage.Invite && v == invited, err
}

func (l *serverLook) scene(root state.Root) (*serverScene, error) {
	if at := l.scenes[root]; at != nil {
		return at, nil
	}
	visible, err := l.server.visibilityAt(l.ctx, l.info, root)
	if err != nil {
		return nil, err
	}
	at := &serverScene{root: root, visibility: visible}
	l.scenes[root] = at
	return at, nil
}

// best is the strongest membership that a user of the server has in a scene.
func (l *serverLook) best(at *serverScene) (storage.Membership, error) {
	if at.bestRead {
		return at.best, nil
	}
	var err error
	at.best, err = l.bestAt(at.root)
	at.bestRead = err == nil
	return at.best, err
}

// usersAtOnce is how many memberships are read at once; mostly the first one
// settles it.
const usersAtOnce = 32

// bestAt looks through the memberships of the server's users.
func (l *serverLook) bestAt(root state.Root) (storage.Membership, error) {
	if !l.read {
		users, err := l.server.db.Latest().MembersOf(l.ctx, l.info.NID, l.name)
		if err != nil {
			return 0, err
		}
		l.users, l.read = users, true
	}
	best := storage.Leave
	for chunk := range slices.Chunk(l.users, usersAtOnce) {
		keys := make([]event.Key, len(chunk))
		for i, user := range chunk {
			keys[i] = event.Key{Type: typeMember, StateKey: string(user)}
		}
		found, err := l.server.stateEvents(l.ctx, l.info, root, keys)
		if err != nil {
			return 0, err
		}
		for _, e := range found {
			switch membershipOf(e) {
			case storage.Join:
				return storage.Join, nil
			case storage.Invite:
				best = storage.Invite
			}
		}
	}
	return best, nil
}
