package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"
)

// Redacted are the events that the commit redacted, as they are now.
func (c *Committed) Redacted() []*storage.Event { return c.redacted }

// StateDiff lists what differs between two states of a room: A is a's event,
// B is b's.
func (s *Server) StateDiff(ctx context.Context, info *storage.RoomInfo, a, b state.Root) ([]state.Difference, error) {
	var out []state.Difference
	for d, err := range s.states.Room(int64(info.NID)).Diff(ctx, a, b) {
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// StateOf reads events of the state at a root by the numbers of their keys,
// parallel to them; nil where there is none.
func (s *Server) StateOf(ctx context.Context, info *storage.RoomInfo, root state.Root, keys []state.KeyNum) ([]*storage.Event, error) {
	nids, err := s.states.Room(int64(info.NID)).GetMany(ctx, root, keys)
	if err != nil {
		return nil, err
	}
	held := make([]event.NID, 0, len(nids))
	for _, nid := range nids {
		if nid != 0 {
			held = append(held, nid)
		}
	}
	found, err := s.eventsOf(ctx, info, held)
	if err != nil {
		return nil, err
	}
	out, next := make([]*storage.Event, len(keys)), 0
	for i, nid := range nids {
		if nid != 0 {
			out[i], next = found[next], next+1
		}
	}
	return out, nil
}
