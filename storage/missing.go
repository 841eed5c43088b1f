package storage

import (
	"context"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// MissingPrev notes that an event cites another that this server does not
// have: a backward extremity.
type MissingPrev struct {
	Room    RoomNID
	EventID id.EventID
	CitedBy event.NID
}

// FoundPrev removes the notes that an event is missing.
type FoundPrev struct {
	Room    RoomNID
	EventID id.EventID
}

const (
	insertMissing = `INSERT INTO missing_prev (room, event_id, cited_by) VALUES ($1, $2, $3) ON CONFLICT (room, event_id, cited_by) DO NOTHING`
	deleteMissing = `DELETE FROM missing_prev WHERE room = $1 AND event_id = $2`
	selectCiters  = `SELECT cited_by FROM missing_prev WHERE room = $1 AND event_id = $2`
)

func (m *MissingPrev) write(w *writer) {
	w.exec(insertMissing, int64(m.Room), string(m.EventID), int64(m.CitedBy))
}

func (f *FoundPrev) write(w *writer) { w.exec(deleteMissing, int64(f.Room), string(f.EventID)) }

// Citers lists the events that cite one that was missing.
func (v *View) Citers(ctx context.Context, room RoomNID, eventID id.EventID) (out []event.NID, err error) {
	err = each(ctx, v.q, selectCiters, []any{int64(room), string(eventID)}, func(r rowScanner) error {
		var n int64
		err := r.Scan(&n)
		out = append(out, event.NID(n))
		return err
	})
	return out, err
}

const (
	selectCited    = `SELECT DISTINCT event_id FROM missing_prev WHERE room = $1 AND event_id = ANY($2)`
	selectRedacted = `SELECT DISTINCT redacts FROM event WHERE room = $1 AND redacts = ANY($2) AND status = 1`
)

// Cited tells which of the events were missing, and are cited.
func (v *View) Cited(ctx context.Context, room RoomNID, events []id.EventID) (map[id.EventID]bool, error) {
	return v.among(ctx, selectCited, int64(room), texts(events))
}

// Redacted tells which of the events accepted redactions name.
func (v *View) Redacted(ctx context.Context, room RoomNID, events []id.EventID) (map[id.EventID]bool, error) {
	return v.among(ctx, selectRedacted, int64(room), texts(events))
}

func (v *View) among(ctx context.Context, sql string, args ...any) (map[id.EventID]bool, error) {
	out := map[id.EventID]bool{}
	err := each(ctx, v.q, sql, args, func(r rowScanner) error {
		var eventID string
		err := r.Scan(&eventID)
		out[id.EventID(eventID)] = true
		return err
	})
	return out, err
}
