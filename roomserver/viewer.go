package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Viewer is a user who looks at a room: what decides what they may see of it,
// apart from the state at each event.
type Viewer struct {
	// User is empty for nobody in particular: who has forgotten a room looks
	// at it like that.
	User id.UserID
	// Joined: the user is a member.
	Joined bool
	// Left is the event that ended the user's last membership; nil when there
	// was none, and when it goes on.
	Left *storage.Event
	// LeftAt is when that was, by the current state.
	LeftAt storage.Position
}

// memberChanges bounds how far back the end of a membership is looked for.
const memberChanges = 200

// Viewer finds out how a user stands to a room.
func (s *Server) Viewer(ctx context.Context, info *storage.RoomInfo, user id.UserID) (Viewer, error) {
	if user == "" {
		return Viewer{}, nil
	}
	v := Viewer{User: user}
	m, err := s.db.Latest().Member(ctx, info.NID, user)
	if err != nil || m == nil {
		return v, err
	}
	if m.Forgotten {
		return Viewer{}, nil
	}
	if v.Joined = m.Membership == storage.Join; v.Joined {
		return v, nil
	}
	// What holds now may have followed the end of the membership: an invite, a
	// ban. Each change names the one that it replaced.
	pos := m.Pos
	next, err := s.memberEvent(ctx, info, m.Event)
	for range memberChanges {
		if err != nil || next == nil {
			return v, err
		}
		var before *storage.Event
		if before, err = s.memberEvent(ctx, info, next.Replaces); err != nil || before == nil {
			return v, err
		}
		if before.PDU.Membership() == "join" {
			v.Left, v.LeftAt = next, pos
			return v, nil
		}
		next, pos = before, before.Pos
		if pos == 0 {
			pos = m.Pos // it was told to us while we were not in the room
		}
	}
	return v, nil
}

// memberEvent is an event by number; nil when the number is none, or names an
// event that is not stored with the room's.
func (s *Server) memberEvent(ctx context.Context, info *storage.RoomInfo, nid event.NID) (*storage.Event, error) {
	if nid == 0 {
		return nil, nil
	}
	if e := s.events.get(info.NID, nid); e != nil {
		return e, nil
	}
	found, err := s.db.Latest().Events(ctx, info, []event.NID{nid})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// outlived reports whether the user joined at any point after the event, as
// far as this server can tell. Events from before this server's time have no
// position; their depth tells.
func (v *Viewer) outlived(e *storage.Event) bool {
	switch {
	case v.Joined:
		return true
	case v.Left == nil:
		return false
	case e.Pos != 0:
		return e.Pos < v.LeftAt
	}
	return e.PDU.Depth() < v.Left.PDU.Depth()
}

// Root is the state that the viewer may read: the current one of a member, and
// of everybody where the room is world-readable, and the state at leaving of
// those who left. ok is false when there is none.
//
// Spec: client-server-api/#get_matrixclientv3roomsroomidstate
func (s *Server) Root(ctx context.Context, info *storage.RoomInfo, v Viewer) (root state.Root, ok bool, err error) {
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err != nil || h == nil {
		return 0, false, err
	}
	if v.Joined {
		return h.Root, true, nil
	}
	visible, err := s.visibilityAt(ctx, info, h.Root)
	if err != nil || visible == worldReadable {
		return h.Root, err == nil, err
	}
	if v.Left == nil {
		return 0, false, nil
	}
	root, err = s.db.Latest().RootAt(ctx, info.NID, v.LeftAt)
	return root, root != 0, err
}
