package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"
)

type keyName struct {
	room storage.RoomNID
	key  event.Key
}

// keyNum finds the number of a stored state key.
func (s *Server) keyNum(ctx context.Context, room storage.RoomNID, key event.Key) (state.KeyNum, bool, error) {
	if num, ok := s.nums.Get(keyName{room, key}); ok {
		return num, true, nil
	}
	num, ok, err := s.db.Latest().KeyNum(ctx, room, key)
	if ok {
		s.nums.Put(keyName{room, key}, num)
	}
	return num, ok, err
}

// keyNums is keyNum for many keys.
func (s *Server) keyNums(ctx context.Context, room storage.RoomNID, keys []event.Key) (map[event.Key]state.KeyNum, error) {
	out := make(map[event.Key]state.KeyNum, len(keys))
	var missing []event.Key
	for _, key := range keys {
		if num, ok := s.nums.Get(keyName{room, key}); ok {
			out[key] = num
		} else {
			missing = append(missing, key)
		}
	}
	found, err := s.db.Latest().KeyNums(ctx, room, missing)
	for key, num := range found {
		out[key] = num
		s.nums.Put(keyName{room, key}, num)
	}
	return out, err
}

// stateEvents reads events of the state at a root, parallel to keys; nil where
// there is none.
func (s *Server) stateEvents(ctx context.Context, info *storage.RoomInfo, root state.Root, keys []event.Key) ([]*storage.Event, error) {
	nums, err := s.keyNums(ctx, info.NID, keys)
	if err != nil {
		return nil, err
	}
	var at []int
	var wanted []state.KeyNum
	for i, key := range keys {
		if num, ok := nums[key]; ok {
			at, wanted = append(at, i), append(wanted, num)
		}
	}
	nids, err := s.states.Room(int64(info.NID)).GetMany(ctx, root, wanted)
	if err != nil {
		return nil, err
	}
	out := make([]*storage.Event, len(keys))
	for i, nid := range nids {
		if nid == 0 {
			continue
		}
		if out[at[i]], err = s.eventOf(ctx, info, nid); err != nil {
			return nil, err
		}
	}
	return out, nil
}
