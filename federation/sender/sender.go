// Package sender sends what peers must have: one worker for each destination,
// over a durable cursor.
//
// An event knows the servers that it must be sent to. A pump follows the log
// and tells each of them; a worker sends what its destination lacks, in order,
// at most one transaction at a time, and moves the cursor. Whatever happens,
// what lies behind the cursor is "position after it, and the destination's name
// among the event's": a worker that was told of too much, or that comes back
// after an outage or a restart, reads it from there.
//
// Typing, receipts and presence wait in memory, bounded, the last of each kind,
// and ride with the next transaction.
//
// While an agreement forbids a destination, nothing leaves, and the cursor
// moves past what it is not to get.
//
// Spec: server-server-api/#transactions
package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"entente/federation/client"
	"entente/governance"
	"entente/internal/fault"
	"entente/storage"

	"github.com/prometheus/client_golang/prometheus"
	"maunium.net/go/mautrix/id"
)

// Options are what a Sender works with. DB and Send are needed.
type Options struct {
	DB *storage.DB
	// Send pushes a transaction to a server, and answers what the server says
	// about events that it refused: client.Client's.
	Send func(ctx context.Context, server string, t client.Transaction) (refused map[id.EventID]string, err error)
	// Allow is asked before anything is sent to a server. An error of kind
	// Forbidden stops it, and what the server lacked by then it will not get; any
	// other error, or a governance.Refusal by RuleStale, only stops it for now.
	// Nil allows everything.
	Allow func(server string) error
	// AllowEDU is asked about ephemeral data of a type; what it refuses is left
	// out. Nil allows everything.
	AllowEDU func(server, kind string) error
	// Log receives what is worth an operator's attention; nil discards.
	Log *slog.Logger
	// Metrics registers counters; they are not shown when nil.
	Metrics prometheus.Registerer
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// FirstBackoff is the pause after a first failure, which doubles up to
	// LongestBackoff; a second and an hour when zero.
	FirstBackoff, LongestBackoff time.Duration
	// Idle is how long a worker waits for something to do before it ends; five
	// minutes when zero.
	Idle time.Duration
	// MaxInFlight bounds the transactions under way; 512 when zero.
	MaxInFlight int
}

const (
	defaultFirstBackoff   = time.Second
	defaultLongestBackoff = time.Hour
	defaultIdle           = 5 * time.Minute
	defaultInFlight       = 512

	// flushEvery is how often cursors are persisted: what was sent in the time
	// before a crash is sent again, and known there.
	flushEvery = 5 * time.Second
	// takeOverEvery is how often destinations are looked for that no node serves.
	takeOverEvery = 5 * time.Second
	leaseTime     = 15 * time.Second
	renewEvery    = leaseTime / 3
	lastFlush     = 10 * time.Second
)

// Sender sends events and ephemeral data to peers. It is safe for concurrent
// use.
type Sender struct {
	o       Options
	metrics *metrics
	news    news
	slots   chan struct{} // a slot for each transaction under way
	workers sync.WaitGroup

	mu           sync.Mutex
	running      context.Context                       // that of Run; nil before; guarded by mu
	destinations map[string]*destination               // in memory; guarded by mu
	scanned      storage.Position                      // what the pump has told destinations of; guarded by mu
	newest       map[string]*storage.DestinationNewest // to be persisted; guarded by mu
	unsaved      map[string]*storage.Destination       // to be persisted; guarded by mu
	renewed      time.Time                             // when the leases were last renewed; guarded by mu
	tail         tail                                  // guarded by mu
}

// New makes a Sender, which follows the log from here on. It sends once Run
// runs.
func New(o Options) *Sender {
	if o.Allow == nil {
		o.Allow = func(string) error { return nil }
	}
	if o.AllowEDU == nil {
		o.AllowEDU = func(string, string) error { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.FirstBackoff = orDefault(o.FirstBackoff, defaultFirstBackoff)
	o.LongestBackoff = orDefault(o.LongestBackoff, defaultLongestBackoff)
	o.Idle = orDefault(o.Idle, defaultIdle)
	o.MaxInFlight = orDefault(o.MaxInFlight, defaultInFlight)
	s := &Sender{
		o: o, metrics: newMetrics(o.Metrics), news: news{wake: make(chan struct{}, 1)}, slots: make(chan struct{}, o.MaxInFlight),
		destinations: map[string]*destination{}, newest: map[string]*storage.DestinationNewest{}, unsaved: map[string]*storage.Destination{},
	}
	o.DB.Follow(s.follow)
	return s
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Run sends until ctx ends. What is under way then is cut off, and sent again
// after the next start.
func (s *Sender) Run(ctx context.Context) error {
	err := s.begin(ctx)
	if err == nil {
		s.workers.Go(func() { s.pump(ctx) })
		s.housekeeping(ctx)
	}
	s.workers.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	if flushErr := s.flush(last); flushErr != nil && !errors.Is(flushErr, storage.ErrClosed) {
		return errors.Join(err, flushErr)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// begin reads where the last run ended, and starts workers for what is left.
func (s *Sender) begin(ctx context.Context) error {
	scanned, err := s.o.DB.Latest().DestinationsScanned(ctx)
	if err != nil {
		return fmt.Errorf("read how far events were sent: %w", err)
	}
	s.mu.Lock()
	s.scanned, s.running, s.renewed = scanned, ctx, s.o.Now()
	for _, d := range s.destinations {
		d.from = scanned
		s.startLocked(d)
	}
	s.mu.Unlock()
	s.news.rescan(s.o.DB.Applied())
	return s.takeOver(ctx)
}

// housekeeping persists cursors, renews leases and takes over what no node
// serves.
func (s *Sender) housekeeping(ctx context.Context) {
	flush, renew, takeOver := time.NewTicker(flushEvery), time.NewTicker(renewEvery), time.NewTicker(takeOverEvery)
	defer flush.Stop()
	defer renew.Stop()
	defer takeOver.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			err = s.flush(ctx)
		case <-renew.C:
			err = s.renew(ctx)
		case <-takeOver.C:
			err = s.takeOver(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.o.Log.Warn("the state of destinations could not be kept; trying again", "error", err)
		}
	}
}

// takeOver starts workers for destinations that lack something and have none.
func (s *Sender) takeOver(ctx context.Context) error {
	behind, err := s.o.DB.Latest().Behind(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range behind {
		if _, known := s.unsaved[row.Server]; known {
			continue // the row is older than what we know
		}
		d := s.destinationLocked(row.Server)
		d.mu.Lock()
		if !d.running {
			d.behind, d.pending = true, nil
			d.newest = max(d.newest, row.Newest)
		}
		d.mu.Unlock()
		s.startLocked(d)
	}
	return nil
}

// renew keeps the leases of this node's workers, and stops those that lost
// theirs.
func (s *Sender) renew(ctx context.Context) error {
	s.mu.Lock()
	var leases []string
	held := map[string]*destination{}
	for _, d := range s.destinations {
		if d.leased.Load() {
			leases = append(leases, leaseName(d.name))
			held[leaseName(d.name)] = d
		}
	}
	last := s.renewed
	s.mu.Unlock()
	at := s.o.Now()
	kept, err := s.o.DB.RenewLeases(ctx, leases, leaseTime)
	if err != nil && at.Sub(last) < leaseTime-renewEvery {
		return err
	}
	for name, d := range held {
		if !kept[name] {
			d.lose()
		}
	}
	s.mu.Lock()
	s.renewed = at
	s.mu.Unlock()
	return err
}

func leaseName(server string) string { return "send/" + server }

// PolicyChanged cuts off what may not be sent any more, and returns when
// nothing of it is under way: for governance.Service.OnChange.
func (s *Sender) PolicyChanged() {
	var under []*flight
	for _, d := range s.inMemory() {
		if f := d.flight.Load(); f != nil && s.o.Allow(d.name) != nil {
			f.cancel()
			under = append(under, f)
		}
		d.signal()
	}
	for _, f := range under {
		<-f.done
	}
}

// Wake tells the sender that a server is there: it called us. If it did not
// answer before, it is tried again soon.
func (s *Sender) Wake(server string) {
	s.mu.Lock()
	d := s.destinations[server]
	s.mu.Unlock()
	if d != nil && d.failing.Load() {
		d.contacted.Store(true)
		d.signal()
	}
}

func (s *Sender) inMemory() []*destination {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*destination, 0, len(s.destinations))
	for _, d := range s.destinations {
		out = append(out, d)
	}
	return out
}

// permission is what policy says of a destination.
type permission int

const (
	permitted permission = iota
	// forbidden: what it lacks it will not get.
	forbidden
	// undecided: this node does not know the policy at the moment.
	undecided
)

func (s *Sender) permission(server string) permission {
	err := s.o.Allow(server)
	var refusal *governance.Refusal
	switch {
	case err == nil:
		return permitted
	case errors.As(err, &refusal) && refusal.Rule == governance.RuleStale:
		return undecided
	case fault.Is(err, fault.Forbidden):
		return forbidden
	}
	return undecided
}

// backoff is the pause after a number of failures, with a jitter of a quarter,
// so that those who failed together do not come back together.
func (s *Sender) backoff(failures int64) time.Duration {
	pause := s.o.FirstBackoff
	for ; failures > 1 && pause < s.o.LongestBackoff; failures-- {
		pause *= 2
	}
	pause = min(pause, s.o.LongestBackoff)
	return pause - pause/4 + time.Duration(rand.Int64N(int64(pause/2)+1))
}
