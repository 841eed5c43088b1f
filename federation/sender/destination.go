package sender

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"entente/federation/client"
	"entente/storage"
)

const (
	// maxPending bounds the events that a destination is told of ahead of its
	// cursor; beyond, its worker reads them.
	maxPending = 256
	// elsewhere is how long a destination is left to the node that has it
	// before this one asks again.
	elsewhere = 3 * time.Second
	// databaseRetry is the pause after the database, or the policy, failed.
	databaseRetry = time.Second
	// contactPause is how many first backoffs must lie between an attempt and
	// one that a sign of life allows.
	contactPause = 10
)

// destination is a peer in memory.
type destination struct {
	name      string
	from      storage.Position // it was told of everything after this
	wake      chan struct{}
	flight    atomic.Pointer[flight]
	leased    atomic.Bool
	failing   atomic.Bool // the last attempt failed
	contacted atomic.Bool // the peer called us since
	lost      atomic.Bool // another node has the lease

	mu      sync.Mutex
	running bool             // a worker runs; guarded by mu
	left    time.Time        // another node had it then; guarded by mu
	pending []*outgoing      // what follows the cursor, unless behind; guarded by mu
	behind  bool             // there is more than pending; guarded by mu
	through storage.Position // what was read itself, and need not be told; guarded by mu
	newest  storage.Position // the last event that it must get; guarded by mu
	edus    eduQueue         // guarded by mu
}

// flight is a transaction under way.
type flight struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// destinationLocked is a destination in memory, made when there is none.
func (s *Sender) destinationLocked(name string) *destination {
	d := s.destinations[name]
	if d == nil {
		d = &destination{name: name, from: s.scanned, wake: make(chan struct{}, 1)}
		s.destinations[name] = d
		s.metrics.destinations.Inc()
	}
	return d
}

// startLocked makes sure that a worker looks at the destination.
func (s *Sender) startLocked(d *destination) {
	d.signal()
	if s.running == nil || s.running.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running || s.o.Now().Sub(d.left) < elsewhere {
		return
	}
	d.running = true
	d.lost.Store(false)
	ctx := s.running
	s.workers.Go(func() { (&worker{Sender: s, d: d}).run(ctx) })
}

func (d *destination) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// tell adds an event that the destination must get.
func (d *destination) tell(o *outgoing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = max(d.newest, o.Pos)
	switch {
	case d.behind || o.Pos <= d.through:
	case len(d.pending) == maxPending:
		d.behind, d.pending = true, nil
	default:
		d.pending = append(d.pending, o)
	}
}

// forget takes what lies up to a position off the list. The caller holds mu.
func (d *destination) forget(through storage.Position) {
	n := 0
	for n < len(d.pending) && d.pending[n].Pos <= through {
		d.pending[n] = nil
		n++
	}
	if d.pending = d.pending[n:]; len(d.pending) == 0 {
		d.pending = nil
	}
}

// lose ends the worker: another node sends to the destination now.
func (d *destination) lose() {
	d.lost.Store(true)
	d.signal()
	if f := d.flight.Load(); f != nil {
		f.cancel()
	}
}

// worker sends to one destination. Its fields belong to its goroutine.
type worker struct {
	*Sender
	d   *destination
	row storage.Destination
	// retryAt is when the destination is tried again, and tried when it was
	// last.
	retryAt, tried time.Time
	// single sends events one by one, to find the one that the peer chokes on.
	single int
}

// run works until there has been nothing to do for a while.
func (w *worker) run(ctx context.Context) {
	mine := w.claim(ctx)
	for mine && ctx.Err() == nil && !w.d.lost.Load() {
		if w.step(ctx) {
			continue
		}
		if !w.pause(ctx, w.o.Idle) && w.end(ctx, false) {
			return
		}
	}
	if mine && w.permission(w.d.name) == forbidden {
		w.skip() // also what came since it last looked
	}
	w.end(ctx, true)
}

// claim loads the destination, however long that takes; false when another
// node has it.
func (w *worker) claim(ctx context.Context) bool {
	for ctx.Err() == nil {
		ok, err := w.load(ctx)
		if err == nil {
			return ok
		}
		if ctx.Err() == nil {
			w.o.Log.Warn("the state of a destination could not be read; trying again", "server", w.d.name, "error", err)
			w.pause(ctx, databaseRetry)
		}
	}
	return false
}

// load takes the destination's lease and reads its row. A destination without
// a row is new: it lacks what it was told of, and nothing before.
func (w *worker) load(ctx context.Context) (ok bool, err error) {
	lease, ok, err := w.o.DB.Lease(ctx, leaseName(w.d.name), leaseTime)
	if err != nil || !ok {
		return false, err
	}
	w.d.leased.Store(true)
	w.mu.Lock()
	row := w.unsaved[w.d.name]
	w.mu.Unlock()
	if row == nil {
		if row, err = w.o.DB.Latest().Destination(ctx, w.d.name); err != nil {
			return false, err
		}
	}
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if row == nil {
		row = &storage.Destination{Server: w.d.name, Cursor: w.d.from}
	}
	w.row = *row
	w.row.Epoch = lease.Epoch
	if w.row.Failures > 0 {
		w.retryAt = time.UnixMilli(w.row.RetryAt)
		w.d.failing.Store(true)
	}
	w.d.through = max(w.d.through, w.row.Cursor)
	w.d.forget(w.row.Cursor)
	// What lies between the cursor and what it was told of must be read.
	if w.row.Cursor < w.row.Newest && w.row.Cursor < w.d.from {
		w.d.behind, w.d.pending = true, nil
	}
	w.d.newest = max(w.d.newest, w.row.Newest)
	return true, nil
}

// end stops the worker, unless there is something to do after all.
func (w *worker) end(ctx context.Context, force bool) bool {
	w.mu.Lock()
	w.d.mu.Lock()
	lacks := w.d.behind || len(w.d.pending) > 0 || w.d.edus.len() > 0
	if lacks && !force {
		w.d.mu.Unlock()
		w.mu.Unlock()
		return false
	}
	had := w.d.leased.Swap(false)
	if force && ctx.Err() == nil { // it is another node's
		w.d.left, w.d.behind, w.d.pending = w.o.Now(), true, nil
		w.metrics.dropped.WithLabelValues("stale").Add(float64(w.d.edus.clear()))
	} else {
		delete(w.destinations, w.d.name)
		w.metrics.destinations.Dec()
	}
	w.d.running = false
	w.d.mu.Unlock()
	w.mu.Unlock()
	if had && !w.d.lost.Load() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		defer cancel()
		row := w.row
		if err := w.o.DB.Stage(last, &row, &storage.EndLease{Name: leaseName(w.d.name)}); err != nil {
			w.o.Log.Warn("a destination's lease could not be given back", "server", w.d.name, "error", err)
		}
	}
	return true
}

// pause waits for a while, or until the destination is woken: then it answers
// true.
func (w *worker) pause(ctx context.Context, during time.Duration) bool {
	t := time.NewTimer(during)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-w.d.wake:
		return true
	}
	return false
}

// step does one thing, and answers false when there was nothing to do.
func (w *worker) step(ctx context.Context) bool {
	switch w.permission(w.d.name) {
	case undecided:
		w.pause(ctx, databaseRetry)
		return true
	case forbidden:
		w.skip()
		return false
	}
	if wait := w.wait(); wait > 0 {
		w.pause(ctx, wait)
		return true
	}
	b, err := w.next(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.o.Log.Warn("events to send could not be read; trying again", "server", w.d.name, "error", err)
			w.pause(ctx, databaseRetry)
		}
		return true
	}
	if b.empty() {
		return w.advance(b)
	}
	w.send(ctx, b)
	return true
}

// wait is how long to wait before the next attempt. A sign of life from the
// peer shortens it.
func (w *worker) wait() time.Duration {
	at := w.retryAt
	if w.d.contacted.Load() {
		if early := w.tried.Add(contactPause * w.o.FirstBackoff); early.Before(at) {
			at = early
		}
	}
	return at.Sub(w.o.Now())
}

// skip moves the cursor past what the destination is not to get.
func (w *worker) skip() {
	w.d.mu.Lock()
	newest := max(w.d.newest, w.d.through)
	skipped := len(w.d.pending)
	w.d.pending, w.d.behind = nil, false
	w.d.through = newest
	dropped := w.d.edus.clear()
	w.d.mu.Unlock()
	w.metrics.skipped.WithLabelValues("policy").Add(float64(skipped))
	w.metrics.dropped.WithLabelValues("policy").Add(float64(dropped))
	if newest > w.row.Cursor {
		w.row.Cursor, w.row.Newest = newest, newest
		w.save()
	}
}

// advance moves the cursor past what was looked through without a find, and
// answers whether there is more to look through.
func (w *worker) advance(b *batch) bool {
	moved := b.through > w.row.Cursor
	w.settle(b)
	if moved {
		w.save()
	}
	return b.more
}

// save has the row persisted with the next flush.
func (w *worker) save() {
	row := w.row
	w.d.mu.Lock()
	row.Newest = max(row.Newest, w.d.newest)
	w.d.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsaved[row.Server] = &row
}

// send sends a batch, and notes what came of it.
func (w *worker) send(ctx context.Context, b *batch) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &flight{cancel, make(chan struct{})}
	w.d.flight.Store(f)
	defer func() {
		w.d.flight.Store(nil)
		cancel()
		close(f.done)
	}()
	// Whoever changed the policy before the flight was known looks here.
	if w.permission(w.d.name) != permitted || w.d.lost.Load() {
		w.giveBack(b)
		return
	}
	w.tried = w.o.Now()
	w.d.contacted.Store(false)
	refused, err := w.o.Send(ctx, w.d.name, client.Transaction{
		ID: w.transactionID(b), Timestamp: w.tried.UnixMilli(), PDUs: b.pdus(), EDUs: b.bodies(),
	})
	if err != nil {
		w.giveBack(b)
		if ctx.Err() == nil { // else it was cut off
			w.failed(b, err)
		}
		return
	}
	w.sent(b)
	if len(refused) > 0 {
		w.metrics.refused.Add(float64(len(refused)))
		w.o.Log.Debug("a server refused events", "server", w.d.name, "events", len(refused))
	}
}

// sent moves the cursor behind what the destination has got.
func (w *worker) sent(b *batch) {
	w.metrics.transactions.WithLabelValues("ok").Inc()
	w.metrics.pdus.Add(float64(len(b.events)))
	w.metrics.edus.Add(float64(len(b.edus)))
	w.d.failing.Store(false)
	w.retryAt = time.Time{}
	w.single = max(0, w.single-1)
	w.settle(b)
	failed := w.row.Failures > 0
	w.row.Failures, w.row.RetryAt, w.row.Succeeded = 0, 0, w.o.Now().UnixMilli()
	if failed || len(b.events) > 0 {
		w.save()
	}
}

// settle takes what a batch covered off the destination's list.
func (w *worker) settle(b *batch) {
	w.row.Cursor = max(w.row.Cursor, b.through)
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	w.d.forget(b.through)
	// Everything was read: from there on the destination is told again, unless
	// it was told of something later by now.
	if b.end != 0 && w.d.newest <= b.end {
		w.d.behind, w.d.through = false, b.end
	}
}

// giveBack queues the ephemeral data of a batch that was not sent again, but
// for what is out of date by the next attempt.
func (w *worker) giveBack(b *batch) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	w.metrics.dropped.WithLabelValues("stale").Add(float64(w.d.edus.giveBack(b.edus)))
}
