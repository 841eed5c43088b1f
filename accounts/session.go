package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

// Login says which device logs in and how.
type Login struct {
	// Device is the client's own; empty makes one up.
	Device id.DeviceID
	// DeviceName is for people, and for a new device only.
	DeviceName string
	// Refresh: the client can refresh its access token.
	Refresh bool
	// Kind is how the session came about.
	Kind storage.SessionKind
	// By is who logs in.
	By Caller
}

// Grant is what a client gets for logging in.
type Grant struct {
	User        id.UserID
	Device      id.DeviceID
	AccessToken string
	// RefreshToken is empty when the access token does not expire.
	RefreshToken string
	// ExpiresIn is the life of the access token; zero is for ever.
	ExpiresIn time.Duration
}

const (
	maxDeviceID   = 255
	maxDeviceName = 255
)

var (
	errPassword  = fault.New(fault.Forbidden, "The user name or the password is wrong")
	errToken     = fault.New(fault.UnknownToken, "The access token is not known")
	errSoftToken = &fault.Error{Kind: fault.UnknownToken, Public: "The access token has expired", SoftLogout: true}
)

// LogIn logs a device in with a user's name or ID and password.
//
// Spec: client-server-api/#post_matrixclientv3login
func (a *Accounts) LogIn(ctx context.Context, name, password string, l Login) (*Grant, error) {
	if len(l.Device) > maxDeviceID {
		return nil, fault.New(fault.InvalidParam, "The device ID is longer than %d bytes", maxDeviceID)
	}
	account, err := a.CheckPassword(ctx, name, password)
	if fault.Is(err, fault.Forbidden) {
		return nil, errors.Join(err, a.audit(ctx, AuditLoginRefused, a.Named(name), l.By, "reason", "password"))
	}
	if err != nil {
		return nil, err
	}
	var grant *Grant
	err = a.revise(ctx, func() (*storage.Commit, error) {
		now, err := a.account(ctx, account.User)
		if err != nil {
			return nil, err
		}
		if now.Password != account.Password {
			return nil, errPassword
		}
		c := &storage.Commit{Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(now.User, now.Revision)}}
		grant, err = a.issue(ctx, c, now.User, l)
		return c, err
	})
	return grant, err
}

// Refused leaves a record that a proof of identity before a sensitive change
// failed.
func (a *Accounts) Refused(ctx context.Context, user id.UserID, by Caller) error {
	return a.audit(ctx, AuditPasswordDenied, user, by, "reason", "password")
}

// Named is the user that a name at login means, as far as one can tell.
func (a *Accounts) Named(name string) id.UserID {
	if strings.HasPrefix(name, "@") {
		return id.UserID(truncate(name, maxUserID))
	}
	return id.NewUserID(truncate(name, maxUserID), a.opts.ServerName)
}

// CheckPassword finds the account of a name or user ID that has this password.
// Which of the two is wrong it does not say, nor does the time it takes.
func (a *Accounts) CheckPassword(ctx context.Context, name, password string) (*storage.Account, error) {
	var account *storage.Account
	if user := a.Named(name); a.Ours(user) {
		v := a.db.Latest()
		var err error
		account, err = v.Account(ctx, user)
		if lower := id.UserID(strings.ToLower(string(user))); err == nil && account == nil && lower != user {
			account, err = v.Account(ctx, lower)
		}
		if err != nil {
			return nil, err
		}
	}
	hashed := ""
	if account != nil {
		hashed = account.Password
	}
	ok, err := a.hasher.verify(ctx, hashed, password)
	if err != nil {
		return nil, err
	}
	if !ok || account == nil || account.Deactivated {
		return nil, errPassword
	}
	return account, nil
}

// issue adds a device's login to a commit. What the device had before is void.
//
// Spec: client-server-api/#relationship-between-access-tokens-and-devices
func (a *Accounts) issue(ctx context.Context, c *storage.Commit, user id.UserID, l Login) (*Grant, error) {
	if l.Device == "" {
		l.Device = id.DeviceID(randomDevice())
	}
	if len(l.Device) > maxDeviceID {
		return nil, fault.New(fault.InvalidParam, "The device ID is longer than %d bytes", maxDeviceID)
	}
	nid, err := a.db.NewSession(ctx)
	if err != nil {
		return nil, err
	}
	s := &storage.Session{NID: nid, User: user, Device: l.Device, Family: nid, Kind: l.Kind}
	grant := a.arm(s, l.Refresh && a.opts.Sessions.Refresh)
	at := a.now().UnixMilli()
	device := &storage.UserDevice{User: user, ID: l.Device, Created: at, Seen: at, From: l.By.from(), Agent: truncate(l.By.Agent, maxAgent)}
	if name := truncate(l.DeviceName, maxDeviceName); name != "" {
		device.Name = &name
	}
	c.Write = append(c.Write, &storage.EndSessions{User: user, Device: l.Device}, device, s)
	l.By.Device = l.Device
	c.Audit = append(c.Audit, a.record(AuditLogin, user, l.By, "kind", kindNames[l.Kind])...)
	touch, err := a.touch(ctx, storage.Sessions, user)
	c.Touch = append(c.Touch, touch...)
	return grant, err
}

var kindNames = map[storage.SessionKind]string{
	storage.PasswordSession: "password", storage.OAuthSession: "oauth",
	storage.AppServiceSession: "appservice", storage.AdminSession: "admin",
}

// arm gives a session tokens. Without a refresh token the access token does
// not expire.
func (a *Accounts) arm(s *storage.Session, refresh bool) *Grant {
	g := &Grant{User: s.User, Device: s.Device}
	now := a.now()
	s.Created = now.UnixMilli()
	g.AccessToken, s.Access = newToken(accessPrefix)
	if !refresh {
		return g
	}
	g.RefreshToken, s.Refresh = newToken(refreshPrefix)
	g.ExpiresIn = a.opts.Sessions.AccessLifetime
	s.Expires = now.Add(g.ExpiresIn).UnixMilli()
	s.RefreshExpires = 0
	if life := a.opts.Sessions.RefreshLifetime; life > 0 {
		s.RefreshExpires = now.Add(life).UnixMilli()
	}
	return g
}

// Authenticate finds the session of an access token, which is shared: nobody
// may change it. It reads the database only for a token that this node has not
// seen since the user's sessions last changed.
//
// Spec: client-server-api/#using-access-tokens
func (a *Accounts) Authenticate(ctx context.Context, token string, from Caller) (*storage.Session, error) {
	hash := sha256.Sum256([]byte(token))
	l := a.cache.get(hash)
	if l == nil {
		var err error
		if l, err = a.load(ctx, hash); err != nil {
			return nil, err
		}
	}
	now := a.now().UnixMilli()
	switch s := l.session; {
	case s.Deactivated:
		return nil, errToken
	case s.State == storage.SessionSpent, s.State == storage.SessionSoft, s.Expires != 0 && s.Expires <= now:
		return nil, errSoftToken
	}
	if last := l.seen.Load(); now-last >= seenApart.Milliseconds() && l.seen.CompareAndSwap(last, now) {
		a.seen.note(l.session, now, from)
	}
	return l.session, nil
}

// load reads a session and caches it. One that a refresh made counts from its
// first use.
func (a *Accounts) load(ctx context.Context, hash [32]byte) (*live, error) {
	before := a.cache.changes.Load()
	s, err := a.db.Latest().SessionByAccess(ctx, hash[:])
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, errToken
	}
	if s.State == storage.SessionFresh {
		if s, err = a.confirm(ctx, hash); err != nil {
			return nil, err
		}
		before = a.cache.changes.Load() - 1 // the next request caches it
	}
	l := &live{hash: hash, session: s}
	a.cache.put(l, before)
	return l, nil
}

// confirm notes that a refreshed session is in use.
//
// Spec: client-server-api/#refreshing-access-tokens
func (a *Accounts) confirm(ctx context.Context, hash [32]byte) (*storage.Session, error) {
	var s *storage.Session
	err := a.revise(ctx, func() (*storage.Commit, error) {
		var err error
		if s, err = a.db.Latest().SessionByAccess(ctx, hash[:]); err != nil {
			return nil, err
		}
		if s == nil {
			return nil, errToken
		}
		if s.State != storage.SessionFresh {
			return nil, nil
		}
		c := a.revision(s)
		c.Write = append(c.Write, &storage.ConfirmSession{Session: s})
		s.State = storage.SessionLive
		return c, nil
	})
	return s, err
}

// revision is a commit that expects and raises the revision of a session's
// account.
func (a *Accounts) revision(s *storage.Session) *storage.Commit {
	return &storage.Commit{
		Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(s.User, s.Revision)},
		Write: []storage.Row{&storage.Revise{User: s.User}}, Touch: []storage.Subject{s.Subject},
	}
}

// Refresh exchanges a refresh token for new tokens. The old one stays good
// until a new one is used, since the answer may get lost; after that, its
// coming again means that someone stole it, and the whole login ends.
//
// Spec: client-server-api/#refreshing-access-tokens
func (a *Accounts) Refresh(ctx context.Context, token string, by Caller) (*Grant, error) {
	hash := hashOf(token)
	var grant *Grant
	err := a.revise(ctx, func() (*storage.Commit, error) {
		s, err := a.db.Latest().SessionByRefresh(ctx, hash)
		if err != nil {
			return nil, err
		}
		c, next, err := a.renew(ctx, s, by)
		grant = next // none of an earlier try that another change crossed
		return c, err
	})
	if err == nil && grant == nil {
		err = errRefresh
	}
	return grant, err
}

var errRefresh = fault.New(fault.UnknownToken, "The refresh token is not known")

// renew is the commit that refreshes a session; without a grant, the one that
// ends a stolen session's family.
func (a *Accounts) renew(ctx context.Context, s *storage.Session, by Caller) (*storage.Commit, *Grant, error) {
	switch {
	case s == nil, s.Deactivated:
		return nil, nil, errRefresh
	case s.State == storage.SessionSoft, s.RefreshExpires != 0 && s.RefreshExpires <= a.now().UnixMilli():
		return nil, nil, errSoftToken
	}
	by.Device = s.Device
	c := a.revision(s)
	if s.State == storage.SessionSpent {
		c.Write = append(c.Write, &storage.EndFamily{Family: s.Family})
		c.Audit = a.record(AuditReuse, s.User, by)
		return c, nil, nil
	}
	if s.State == storage.SessionFresh {
		c.Write = append(c.Write, &storage.ConfirmSession{Session: s})
	}
	nid, err := a.db.NewSession(ctx)
	if err != nil {
		return nil, nil, err
	}
	next := *s
	next.NID, next.State, next.Generation = nid, storage.SessionFresh, s.Generation+1
	grant := a.arm(&next, true)
	c.Write = append(c.Write, &storage.DropUnused{Session: &next, Before: next.Created - unusedKept.Milliseconds()}, &next)
	return c, grant, nil
}

// unusedKept is how long a refresh's tokens wait for their first use when
// others were made beside them.
const unusedKept = 10 * time.Minute

// LogOut ends the caller's session and removes its device.
//
// Spec: client-server-api/#post_matrixclientv3logout
func (a *Accounts) LogOut(ctx context.Context, by Caller) error {
	rows := []storage.Row{&storage.EndSessions{User: by.User, Device: by.Device}, &storage.NoDevice{User: by.User, ID: by.Device}}
	return a.change(ctx, by.User, rows, a.record(AuditLogout, by.User, by))
}

// LogOutAll ends all sessions of the caller and removes all devices.
//
// Spec: client-server-api/#post_matrixclientv3logoutall
func (a *Accounts) LogOutAll(ctx context.Context, by Caller) error {
	rows := []storage.Row{&storage.EndAllSessions{User: by.User}, &storage.NoDevices{User: by.User}}
	return a.change(ctx, by.User, rows, a.record(AuditLogout, by.User, by, "all", "true"))
}

// truncate shortens a text to at most n bytes between two characters.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
