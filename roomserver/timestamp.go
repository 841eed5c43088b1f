package roomserver

import (
	"context"
	"math"

	"entente/storage"
)

// nearby is how many events around the place found by depth are compared.
const nearby = 100

// EventNear finds the event that is nearest to a time, at it or after it, or
// before it when after is not set, among those that a viewer may see; nil when
// there is none. Events are found by searching for the depth at which the
// clocks of senders pass that time, so an event whose clock was far off the
// others' can be missed.
//
// Spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
func (s *Server) EventNear(ctx context.Context, info *storage.RoomInfo, v Viewer, ts int64, after bool) (*storage.Event, error) {
	depth, err := s.depthAt(ctx, info, ts)
	if err != nil {
		return nil, err
	}
	var best *storage.Event
	for _, forward := range []bool{true, false} {
		page, err := s.History(ctx, info, v, HistoryRequest{
			From: Point{Depth: depth, NID: 0}, Forward: forward, Limit: nearby,
			Match: func(e *storage.Event) bool { return e.PDU.Timestamp() == ts || (e.PDU.Timestamp() > ts) == after },
		})
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			if best == nil || nearer(e, best, ts) {
				best = e
			}
		}
	}
	return best, nil
}

// nearer reports whether a is nearer to a time than b, or as near and earlier.
func nearer(a, b *storage.Event, ts int64) bool {
	da, db := distance(a.PDU.Timestamp(), ts), distance(b.PDU.Timestamp(), ts)
	return da < db || da == db && a.PDU.Depth() < b.PDU.Depth()
}

func distance(a, b int64) int64 { return max(a, b) - min(a, b) }

// depthAt searches for the least depth at which events are of a time or later.
func (s *Server) depthAt(ctx context.Context, info *storage.RoomInfo, ts int64) (int64, error) {
	view := s.db.Latest()
	last, err := view.HistoryBack(ctx, info, everything(), 1)
	if err != nil || len(last) == 0 {
		return 0, err
	}
	low, high := int64(0), last[0].PDU.Depth()
	if high == math.MaxInt64 {
		high--
	}
	high++
	for low < high {
		middle := low + (high-low)/2
		at, err := view.HistoryForward(ctx, info, storage.HistoryRange{Depth: middle}, 1)
		if err != nil {
			return 0, err
		}
		if len(at) == 0 || at[0].PDU.Timestamp() >= ts {
			high = middle
			continue
		}
		low = at[0].PDU.Depth() + 1
	}
	return low, nil
}
