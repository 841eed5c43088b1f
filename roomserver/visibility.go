package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// visibility is a room's history visibility.
//
// Spec: client-server-api/#room-history-visibility
type visibility int

const (
	shared visibility = iota // also where none is set, or one that is not understood
	worldReadable
	invited
	joined
)

// visibilityOf is what an m.room.history_visibility event says; nil is none.
func visibilityOf(e *storage.Event) visibility {
	if e == nil {
		return shared
	}
	value, _ := event.Value(e.PDU.Content()).Get("history_visibility").Str()
	switch value {
	case "world_readable":
		return worldReadable
	case "invited":
		return invited
	case "joined":
		return joined
	}
	return shared
}

// visibilityAt is the history visibility in a state.
func (s *Server) visibilityAt(ctx context.Context, info *storage.RoomInfo, root state.Root) (visibility, error) {
	found, err := s.stateEvents(ctx, info, root, []event.Key{{Type: typeHistoryVisibility}})
	if err != nil {
		return shared, err
	}
	return visibilityOf(found[0]), nil
}

// Visible says which events of a room a user may see. An event of another
// room must not be among them.
//
// Spec: client-server-api/#server-behaviour-5
func (s *Server) Visible(ctx context.Context, info *storage.RoomInfo, user id.UserID, events []*storage.Event) ([]bool, error) {
	if len(events) == 0 {
		return nil, nil
	}
	v, err := s.Viewer(ctx, info, user)
	if err != nil {
		return nil, err
	}
	return s.VisibleTo(ctx, info, v, events)
}

// VisibleTo is Visible for a viewer who is known. For members of rooms whose
// history is shared it reads nothing but the state map, which is in memory for
// the events of late.
func (s *Server) VisibleTo(ctx context.Context, info *storage.RoomInfo, v Viewer, events []*storage.Event) ([]bool, error) {
	l := look{server: s, ctx: ctx, info: info, viewer: v}
	out := make([]bool, len(events))
	for i, e := range events {
		var err error
		if out[i], err = l.sees(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// look is one viewer's look at a number of events.
type look struct {
	server *Server
	ctx    context.Context
	info   *storage.RoomInfo
	viewer Viewer

	last *scene // of the event looked at last
	past map[state.Root]*scene
}

// scene is what the state at an event says about who may see it.
type scene struct {
	root       state.Root
	visibility visibility
	membership string
	memberRead bool
}

// rootOf is the state at an event: before it, or where only that after it is
// known, after it.
func rootOf(e *storage.Event) state.Root {
	if e.Before == storage.UnknownRoot {
		return e.After
	}
	return e.Before
}

func (l *look) sees(e *storage.Event) (bool, error) {
	if e.Status != storage.Accepted {
		return false, nil
	}
	at, err := l.scene(rootOf(e))
	if err != nil || at == nil {
		return false, err // where the state is not known, nobody sees
	}
	visible := at.visibility
	if ok, err := l.allows(e, at, visible); ok || err != nil {
		return ok, err
	}
	switch {
	case e.PDU.IsState(typeHistoryVisibility, ""):
		// It is seen if what was before it, or what it sets, lets it be seen.
		return l.allows(e, at, visibilityOf(e))
	case e.PDU.IsState(typeMember, string(l.viewer.User)) && l.viewer.User != "":
		// Likewise the user's own membership.
		after := e.PDU.Membership()
		return after == "join" || visible == invited && after == "invite", nil
	}
	return false, nil
}

// allows applies the rules in their order.
func (l *look) allows(e *storage.Event, at *scene, v visibility) (bool, error) {
	switch {
	case v == worldReadable:
		return true, nil
	case v == shared && l.viewer.outlived(e):
		return true, nil
	case l.viewer.User == "":
		return false, nil
	}
	membership, err := l.membership(at)
	if err != nil {
		return false, err
	}
	switch membership {
	case "join":
		return !l.ended(e), nil
	case "invite":
		return v == invited, nil
	}
	return false, nil
}

// ended reports whether an event came after the user had left: on a fork that
// did not know it yet, the user is still a member.
func (l *look) ended(e *storage.Event) bool {
	v := &l.viewer
	return !v.Joined && v.Left != nil && e.Pos > v.LeftAt
}

// scene reads what the state at root says; nil when the state is not known.
func (l *look) scene(root state.Root) (*scene, error) {
	if root == storage.UnknownRoot {
		return nil, nil
	}
	if l.last != nil && l.last.root == root {
		return l.last, nil
	}
	if at := l.past[root]; at != nil {
		l.last = at
		return at, nil
	}
	visible, err := l.server.visibilityAt(l.ctx, l.info, root)
	if err != nil {
		return nil, err
	}
	if l.last != nil {
		if l.past == nil {
			l.past = map[state.Root]*scene{}
		}
		l.past[l.last.root] = l.last
	}
	l.last = &scene{root: root, visibility: visible}
	return l.last, nil
}

// membership is the viewer's in a scene.
func (l *look) membership(at *scene) (string, error) {
	if at.memberRead {
		return at.membership, nil
	}
	found, err := l.server.stateEvents(l.ctx, l.info, at.root, []event.Key{{Type: typeMember, StateKey: string(l.viewer.User)}})
	if err != nil {
		return "", err
	}
	at.memberRead = true
	if found[0] != nil {
		at.membership = found[0].PDU.Membership()
	}
	return at.membership, nil
}

// Memberships are a user's memberships of a room at events of it: after an
// event that changes it. Empty is what is not known, or never was one.
func (s *Server) Memberships(ctx context.Context, info *storage.RoomInfo, user id.UserID, events []*storage.Event) ([]string, error) {
	l := look{server: s, ctx: ctx, info: info, viewer: Viewer{User: user}, past: map[state.Root]*scene{}}
	out := make([]string, len(events))
	for i, e := range events {
		if e.PDU.IsState(typeMember, string(user)) {
			out[i] = e.PDU.Membership()
			continue
		}
		root := rootOf(e)
		if root == storage.UnknownRoot {
			continue
		}
		at := l.past[root]
		if at == nil {
			at = &scene{root: root}
			l.past[root] = at
		}
		var err error
		if out[i], err = l.membership(at); err != nil {
			return nil, err
		}
	}
	return out, nil
}
