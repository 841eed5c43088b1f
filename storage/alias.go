package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// Alias is a local room alias. As a Row it makes the alias; one that exists
// fails the commit with ErrExists.
type Alias struct {
	Alias   id.RoomAlias
	Room    RoomNID
	Creator id.UserID
}

const (
	insertAlias       = `INSERT INTO alias (alias, room, creator, at) VALUES ($1, $2, $3, $4)`
	deleteAlias       = `DELETE FROM alias WHERE alias = $1`
	selectAlias       = `SELECT a.alias, a.room, u.user_id FROM alias a JOIN user_name u ON u.nid = a.creator WHERE a.alias = $1`
	selectRoomAliases = `SELECT a.alias, a.room, u.user_id FROM alias a JOIN user_name u ON u.nid = a.creator WHERE a.room = $1 ORDER BY a.alias`
)

func (a *Alias) write(w *writer) {
	w.exec(insertAlias, string(a.Alias), int64(a.Room), w.number(users, string(a.Creator)), now())
}

// NoAlias removes a local alias.
type NoAlias struct{ Alias id.RoomAlias }

func (a *NoAlias) write(w *writer) { w.exec(deleteAlias, string(a.Alias)) }

// Alias finds a local alias; nil when there is none.
func (v *View) Alias(ctx context.Context, alias id.RoomAlias) (*Alias, error) {
	found, err := v.aliases(ctx, selectAlias, string(alias))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// Aliases lists the local aliases of a room, sorted.
func (v *View) Aliases(ctx context.Context, room RoomNID) ([]*Alias, error) {
	return v.aliases(ctx, selectRoomAliases, int64(room))
}

func (v *View) aliases(ctx context.Context, sql string, args ...any) (out []*Alias, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var a Alias
		err := r.Scan((*string)(&a.Alias), (*int64)(&a.Room), (*string)(&a.Creator))
		out = append(out, &a)
		return err
	})
	return out, err
}
