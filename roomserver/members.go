package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// StateOfType reads those events of the state at a root that are of one type.
func (s *Server) StateOfType(ctx context.Context, info *storage.RoomInfo, root state.Root, typ string) ([]*storage.Event, error) {
	keys, err := s.db.Latest().KeysOfType(ctx, info.NID, typ)
	if err != nil {
		return nil, err
	}
	nums := make([]state.KeyNum, 0, len(keys))
	for num := range keys {
		nums = append(nums, num)
	}
	held, err := s.states.Room(int64(info.NID)).GetMany(ctx, root, nums)
	if err != nil {
		return nil, err
	}
	nids := held[:0]
	for _, nid := range held {
		if nid != 0 {
			nids = append(nids, nid)
		}
	}
	return s.eventsOf(ctx, info, nids)
}

// Joined reads the membership events of a room's joined members.
func (s *Server) Joined(ctx context.Context, info *storage.RoomInfo) ([]*storage.Event, error) {
	members, err := s.db.Latest().Members(ctx, info.NID, storage.Join)
	if err != nil {
		return nil, err
	}
	nids := make([]event.NID, len(members))
	for i, m := range members {
		nids[i] = m.Event
	}
	return s.eventsOf(ctx, info, nids)
}

// JoinedRooms lists the rooms that a local user has joined.
//
// Spec: client-server-api/#get_matrixclientv3joined_rooms
func (s *Server) JoinedRooms(ctx context.Context, user id.UserID) ([]id.RoomID, error) {
	members, err := s.db.Latest().UserRooms(ctx, user, storage.Join)
	if err != nil {
		return nil, err
	}
	out := make([]id.RoomID, len(members))
	for i, m := range members {
		info, err := s.InfoOf(ctx, m.Room)
		if err != nil {
			return nil, err
		}
		out[i] = info.ID
	}
	return out, nil
}

// RootBefore is the state of a room at a point of it, for a viewer who may
// read the state at root: what that viewer is shown if the point is given. ok
// is false where there was no state yet.
func (s *Server) RootBefore(ctx context.Context, info *storage.RoomInfo, v Viewer, p Point) (root state.Root, ok bool, err error) {
	if p.IsLive() {
		pos := p.Pos - 1
		if !v.Joined && v.Left != nil {
			pos = min(pos, v.LeftAt)
		}
		root, err = s.db.Latest().RootAt(ctx, info.NID, pos)
		return root, root != 0, err
	}
	page, err := s.History(ctx, info, v, HistoryRequest{From: p, Limit: 1})
	if err != nil || len(page.Events) == 0 {
		return 0, false, err
	}
	root = page.Events[0].After
	return root, root != storage.UnknownRoot, nil
}
