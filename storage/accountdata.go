package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// AccountData is what clients keep for their user, globally or for a room. As
// a Row it is set.
//
// Spec: client-server-api/#client-config
type AccountData struct {
	User id.UserID
	// Room is zero for global account data.
	Room RoomNID
	Type string
	// Content is a JSON object.
	Content []byte
	// Pos is when it changed; read.
	Pos Position

	tick int
}

// At makes the i-th position of the commit the time of the change.
func (a *AccountData) At(i int) *AccountData { a.tick = i; return a }

const accountDataColumns = `SELECT u.user_id, d.room, d.type, d.content, d.pos FROM account_data d JOIN user_name u ON u.nid = d.user_nid `

const (
	upsertAccountData = `INSERT INTO account_data (user_nid, room, type, content, pos) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_nid, room, type) DO UPDATE SET content = excluded.content, pos = excluded.pos`
	eraseAccountData       = `DELETE FROM account_data WHERE user_nid = $1`
	selectAccountData      = accountDataColumns + `WHERE u.user_id = $1 AND d.room = $2 AND d.type = $3`
	selectAccountDataSince = accountDataColumns + `WHERE u.user_id = $1 AND d.pos > $2 AND d.pos <= $3 ORDER BY d.pos, d.room, d.type`
)

func (a *AccountData) write(w *writer) {
	w.exec(upsertAccountData, w.number(users, string(a.User)), int64(a.Room), a.Type, a.Content, tick(a.tick))
}

// NoAccountData erases all account data of a user.
type NoAccountData struct{ User id.UserID }

func (a *NoAccountData) write(w *writer) { w.exec(eraseAccountData, w.number(users, string(a.User))) }

// AccountData finds a piece of account data, a global one when room is zero;
// nil when there is none.
func (v *View) AccountData(ctx context.Context, user id.UserID, room RoomNID, kind string) (*AccountData, error) {
	found, err := v.accountData(ctx, selectAccountData, string(user), int64(room), kind)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// AccountDataSince lists what changed of a user's account data, global and of
// rooms, after since and not after until, in order.
func (v *View) AccountDataSince(ctx context.Context, user id.UserID, since, until Position) ([]*AccountData, error) {
	return v.accountData(ctx, selectAccountDataSince, string(user), int64(since), int64(until))
}

func (v *View) accountData(ctx context.Context, sql string, args ...any) (out []*AccountData, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var a AccountData
		err := r.Scan((*string)(&a.User), (*int64)(&a.Room), &a.Type, &a.Content, (*int64)(&a.Pos))
		out = append(out, &a)
		return err
	})
	return out, err
}
