package audit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"entente/storage"
)

const (
	// window is how long repeats are gathered.
	window = time.Minute
	// maxPairs bounds the pairs of peer and rule that are told apart in a
	// window. Strangers can make up names; what is beyond counts as others.
	maxPairs = 1000
	// others stands for the peers that are not told apart.
	others = "*"
	// maxPending bounds the records that wait while the database does not take them.
	maxPending = 2 * maxPairs
)

// Options are what an Auditor works with.
type Options struct {
	DB  *storage.DB
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Auditor writes the audit log. It is safe for concurrent use.
type Auditor struct {
	db   *storage.DB
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex
	pairs   map[pair]*repeats // guarded by mu
	pending []Record          // to be written; guarded by mu
	lost    int64             // refusals that found no room; guarded by mu

	flushing sync.Mutex // one flush at a time
}

// pair is what repeats have in common.
type pair struct {
	server string
	rule   string
}

// repeats are refusals of one pair in a window.
type repeats struct {
	began time.Time // of the window
	last  Record    // the latest that is not in the log yet
	first time.Time // of those not in the log yet
	count int64     // not in the log yet
}

// New makes an Auditor. Run must run for Refused to reach the log.
func New(o Options) *Auditor {
	a := &Auditor{db: o.DB, log: o.Log, now: o.Now, wake: make(chan struct{}, 1), pairs: map[pair]*repeats{}}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a
}

// Write appends records that belong to no other commit, and returns when they
// are durable. What belongs to a commit goes into its Audit instead.
func (a *Auditor) Write(ctx context.Context, records ...Record) error {
	c := storage.Commit{Positions: 1}
	for _, r := range records {
		if r.At.IsZero() {
			r.At = a.now()
		}
		c.Audit = append(c.Audit, r.Stored())
	}
	_, err := a.db.Commit(ctx, c)
	return err
}

// Refused notes a refusal. It never waits. The first of a peer and a rule goes
// to the log at once, its repeats together with their count when a minute is
// over.
func (a *Auditor) Refused(r Record) {
	if r.At.IsZero() {
		r.At = a.now()
	}
	if r.Outcome == "" {
		r.Outcome = Refused
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := pair{r.Server, r.Rule}
	p := a.pairs[key]
	if p == nil && len(a.pairs) >= maxPairs {
		key.server = others
		p = a.pairs[key]
		r.Server, r.Who, r.Target, r.Room, r.Address, r.Detail = others, "", "", "", "", nil
	}
	if p == nil {
		a.pairs[key] = &repeats{began: r.At}
		r.Count = 1
		a.queueLocked(r)
		return
	}
	if p.count == 0 {
		p.first = r.At
	}
	p.count++
	p.last = r
}

func (a *Auditor) queueLocked(r Record) {
	if len(a.pending) >= maxPending {
		a.lost++
		return
	}
	a.pending = append(a.pending, r)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// gatherLocked ends the windows that are over at a time, or all of them.
func (a *Auditor) gatherLocked(at time.Time, all bool) {
	var over []Record
	for key, p := range a.pairs {
		if !all && at.Sub(p.began) < window {
			continue
		}
		if p.count == 0 {
			delete(a.pairs, key)
			continue
		}
		r := p.last
		r.Count, r.First = p.count, p.first
		over = append(over, r)
		*p = repeats{began: at}
	}
	slices.SortFunc(over, func(x, y Record) int {
		if c := x.First.Compare(y.First); c != 0 {
			return c
		}
		return strings.Compare(x.Server+"\n"+x.Rule, y.Server+"\n"+y.Rule)
	})
	for _, r := range over {
		a.queueLocked(r)
	}
}

// Run writes what Refused noted until ctx ends, and then the rest.
func (a *Auditor) Run(ctx context.Context) error {
	t := time.NewTicker(window / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return a.flush(last, true)
		case <-t.C:
		case <-a.wake:
		}
		if err := a.flush(ctx, false); err != nil && ctx.Err() == nil {
			a.log.Error("the audit log cannot be written; trying again", "error", err)
		}
	}
}

// Flush writes everything that Refused noted so far.
func (a *Auditor) Flush(ctx context.Context) error { return a.flush(ctx, true) }

func (a *Auditor) flush(ctx context.Context, all bool) error {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	a.mu.Lock()
	a.gatherLocked(a.now(), all)
	batch, lost := a.pending, a.lost
	a.pending, a.lost = nil, 0
	a.mu.Unlock()
	if lost > 0 {
		batch = append(batch, Record{Kind: Policy, At: a.now(), Outcome: Refused, Server: others, Rule: "audit.overflow", Count: lost})
	}
	if len(batch) == 0 {
		return nil
	}
	err := a.Write(ctx, batch...)
	if err != nil && !errors.Is(err, storage.ErrClosed) {
		a.mu.Lock()
		a.pending = append(batch[:min(len(batch), maxPending)], a.pending...)
		a.mu.Unlock()
	}
	return err
}
