package storage

import (
	"context"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// HistoryRange says which part of a room's history to read. History is the
// accepted events in the order of (depth, number).
type HistoryRange struct {
	// Depth and NID are where to begin: with the event there, or the nearest
	// before it, when going back, and with the nearest after it when going
	// forward.
	Depth int64
	NID   event.NID
	// Below leaves out what the live timeline has at this position and after
	// it; zero leaves out nothing.
	Below Position
}

const (
	selectBack = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND status = 1 AND (depth, nid) <= ($2, $3)
		AND (pos IS NULL OR pos < $4) ORDER BY depth DESC, nid DESC LIMIT $5`
	selectForward = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND status = 1 AND (depth, nid) > ($2, $3)
		AND (pos IS NULL OR pos < $4) ORDER BY depth, nid LIMIT $5`
	selectLive = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND pos IS NOT NULL AND pos >= $2 AND pos <= $3 AND status = 1
		ORDER BY pos LIMIT $4`
	selectFirstFrom = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND pos IS NOT NULL AND pos >= $2 ORDER BY pos LIMIT 1`
	selectGaps      = `SELECT m.event_id, e.nid, e.depth FROM missing_prev m JOIN event e ON e.nid = m.cited_by
		WHERE m.room = $1 AND e.depth >= $2 AND e.depth <= $3
		AND NOT EXISTS (SELECT 1 FROM event k WHERE k.room = m.room AND k.event_id = m.event_id AND k.status <> 0)
		ORDER BY e.depth DESC, m.event_id LIMIT 20`
	selectMembersOf = `SELECT u.user_id FROM member m JOIN user_name u ON u.nid = m.user_nid WHERE m.room = $1 AND u.user_id LIKE $2
		ORDER BY CASE m.membership WHEN 1 THEN 0 ELSE 1 END, m.pos DESC`
)

const lastPosition = 1<<63 - 1

func (h HistoryRange) below() int64 {
	if h.Below == 0 {
		return lastPosition
	}
	return int64(h.Below)
}

// HistoryBack reads up to limit events going back in a room's history.
func (v *View) HistoryBack(ctx context.Context, room *RoomInfo, from HistoryRange, limit int) ([]*Event, error) {
	return v.events(ctx, room, selectBack, int64(room.NID), from.Depth, int64(from.NID), from.below(), int64(limit))
}

// HistoryForward reads up to limit events going forward in a room's history.
func (v *View) HistoryForward(ctx context.Context, room *RoomInfo, from HistoryRange, limit int) ([]*Event, error) {
	return v.events(ctx, room, selectForward, int64(room.NID), from.Depth, int64(from.NID), from.below(), int64(limit))
}

// Live reads up to limit events of a room's live timeline, in order, at first
// and after it, up to and including last.
func (v *View) Live(ctx context.Context, room *RoomInfo, first, last Position, limit int) ([]*Event, error) {
	return v.events(ctx, room, selectLive, int64(room.NID), int64(first), int64(last), int64(limit))
}

// FirstLive is the first event of a room's live timeline at a position or
// after it; nil when there is none.
func (v *View) FirstLive(ctx context.Context, room *RoomInfo, from Position) (*Event, error) {
	found, err := v.events(ctx, room, selectFirstFrom, int64(room.NID), int64(from))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// Gap is a backward extremity: an event that one of ours follows, and that we
// do not have.
type Gap struct {
	Missing id.EventID
	CitedBy event.NID
	Depth   int64 // of the event that cites it
}

// Gaps lists backward extremities of a room, cited by events of these depths,
// the deepest first, some twenty at most.
func (v *View) Gaps(ctx context.Context, room RoomNID, lowest, highest int64) ([]Gap, error) {
	var out []Gap
	err := each(ctx, v.q, selectGaps, []any{int64(room), lowest, highest}, func(r rowScanner) error {
		var g Gap
		err := r.Scan((*string)(&g.Missing), (*int64)(&g.CitedBy), &g.Depth)
		out = append(out, g)
		return err
	})
	return out, err
}

// MembersOf lists the users of a server who have any membership of a room,
// those who have joined it first.
func (v *View) MembersOf(ctx context.Context, room RoomNID, server string) ([]id.UserID, error) {
	var out []id.UserID
	err := each(ctx, v.q, selectMembersOf, []any{int64(room), "%:" + server}, func(r rowScanner) error {
		var user id.UserID
		err := r.Scan((*string)(&user))
		if event.ServerOf(user) == server { // LIKE is looser
			out = append(out, user)
		}
		return err
	})
	return out, err
}
