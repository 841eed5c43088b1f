package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Ledger holds every message of a run against every client that should get
// it: each delivery is counted once, with its delay since the send.
type Ledger struct {
	run     string
	start   time.Time
	sent    []atomic.Int64 // nanoseconds after start, by message; 0 is unsent
	delays  Histogram
	changed chan struct{} // holds one value when the counts moved

	mu         sync.Mutex
	seen       []map[int]bool // guarded by mu: messages by receiver
	delivered  int            // guarded by mu
	duplicates int            // guarded by mu
}

// newLedger makes the ledger of a run of n messages to some receivers.
func newLedger(run string, n, receivers int) *Ledger {
	l := &Ledger{run: run, start: time.Now(), sent: make([]atomic.Int64, n), changed: make(chan struct{}, 1), seen: make([]map[int]bool, receivers)}
	for i := range l.seen {
		l.seen[i] = make(map[int]bool, n)
	}
	return l
}

// send notes that message n leaves at t.
func (l *Ledger) send(n int, t time.Time) { l.sent[n].Store(max(1, int64(t.Sub(l.start)))) }

// receive notes that a receiver got message n at t, and reports whether it
// was new to it. Only a message that a sync repeats is a duplicate: paged is
// for history, where a client goes until it meets what it has.
func (l *Ledger) receive(receiver, n int, t time.Time, paged bool) bool {
	if n < 0 || n >= len(l.sent) {
		return false
	}
	l.mu.Lock()
	fresh := !l.seen[receiver][n]
	if fresh {
		l.seen[receiver][n] = true
		l.delivered++
	} else if !paged {
		l.duplicates++
	}
	l.mu.Unlock()
	if !fresh {
		return false
	}
	l.delays.Add(t.Sub(l.start) - time.Duration(l.sent[n].Load()))
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return true
}

// counts returns the deliveries so far, and those that came twice.
func (l *Ledger) counts() (delivered, duplicates int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delivered, l.duplicates
}

// await waits until want deliveries have come, or nothing has for patience.
func (l *Ledger) await(ctx context.Context, want int, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if n, _ := l.counts(); n >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-l.changed:
			timer.Reset(patience)
		}
	}
}

// deliveries is what the ledger comes to.
func (l *Ledger) deliveries(expected int) *Deliveries {
	delivered, duplicates := l.counts()
	return &Deliveries{Expected: expected, Delivered: delivered, Duplicates: duplicates, Delay: l.delays.Summary()}
}
