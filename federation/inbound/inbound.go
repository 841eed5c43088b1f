// Package inbound is what peers call: the Server-Server API. Each file is
// named for the part of the specification that it serves; routes.go lists what
// there is, and for each endpoint about a room that the room's server ACL is
// asked first.
//
// A transaction is answered 200 when each of its events was processed or is
// durably staged. What could not be processed in time, or for lack of what
// nobody could give us just then, is staged: bounded for each peer, in order,
// tried again by one node until it is done.
//
// Spec: server-server-api/
package inbound

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"entente/federation/keys"
	"entente/internal/lru"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"github.com/prometheus/client_golang/prometheus"
	"maunium.net/go/mautrix/id"
)

// Options are what a Server works with. DB, Rooms and Keys are needed.
type Options struct {
	DB *storage.DB
	// Rooms are the rooms of this server.
	Rooms *roomserver.Server
	// Keys are our keys, and verify what peers signed.
	Keys *keys.Ring
	// Policy is asked about peers; nil permits everything.
	Policy *Policy
	// EDUs take ephemeral data; nil takes none.
	EDUs *EDUs
	// Profile reads the profile of a user of this server, or one field of it;
	// nil answers that there is no such user.
	// Spec: server-server-api/#get_matrixfederationv1queryprofile
	Profile func(ctx context.Context, user id.UserID, field string) (map[string]json.RawMessage, error)
	// HideDirectory does not show other servers the published rooms.
	HideDirectory bool
	// Contacted is called with every peer that made a request; nil calls nothing.
	Contacted func(server string)
	// Version is the version of this software.
	Version string
	// Patience is how long the events of a transaction are worked on before
	// the rest is staged; 20 seconds when zero.
	Patience time.Duration
	// StagedEvents and StagedBytes bound what waits of one peer; 5,000 events
	// and 32 MiB when zero.
	StagedEvents, StagedBytes int64
	// FirstRetry is the pause before a staged event is tried again, which
	// doubles up to an hour; five seconds when zero.
	FirstRetry time.Duration
	// Log receives what is worth an operator's attention; nil discards.
	Log *slog.Logger
	// Metrics registers counters; they are not shown when nil.
	Metrics prometheus.Registerer
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Policy is what peers' requests are held to. Every function may be nil, which
// permits everything.
type Policy struct {
	// Accept decides whether a server is listened to.
	Accept func(server string) error
	// EDU decides whether ephemeral data of a type is taken from a server.
	EDU func(server, kind string) error
}

// EDUs take the ephemeral data of peers' users, once it is known that they are
// the peer's and in the room. A function that is nil takes none.
type EDUs struct {
	// Typing takes that a user types in a room, or stopped.
	Typing func(ctx context.Context, room *storage.RoomInfo, user id.UserID, typing bool) error
	// Receipts keeps what users have read: they are stored when it returns.
	Receipts func(ctx context.Context, receipts []Receipt) error
	// Presence takes what users are doing.
	Presence func(ctx context.Context, updates []Presence) error
}

const (
	defaultPatience     = 20 * time.Second
	defaultStagedEvents = 5_000
	defaultStagedBytes  = 32 << 20
	defaultFirstRetry   = 5 * time.Second

	answersKept = 4 << 20 // bytes of answers to transactions in memory
	aclsKept    = 20_000
	countsKept  = 10_000
)

// Server serves peers. It is safe for concurrent use.
type Server struct {
	o       Options
	rooms   *roomserver.Server
	metrics *metrics
	gates   *gates
	answers *lru.Cache[string, []byte]        // of transactions, by origin and ID
	counts  *lru.Cache[string, *atomic.Int64] // of transactions, by origin
	memory  memory
	boot    int64 // when this process started: counts go on from there
	acls    *acls
	staging *staging
}

// New makes a Server, which follows the database's log from here on. Staged
// events are processed while Run runs.
func New(o Options) *Server {
	if o.Policy == nil {
		o.Policy = &Policy{}
	}
	if o.Policy.Accept == nil {
		o.Policy.Accept = func(string) error { return nil }
	}
	if o.Policy.EDU == nil {
		o.Policy.EDU = func(string, string) error { return nil }
	}
	if o.EDUs == nil {
		o.EDUs = &EDUs{}
	}
	if o.Contacted == nil {
		o.Contacted = func(string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Patience = orDefault(o.Patience, defaultPatience)
	o.StagedEvents = orDefault(o.StagedEvents, defaultStagedEvents)
	o.StagedBytes = orDefault(o.StagedBytes, defaultStagedBytes)
	o.FirstRetry = orDefault(o.FirstRetry, defaultFirstRetry)
	s := &Server{
		o: o, rooms: o.Rooms, metrics: newMetrics(o.Metrics), gates: newGates(),
		answers: lru.New[string](answersKept, func(b []byte) int { return len(b) + answerOverhead }),
		counts:  lru.New[string](countsKept, func(*atomic.Int64) int { return 1 }),
		acls:    newACLs(), staging: newStaging(), boot: o.Now().UnixMilli(),
	}
	if o.DB != nil { // without, it can list its routes
		o.DB.Follow(s.follow)
	}
	return s
}

// answerOverhead is about what an answer takes beside its bytes.
const answerOverhead = 128

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// follow keeps what is cached true, and learns of staged events.
func (s *Server) follow(e *storage.LogEntry) {
	for _, c := range e.Commits {
		done, ok := c.Attachment.(*roomserver.Committed)
		stateless := ok && len(done.Deltas) == 0
		for _, subject := range c.Touched {
			switch {
			case subject.Kind == storage.Room && !stateless:
				s.acls.forget(storage.RoomNID(subject.ID))
			case subject.Kind == storage.Staged:
				s.staging.mark(storage.RoomNID(subject.ID), time.Time{})
			}
		}
	}
}

// isUserOf reports whether a user is well-formed and a server's.
func isUserOf(user id.UserID, server string) bool {
	return event.ValidUserID(user) && event.ServerOf(user) == server
}
