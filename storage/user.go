package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// Account is a user of this server. As a Row it makes the account; the commit
// expects AccountRevision zero, so that a name is given once.
type Account struct {
	User id.UserID
	// Password is the hash of the password; empty when there is none.
	Password string
	// Admin: the user administers this server.
	Admin bool
	// Deactivated: the user can never log in again.
	Deactivated bool
	// AppService made the account; empty for a person's.
	AppService string
	// Created is in milliseconds since 1970.
	Created int64
	// Revision counts the changes that must not cross one another. A new
	// account has revision 1.
	Revision int64
}

const accountColumns = `SELECT u.user_id, a.password, a.admin, a.deactivated, a.appservice, a.created, a.revision
	FROM account a JOIN user_name u ON u.nid = a.user_nid `

const (
	insertAccount  = `INSERT INTO account (user_nid, password, admin, appservice, created, revision) VALUES ($1, $2, $3, $4, $5, 1)`
	setPassword    = `UPDATE account SET password = $2 WHERE user_nid = $1`
	setAdmin       = `UPDATE account SET admin = $2 WHERE user_nid = $1`
	deactivate     = `UPDATE account SET deactivated = TRUE, password = '' WHERE user_nid = $1`
	reviseAccount  = `UPDATE account SET revision = revision + 1 WHERE user_nid = $1`
	selectAccount  = accountColumns + `WHERE u.user_id = $1`
	selectAccounts = accountColumns + `WHERE u.user_id > $1 ORDER BY u.user_id LIMIT $2`
	existsAdmin    = `SELECT EXISTS (SELECT 1 FROM account WHERE admin AND NOT deactivated)`

	insertAdminCode = `INSERT INTO admin_code (hash, expires) VALUES ($1, $2)`
	deleteAdminCode = `DELETE FROM admin_code`
	existsAdminCode = `SELECT EXISTS (SELECT 1 FROM admin_code WHERE hash = $1 AND expires > $2)`
)

func (a *Account) write(w *writer) {
	w.exec(insertAccount, w.number(users, string(a.User)), a.Password, a.Admin, a.AppService, a.Created)
}

// Revise raises an account's revision: what was decided before it commits no
// more, if it expects AccountRevision.
type Revise struct{ User id.UserID }

func (r *Revise) write(w *writer) { w.exec(reviseAccount, w.number(users, string(r.User))) }

// Password changes the hash of a user's password.
type Password struct {
	User id.UserID
	Hash string
}

func (p *Password) write(w *writer) { w.exec(setPassword, w.number(users, string(p.User)), p.Hash) }

// Admin makes a user an administrator of this server, or no longer one.
type Admin struct {
	User  id.UserID
	Admin bool
}

func (a *Admin) write(w *writer) { w.exec(setAdmin, w.number(users, string(a.User)), a.Admin) }

// Deactivate ends an account for good.
type Deactivate struct{ User id.UserID }

func (d *Deactivate) write(w *writer) { w.exec(deactivate, w.number(users, string(d.User))) }

// AdminCode is the hash of a code with which the first administrator
// registers. As a Row it replaces those before it.
type AdminCode struct {
	Hash []byte
	// Expires is in milliseconds since 1970.
	Expires int64
}

func (c *AdminCode) write(w *writer) {
	w.exec(deleteAdminCode)
	w.exec(insertAdminCode, c.Hash, c.Expires)
}

// NoAdminCode forgets the code of the first administrator.
type NoAdminCode struct{}

func (NoAdminCode) write(w *writer) { w.exec(deleteAdminCode) }

// Account finds one of our users; nil when there is none of that name.
func (v *View) Account(ctx context.Context, user id.UserID) (*Account, error) {
	found, err := v.accounts(ctx, selectAccount, string(user))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// Accounts lists at most limit of our users whose ID comes after the given
// one, sorted.
func (v *View) Accounts(ctx context.Context, after id.UserID, limit int) ([]*Account, error) {
	return v.accounts(ctx, selectAccounts, string(after), limit)
}

func (v *View) accounts(ctx context.Context, sql string, args ...any) (out []*Account, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var a Account
		err := r.Scan((*string)(&a.User), &a.Password, &a.Admin, &a.Deactivated, &a.AppService, &a.Created, &a.Revision)
		out = append(out, &a)
		return err
	})
	return out, err
}

// HasAdmin reports whether anyone administers this server.
func (v *View) HasAdmin(ctx context.Context) (has bool, err error) {
	_, err = one(ctx, v.q, existsAdmin, nil, &has)
	return has, err
}

// HasAdminCode reports whether the first administrator may register with the
// code of this hash at a time in milliseconds.
func (v *View) HasAdminCode(ctx context.Context, hash []byte, at int64) (has bool, err error) {
	_, err = one(ctx, v.q, existsAdminCode, []any{hash, at}, &has)
	return has, err
}
