package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// StagedEvent is an event of a peer that waits to be processed. As a Row it is
// inserted at the i-th position of its commit, unless its room has it staged
// already.
type StagedEvent struct {
	Room    RoomNID
	Origin  string
	EventID id.EventID
	// JSON is canonical.
	JSON []byte
	// At is when it came and RetryAt when it may be tried, in milliseconds
	// since 1970.
	At, RetryAt int64
	// Attempts is how often it was tried.
	Attempts int64
	// Pos and Num are its place in the order of arrival. As a row, Pos is the
	// first position of the commit.
	Pos Position
	Num int64
}

const (
	insertStaged = `INSERT INTO staged (pos, num, room, origin, event_id, json, size, at, attempts, retry_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (room, event_id) DO NOTHING`
	retryStaged  = `UPDATE staged SET attempts = attempts + 1, retry_at = $3 WHERE pos = $1 AND num = $2`
	deleteStaged = `DELETE FROM staged WHERE pos = $1 AND num = $2`
	selectStaged = `SELECT g.pos, g.num, g.room, s.name, g.event_id, g.json, g.at, g.attempts, g.retry_at FROM staged g JOIN server_name s ON s.nid = g.origin
		WHERE g.room = $1 AND (g.pos, g.num) > ($2, $3) ORDER BY g.pos, g.num LIMIT $4`
	selectStagedRooms = `SELECT room, MIN(retry_at) FROM staged GROUP BY room`
	selectStagedSize  = `SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM staged WHERE origin = (SELECT nid FROM server_name WHERE name = $1)`
	selectHasStaged   = `SELECT EXISTS (SELECT 1 FROM staged WHERE room = $1 AND origin = (SELECT nid FROM server_name WHERE name = $2) AND attempts < $3)`
)

func (s *StagedEvent) write(w *writer) {
	raw := encodeJSON(s.JSON)
	w.exec(insertStaged, tick(0), s.Num, int64(s.Room), w.number(servers, s.Origin), string(s.EventID), raw, int64(len(raw)), s.At, s.Attempts, s.RetryAt)
}

// RetryStaged notes that an event could not be processed yet.
type RetryStaged struct {
	*StagedEvent
	RetryAt int64
}

func (r RetryStaged) write(w *writer) { w.exec(retryStaged, int64(r.Pos), r.Num, r.RetryAt) }

// NoStaged takes out an event that was processed.
type NoStaged struct{ *StagedEvent }

func (n NoStaged) write(w *writer) { w.exec(deleteStaged, int64(n.Pos), n.Num) }

// Staged lists at most limit events of a room that wait, in the order in which
// they came, after a place in that order.
func (v *View) Staged(ctx context.Context, room RoomNID, after Position, num int64, limit int) ([]*StagedEvent, error) {
	var out []*StagedEvent
	err := each(ctx, v.q, selectStaged, []any{int64(room), int64(after), num, limit}, func(r rowScanner) error {
		var s StagedEvent
		var raw []byte
		err := r.Scan((*int64)(&s.Pos), &s.Num, (*int64)(&s.Room), &s.Origin, (*string)(&s.EventID), &raw, &s.At, &s.Attempts, &s.RetryAt)
		if err == nil {
			s.JSON, err = decodeJSON(raw)
		}
		out = append(out, &s)
		return err
	})
	return out, err
}

// StagedRooms calls fn with every room that has events waiting, and with when
// the first of them may be tried.
func (v *View) StagedRooms(ctx context.Context, fn func(room RoomNID, retryAt int64)) error {
	return each(ctx, v.q, selectStagedRooms, nil, func(r rowScanner) error {
		var room, at int64
		err := r.Scan(&room, &at)
		fn(RoomNID(room), at)
		return err
	})
}

// StagedSize counts what waits of one server, in events and bytes.
func (v *View) StagedSize(ctx context.Context, origin string) (events, bytes int64, err error) {
	_, err = one(ctx, v.q, selectStagedSize, []any{origin}, &events, &bytes)
	return events, bytes, err
}

// HasStaged reports whether events of a room wait that one server sent and that
// were tried less often than attempts.
func (v *View) HasStaged(ctx context.Context, room RoomNID, origin string, attempts int64) (has bool, err error) {
	_, err = one(ctx, v.q, selectHasStaged, []any{int64(room), origin, attempts}, &has)
	return has, err
}

// ReceivedTransaction notes what a peer's transaction was answered. The last
// ReceivedKept of each peer are kept.
type ReceivedTransaction struct {
	Origin string
	ID     string
	// Slot counts a peer's transactions.
	Slot   int64
	Answer []byte
}

// ReceivedKept is how many transactions of each peer are kept.
const ReceivedKept = 256

const (
	upsertReceived = `INSERT INTO received_txn (origin, slot, txn_id, answer) VALUES ($1, $2, $3, $4)
		ON CONFLICT (origin, slot) DO UPDATE SET txn_id = excluded.txn_id, answer = excluded.answer`
	selectReceived = `SELECT answer FROM received_txn WHERE origin = (SELECT nid FROM server_name WHERE name = $1) AND txn_id = $2`
)

func (t *ReceivedTransaction) write(w *writer) {
	w.exec(upsertReceived, w.number(servers, t.Origin), t.Slot%ReceivedKept, t.ID, t.Answer)
}

// ReceivedTransaction is what a peer's transaction was answered; nil when it
// is not known.
func (v *View) ReceivedTransaction(ctx context.Context, origin, txn string) (answer []byte, err error) {
	_, err = one(ctx, v.q, selectReceived, []any{origin, txn}, &answer)
	return answer, err
}
