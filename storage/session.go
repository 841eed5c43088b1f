package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// SessionKind says how a session came about.
type SessionKind int64

// The kinds of session. They are stored.
const (
	PasswordSession   SessionKind = 0
	OAuthSession      SessionKind = 1
	AppServiceSession SessionKind = 2
	AdminSession      SessionKind = 3
)

// SessionState says what a session's tokens are good for.
type SessionState int64

// The states of a session. They are stored.
const (
	// SessionLive: both tokens are good.
	SessionLive SessionState = 0
	// SessionFresh: made by a refresh and not used yet. The session before it
	// is good too: its owner may never have got this one's tokens.
	SessionFresh SessionState = 1
	// SessionSpent: the session after it is in use. Its refresh token coming
	// again means that it was stolen.
	SessionSpent SessionState = 2
	// SessionSoft: the user must log in again and keeps the device.
	// Spec: client-server-api/#soft-logout
	SessionSoft SessionState = 3
)

// Session is an access token with what it is good for. As a Row it is made.
type Session struct {
	// NID is from DB.NewSession.
	NID    int64
	User   id.UserID
	Device id.DeviceID
	// Access and Refresh are the SHA-256 of the tokens; Refresh may be nil.
	Access, Refresh []byte
	// Family is the NID of the login that a refresh descends from, and
	// Generation how many refreshes ago that was.
	Family, Generation int64
	State              SessionState
	Kind               SessionKind
	// Client and Scope are OAuth's.
	Client, Scope string
	// Created, Expires and RefreshExpires are in milliseconds since 1970; zero
	// never expires.
	Created, Expires, RefreshExpires int64

	// Admin, Deactivated and Revision are read from the account.
	Admin, Deactivated bool
	Revision           int64
	// Subject is what the log names when the user's sessions change; read.
	Subject Subject
}

// spentKept is how many generations of spent refresh tokens are kept, to
// recognise a thief.
const spentKept = 16

const sessionColumns = `SELECT s.nid, u.user_id, s.user_nid, s.device, s.access, s.refresh, s.family, s.generation, s.state, s.kind, s.client, s.scope,
	s.created, s.expires, s.refresh_expires, a.admin, a.deactivated, a.revision
	FROM session s JOIN user_name u ON u.nid = s.user_nid JOIN account a ON a.user_nid = s.user_nid `

const (
	insertSession = `INSERT INTO session (nid, user_nid, device, access, refresh, family, generation, state, kind, client, scope, created, expires, refresh_expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`
	selectByAccess  = sessionColumns + `WHERE s.access = $1`
	selectByRefresh = sessionColumns + `WHERE s.refresh = $1`

	confirmSession  = `UPDATE session SET state = 0 WHERE nid = $1`
	spendSessions   = `UPDATE session SET state = 2 WHERE family = $1 AND generation < $2`
	deleteSiblings  = `DELETE FROM session WHERE family = $1 AND generation = $2 AND nid <> $3`
	forgetSpent     = `DELETE FROM session WHERE family = $1 AND generation < $2`
	dropUnused      = `DELETE FROM session WHERE family = $1 AND generation = $2 AND state = 1 AND created < $3`
	deleteFamily    = `DELETE FROM session WHERE family = $1`
	deleteOfDevice  = `DELETE FROM session WHERE user_nid = $1 AND device = $2`
	deleteOfUser    = `DELETE FROM session WHERE user_nid = $1 AND device <> $2`
	deleteAllOfUser = `DELETE FROM session WHERE user_nid = $1`
	softenOfUser    = `UPDATE session SET state = 3 WHERE user_nid = $1 AND device <> $2 AND state <> 2`
)

func (s *Session) write(w *writer) {
	var refresh any
	if s.Refresh != nil {
		refresh = s.Refresh
	}
	w.exec(insertSession, s.NID, w.number(users, string(s.User)), string(s.Device), s.Access, refresh, s.Family, s.Generation,
		int64(s.State), int64(s.Kind), s.Client, s.Scope, s.Created, s.Expires, s.RefreshExpires)
}

// ConfirmSession notes that a fresh session is in use: what came before it in
// its family is spent.
type ConfirmSession struct{ Session *Session }

func (c *ConfirmSession) write(w *writer) {
	s := c.Session
	w.exec(confirmSession, s.NID)
	w.exec(deleteSiblings, s.Family, s.Generation, s.NID)
	w.exec(spendSessions, s.Family, s.Generation)
	w.exec(forgetSpent, s.Family, s.Generation-spentKept)
}

// DropUnused removes sessions that an earlier refresh made beside this one,
// and that nobody has used.
type DropUnused struct {
	Session *Session
	// Before is in milliseconds since 1970.
	Before int64
}

func (d *DropUnused) write(w *writer) {
	w.exec(dropUnused, d.Session.Family, d.Session.Generation, d.Before)
}

// EndFamily ends all sessions that descend from one login.
type EndFamily struct{ Family int64 }

func (e *EndFamily) write(w *writer) { w.exec(deleteFamily, e.Family) }

// EndSessions ends the sessions of a user's device.
type EndSessions struct {
	User   id.UserID
	Device id.DeviceID
}

func (e *EndSessions) write(w *writer) {
	w.exec(deleteOfDevice, w.number(users, string(e.User)), string(e.Device))
}

// EndAllSessions ends every session of a user but those of one device, if one
// is named.
type EndAllSessions struct {
	User   id.UserID
	Except id.DeviceID
	// Soft lets the devices log in again and keep their keys.
	Soft bool
}

func (e *EndAllSessions) write(w *writer) {
	user := w.number(users, string(e.User))
	switch {
	case e.Soft:
		w.exec(softenOfUser, user, string(e.Except))
	case e.Except == "":
		w.exec(deleteAllOfUser, user)
	default:
		w.exec(deleteOfUser, user, string(e.Except))
	}
}

// NewSession numbers a session.
func (db *DB) NewSession(ctx context.Context) (int64, error) { return db.allocate(ctx, "session", 1) }

// SessionByAccess finds a session by the SHA-256 of its access token; nil when
// there is none.
func (v *View) SessionByAccess(ctx context.Context, hash []byte) (*Session, error) {
	return v.session(ctx, selectByAccess, hash)
}

// SessionByRefresh finds a session by the SHA-256 of its refresh token; nil
// when there is none.
func (v *View) SessionByRefresh(ctx context.Context, hash []byte) (*Session, error) {
	return v.session(ctx, selectByRefresh, hash)
}

func (v *View) session(ctx context.Context, sql string, hash []byte) (found *Session, err error) {
	err = each(ctx, v.q, sql, []any{hash}, func(r rowScanner) error {
		s := Session{Subject: Subject{Kind: Sessions}}
		err := r.Scan(&s.NID, (*string)(&s.User), &s.Subject.ID, (*string)(&s.Device), &s.Access, &s.Refresh, &s.Family, &s.Generation,
			(*int64)(&s.State), (*int64)(&s.Kind), &s.Client, &s.Scope, &s.Created, &s.Expires, &s.RefreshExpires,
			&s.Admin, &s.Deactivated, &s.Revision)
		found = &s
		return err
	})
	return found, err
}
