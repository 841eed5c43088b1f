// Package accounts holds the users of this server: their accounts and
// passwords, devices and sessions, profiles, account data, filters and push
// rules.
//
// What reads before it writes expects the account's revision and raises it, so
// that two nodes cannot cross one another. Every login, refused or not, and
// every change of an account leaves an audit record in the same commit.
package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

// Options are what Accounts needs. DB and ServerName are required.
type Options struct {
	DB *storage.DB
	// ServerName is the domain of our users' IDs.
	ServerName string
	// Passwords says how passwords are hashed.
	Passwords PasswordOptions
	// Registration says who may register.
	Registration RegistrationOptions
	// Sessions says how long a login lasts.
	Sessions SessionOptions
	// Audit makes the record of an event for the audit log. Kinds and fields
	// are listed beside Kind; nil keeps no records.
	Audit func(kind string, fields map[string]string) storage.AuditRecord
	// OnProfile is told that a user's display name or avatar changed, after
	// it did. It must not take long; nil tells nobody.
	OnProfile func(ctx context.Context, user id.UserID)
	// OnDeactivate is told that a user is no more, after the fact, so that
	// they leave their rooms. It must not take long; nil tells nobody.
	OnDeactivate func(ctx context.Context, user id.UserID)
	// RemoteProfile asks another server for a user's profile, or one field of
	// it if field is not empty. Nil knows nobody.
	RemoteProfile func(ctx context.Context, user id.UserID, field string) (Profile, error)
	// Log gets what is worth an operator's attention; nil discards.
	Log *slog.Logger
	// Now is the clock; nil is the real one.
	Now func() time.Time
}

// RegistrationOptions say who may register.
type RegistrationOptions struct {
	// Open lets everyone register.
	Open bool
	// Tokens let whoever holds one register.
	Tokens []string
}

// SessionOptions say how long a login lasts.
type SessionOptions struct {
	// Refresh gives refresh tokens to clients that ask for them.
	Refresh bool
	// AccessLifetime is the life of an access token that comes with a refresh
	// token; zero is an hour.
	AccessLifetime time.Duration
	// RefreshLifetime is the life of a refresh token; zero is for ever.
	RefreshLifetime time.Duration
}

// Accounts are the users of one server. Run does what happens in the
// background.
type Accounts struct {
	opts   Options
	db     *storage.DB
	log    *slog.Logger
	hasher *hasher
	cache  *sessionCache
	rules  *ruleCache
	seen   *sightings
	tokens map[[32]byte]bool // hashes of registration tokens
}

// New makes Accounts that follow the database's log.
func New(o Options) *Accounts {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sessions.AccessLifetime <= 0 {
		o.Sessions.AccessLifetime = time.Hour
	}
	a := &Accounts{
		opts: o, db: o.DB, log: o.Log, hasher: newHasher(o.Passwords),
		cache: newSessionCache(), rules: newRuleCache(), seen: newSightings(), tokens: map[[32]byte]bool{},
	}
	for _, token := range o.Registration.Tokens {
		a.tokens[sha256.Sum256([]byte(token))] = true
	}
	o.DB.Follow(a.apply)
	return a
}

// apply forgets what a log entry made stale.
func (a *Accounts) apply(e *storage.LogEntry) {
	e.Touched(func(s storage.Subject, _ storage.Position) {
		switch s.Kind {
		case storage.Sessions:
			a.cache.forget(s.ID)
		case storage.User:
			a.rules.forget(s.ID)
		}
	})
}

// seenEvery is how often devices' last uses are written.
const seenEvery = 30 * time.Second

// Run writes devices' last uses now and then, until ctx ends.
func (a *Accounts) Run(ctx context.Context) error {
	t := time.NewTicker(seenEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			a.writeSeen(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			a.writeSeen(last)
			return nil
		}
	}
}

// Caller is who makes a request, for sessions and the audit log.
type Caller struct {
	// User and Device are empty for a caller without a session.
	User   id.UserID
	Device id.DeviceID
	// Remote is the caller's address.
	Remote netip.Addr
	// Agent names the client.
	Agent string
}

func (c Caller) from() string {
	if !c.Remote.IsValid() {
		return ""
	}
	return c.Remote.String()
}

// Ours reports whether a user ID belongs to this server.
func (a *Accounts) Ours(user id.UserID) bool { return user.Homeserver() == a.opts.ServerName }

// ServerName is the domain of our users' IDs.
func (a *Accounts) ServerName() string { return a.opts.ServerName }

func (a *Accounts) now() time.Time { return a.opts.Now() }

// tries bounds how often a change is built again because another crossed it.
const tries = 10

// revise commits a change that build made from a fresh reading, and builds it
// again when another change of the account crossed it. A nil commit changes
// nothing.
func (a *Accounts) revise(ctx context.Context, build func() (*storage.Commit, error)) error {
	for range tries {
		c, err := build()
		if c == nil || err != nil {
			return err
		}
		_, err = a.db.Commit(ctx, *c)
		if !errors.Is(err, storage.ErrConflict) {
			return busy(err)
		}
	}
	return fault.New(fault.Unavailable, "Too many changes at once")
}

// commit commits a change that nothing can cross.
func (a *Accounts) commit(ctx context.Context, c storage.Commit) error {
	_, err := a.db.Commit(ctx, c)
	return busy(err)
}

// busy turns a full queue into a fault.
func busy(err error) error {
	if errors.Is(err, storage.ErrBusy) {
		return fault.Wrap(err, fault.Unavailable, "The server is busy")
	}
	return err
}

// touch is the log's subject for one of our users.
func (a *Accounts) touch(ctx context.Context, kind storage.SubjectKind, user id.UserID) ([]storage.Subject, error) {
	s, err := a.db.UserSubject(ctx, kind, user)
	return []storage.Subject{s}, err
}
