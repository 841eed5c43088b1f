package roomserver

import (
	"context"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Events finds events of a room by number, in the order asked. One that is
// missing is an error. Nothing is checked of who may see them.
func (s *Server) Events(ctx context.Context, info *storage.RoomInfo, nids []event.NID) ([]*storage.Event, error) {
	return s.eventsOf(ctx, info, nids)
}

// EventsByID finds those events of a room that this server has, by ID. An
// event of another room is not found. Nothing is checked of who may see them.
func (s *Server) EventsByID(ctx context.Context, info *storage.RoomInfo, ids []id.EventID) (map[id.EventID]*storage.Event, error) {
	return s.eventsByID(ctx, info, ids)
}

// StateEvents reads events of the state at a root, parallel to keys; nil where
// there is none.
func (s *Server) StateEvents(ctx context.Context, info *storage.RoomInfo, root state.Root, keys []event.Key) ([]*storage.Event, error) {
	return s.stateEvents(ctx, info, root, keys)
}

// FullState reads the state at a root, in no order that means anything.
func (s *Server) FullState(ctx context.Context, info *storage.RoomInfo, root state.Root) ([]*storage.Event, error) {
	var nids []event.NID
	for entry, err := range s.states.Room(int64(info.NID)).All(ctx, root) {
		if err != nil {
			return nil, err
		}
		nids = append(nids, entry.NID)
	}
	return s.eventsOf(ctx, info, nids)
}

// CurrentRoot is the current state of a room. The error is NotFound when this
// server was never in it.
func (s *Server) CurrentRoot(ctx context.Context, info *storage.RoomInfo) (state.Root, error) {
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err != nil {
		return 0, err
	}
	if h == nil {
		return 0, fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room %s", info.ID)
	}
	return h.Root, nil
}
