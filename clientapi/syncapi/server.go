package syncapi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"entente/accounts"
	"entente/clientapi/render"
	"entente/internal/lru"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Options are what a Server is built from.
type Options struct {
	// DB and Rooms are what there is to tell of. Rooms follows the log already.
	DB    *storage.DB
	Rooms *roomserver.Server
	// Accounts know push rules and filters.
	Accounts *accounts.Accounts
	// Transactions know which device's request made an event; nil knows none.
	Transactions *render.Transactions
	// OnTyping is told that a local user began or stopped typing, to tell other
	// servers; nil tells nobody. It must not take long.
	OnTyping func(ctx context.Context, room *storage.RoomInfo, user id.UserID, typing bool)
	// OnReceipt is told of a local user's public receipt, likewise.
	OnReceipt func(ctx context.Context, room *storage.RoomInfo, r storage.Receipt)
	// OnPresence is told of a local user's presence, likewise.
	OnPresence func(p Presence)
	// Presence shows users each other's presence.
	Presence bool
	// RingBytes bounds the events kept in memory; zero is 32 MiB.
	RingBytes int
	// Log receives what is worth an operator's attention; nil discards.
	Log *slog.Logger
	// Now is the clock; nil is the real one.
	Now func() time.Time
}

// Server tells clients what changed. It is complete once made; Run ends what
// has lasted long enough.
type Server struct {
	opts     Options
	db       *storage.DB
	rooms    *roomserver.Server
	log      *slog.Logger
	now      func() time.Time
	renderer *render.Renderer
	epoch    int64
	boot     string
	filters  *lru.Cache[filterName, *Filter]
	sent     *lru.Cache[audience, *sentMembers]
	closing  chan struct{}

	mu         sync.Mutex
	pos        storage.Position          // how far the index has followed the log; guarded by mu
	applying   storage.Position          // of the commit that is being applied; guarded by mu
	lines      map[storage.RoomNID]*line // guarded by mu
	readers    map[int64]*reader         // by the user's number; guarded by mu
	names      map[id.UserID]*reader     // the same, by ID; guarded by mu
	ringBytes  int                       // what the lines' rings take; guarded by mu
	ephemeral  int64                     // counts changes of what is not stored; guarded by mu
	typing     map[*line]struct{}        // lines in which someone types, or did of late; guarded by mu
	presence   map[id.UserID]*presence   // guarded by mu
	presenceAt int64                     // ephemeral when presence changed last; guarded by mu
	closed     bool                      // guarded by mu
	pace       pace                      // guarded by mu
}

const (
	defaultRing = 32 << 20
	filtersKept = 20_000
	sentKept    = 500_000
	readersKept = 20_000
	readerIdle  = 10 * time.Minute
	sweepEvery  = time.Second
	forgetEvery = time.Minute
)

// New makes a Server that follows the database's log from here on.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.RingBytes == 0 {
		o.RingBytes = defaultRing
	}
	s := &Server{
		opts: o, db: o.DB, rooms: o.Rooms, log: o.Log, now: o.Now, epoch: o.DB.Epoch(), boot: o.DB.Node(),
		renderer: &render.Renderer{Rooms: o.Rooms, Transactions: o.Transactions, Now: o.Now},
		filters:  lru.New[filterName](filtersKept, func(*Filter) int { return 1 }),
		sent:     lru.New[audience](sentKept, (*sentMembers).cost),
		closing:  make(chan struct{}),
		lines:    map[storage.RoomNID]*line{}, readers: map[int64]*reader{}, names: map[id.UserID]*reader{},
		typing: map[*line]struct{}{}, presence: map[id.UserID]*presence{},
	}
	s.db.Follow(s.follow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos = max(s.pos, s.db.Applied())
	return s
}

// Run ends typing and presence that have lasted long enough and forgets who
// has not asked for long, until ctx ends; then it answers all who wait.
func (s *Server) Run(ctx context.Context) error {
	sweep, forget := time.NewTicker(sweepEvery), time.NewTicker(forgetEvery)
	defer sweep.Stop()
	defer forget.Stop()
	for {
		select {
		case <-sweep.C:
			s.sweep()
		case <-forget.C:
			s.forgetReaders()
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.closed {
				s.closed = true
				close(s.closing)
			}
			return nil
		}
	}
}

// sweep ends what has lasted long enough.
func (s *Server) sweep() {
	s.sweepTyping()
	s.sweepPresence()
}

// pushRules are a user's push rules, ready to be shown and evaluated.
func (s *Server) pushRules(ctx context.Context, user id.UserID) (*accounts.PushRules, error) {
	return s.opts.Accounts.PushRules(ctx, user)
}
