package load

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"
)

// FanOutPlan is one room in which messages come at a steady rate and many
// members read along.
type FanOutPlan struct {
	// Members sync; the sender is one of them.
	Members int
	// Rate is messages a second, kept whatever the server's answers take.
	Rate float64
	// Count is how many messages are sent.
	Count int
}

// FanOut measures deliveries: the time from when a message was due to be sent
// until a member's sync has it, and that every member gets every message.
func (l *Lab) FanOut(ctx context.Context, p FanOutPlan) (*Result, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	members, rooms, err := l.furnish(ctx, p.Members, true)
	if err != nil {
		return nil, err
	}
	ledger := newLedger(l.run, p.Count, p.Members)
	stop, err := l.open(ctx, members, ledger)
	if err != nil {
		return nil, err
	}
	r := &Result{Scenario: "fanout", Operation: "delivery", Operations: p.Count * p.Members, Params: map[string]any{
		"members": p.Members, "rate": p.Rate, "count": p.Count, "rooms": l.Realism,
	}}
	var latency Histogram
	err = l.measure(ctx, r, func(ctx context.Context) error {
		if err := l.steadily(ctx, p, members[0], rooms[0], ledger, &latency); err != nil {
			return err
		}
		return ledger.await(ctx, p.Count*p.Members, l.Settle)
	})
	r.Latency = latency.Summary()
	r.Delivery = ledger.deliveries(p.Count * p.Members)
	return r, errors.Join(err, stop())
}

// steadily sends on schedule. A slow answer does not hold up the next
// message, up to 64 in flight.
func (l *Lab) steadily(ctx context.Context, p FanOutPlan, c *Client, room id.RoomID, ledger *Ledger, latency *Histogram) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	interval := time.Duration(float64(time.Second) / p.Rate)
	begin := time.Now()
	for n := range p.Count {
		due := begin.Add(time.Duration(n) * interval)
		if err := wait(ctx, time.Until(due)); err != nil {
			return errors.Join(g.Wait(), err)
		}
		g.Go(func() error {
			var buf bytes.Buffer
			ledger.send(n, due)
			start := time.Now()
			if err := c.Send(ctx, room, message(nil, l.run, n), &buf); err != nil {
				return err
			}
			latency.Add(time.Since(start))
			return nil
		})
	}
	return g.Wait()
}

// SyncLatency measures one client that sends a message, waits until its own
// sync shows it, and sends the next.
func (l *Lab) SyncLatency(ctx context.Context, count int) (*Result, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	clients, rooms, err := l.furnish(ctx, 1, false)
	if err != nil {
		return nil, err
	}
	ledger := newLedger(l.run, count, 1)
	stop, err := l.open(ctx, clients, ledger)
	if err != nil {
		return nil, err
	}
	r := &Result{Scenario: "sync-latency", Operation: "round", Operations: count, Params: map[string]any{"count": count, "rooms": l.Realism}}
	var latency Histogram
	err = l.measure(ctx, r, func(ctx context.Context) error {
		var buf bytes.Buffer
		var content []byte
		for n := range count {
			content = message(content, l.run, n)
			start := time.Now()
			ledger.send(n, start)
			if err := clients[0].Send(ctx, rooms[0], content, &buf); err != nil {
				return err
			}
			latency.Add(time.Since(start))
			if err := ledger.await(ctx, n+1, l.Settle); err != nil {
				return err
			}
		}
		return nil
	})
	r.Latency = latency.Summary()
	r.Delivery = ledger.deliveries(count)
	if d := r.Delivery.Delay; d != nil {
		r.Figures = map[string]float64{"median_beyond_fsync_ms": d.P50MS - r.Baseline.FsyncMS}
	}
	return r, errors.Join(err, stop())
}

// InitialSync measures a client in many rooms that syncs from nothing, as
// after a login.
func (l *Lab) InitialSync(ctx context.Context, rooms, count int) (*Result, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	who, err := l.clients(ctx, l.Server, 1)
	if err != nil {
		return nil, err
	}
	idle, err := l.idle(ctx, 1)
	if err != nil {
		return nil, err
	}
	creators := make([]*Client, rooms)
	for i := range creators {
		creators[i] = who[0]
	}
	made, err := l.rooms(ctx, creators, idle)
	if err != nil {
		return nil, err
	}
	if err := l.warm(ctx, creators, made); err != nil {
		return nil, err
	}
	r := &Result{Scenario: "initial-sync", Operation: "sync", Operations: count, Params: map[string]any{"joined": rooms, "count": count, "rooms": l.Realism}}
	var latency Histogram
	var buf bytes.Buffer
	err = l.measure(ctx, r, func(ctx context.Context) error {
		for range count {
			start := time.Now()
			if _, err := who[0].Sync(ctx, "", syncFilter, 0, &buf); err != nil {
				return err
			}
			latency.Add(time.Since(start))
		}
		return nil
	})
	r.Latency = latency.Summary()
	r.Figures = map[string]float64{"answer_bytes": float64(buf.Len())}
	return r, err
}
