package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// ReceiptKind says who learns of a receipt.
type ReceiptKind int64

// The kinds of receipt. They are stored.
const (
	// PublicReceipt is m.read.
	PublicReceipt ReceiptKind = 0
	// PrivateReceipt is m.read.private: only its user learns of it.
	PrivateReceipt ReceiptKind = 1
)

// Receipt says how far a user has read a room, or a thread of it. As a Row it
// replaces the user's receipt of the same kind and thread.
//
// Spec: client-server-api/#receipts
type Receipt struct {
	Room RoomNID
	User id.UserID
	Kind ReceiptKind
	// Thread is "main", the event ID of a thread's root, or empty for the
	// whole room.
	Thread  string
	EventID id.EventID
	// Timestamp is when, in milliseconds.
	Timestamp int64
	// Read is the event's position; zero when it is not in the live timeline.
	Read Position
	// Local: the user is ours.
	Local bool
	// Pos is when the receipt changed; as a row, the position that At names.
	Pos Position

	tick int
}

// At makes the receipt's position the i-th of its commit.
func (r *Receipt) At(i int) *Receipt { r.tick = i; return r }

// Place sets the position that a commit starting at first gave the receipt.
func (r *Receipt) Place(first Position) { r.Pos = first + Position(r.tick) }

const receiptColumns = `SELECT r.room, u.user_id, r.kind, r.thread, r.event_id, r.ts, r.read, r.local, r.pos
	FROM receipt r JOIN user_name u ON u.nid = r.user_nid `

const (
	upsertReceipt = `INSERT INTO receipt (room, user_nid, kind, thread, event_id, ts, read, local, pos)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (room, user_nid, kind, thread) DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, read = excluded.read,
		local = excluded.local, pos = excluded.pos`
	selectRoomReceipts = receiptColumns + `WHERE r.room = $1 AND r.pos > $2 AND r.pos <= $3 AND r.kind = 0 ORDER BY r.pos LIMIT $4`
	selectUserReceipts = receiptColumns + `WHERE r.user_nid = $1 AND r.pos > $2 AND r.local`
	selectReceipts     = receiptColumns + `WHERE r.user_nid = $1 AND r.room = $2`
)

func (r *Receipt) write(w *writer) {
	w.exec(upsertReceipt, int64(r.Room), w.number(users, string(r.User)), int64(r.Kind), r.Thread, string(r.EventID), r.Timestamp,
		int64(r.Read), r.Local, tick(r.tick))
}

// RoomReceipts lists a room's public receipts that changed after since and not
// after until, in order, at most limit.
func (v *View) RoomReceipts(ctx context.Context, room RoomNID, since, until Position, limit int) ([]*Receipt, error) {
	return v.receipts(ctx, selectRoomReceipts, int64(room), int64(since), int64(until), int64(limit))
}

// UserReceipts lists a local user's receipts of every kind, in all rooms, that
// changed after since, in no order.
func (v *View) UserReceipts(ctx context.Context, user id.UserID, since Position) ([]*Receipt, error) {
	n, ok, err := v.userNumber(ctx, user)
	if err != nil || !ok {
		return nil, err
	}
	return v.receipts(ctx, selectUserReceipts, n, int64(since))
}

// Receipts lists a user's receipts of every kind in a room, in no order.
func (v *View) Receipts(ctx context.Context, room RoomNID, user id.UserID) ([]*Receipt, error) {
	n, ok, err := v.userNumber(ctx, user)
	if err != nil || !ok {
		return nil, err
	}
	return v.receipts(ctx, selectReceipts, n, int64(room))
}

func (v *View) receipts(ctx context.Context, sql string, args ...any) (out []*Receipt, err error) {
	err = each(ctx, v.q, sql, args, func(row rowScanner) error {
		var r Receipt
		err := row.Scan((*int64)(&r.Room), (*string)(&r.User), (*int64)(&r.Kind), &r.Thread, (*string)(&r.EventID), &r.Timestamp,
			(*int64)(&r.Read), &r.Local, (*int64)(&r.Pos))
		out = append(out, &r)
		return err
	})
	return out, err
}
