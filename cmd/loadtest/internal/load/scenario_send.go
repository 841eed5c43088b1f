package load

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"
)

// SendPlan is a number of clients that send as fast as they are answered.
type SendPlan struct {
	// Name is the scenario's name in the result.
	Name string
	// Clients send at the same time.
	Clients int
	// OneRoom puts them all in one room; otherwise each has its own.
	OneRoom bool
	// Count is how many messages they send together.
	Count int
}

// Send measures acknowledged sends: each client sends its next message when
// the last one is acknowledged.
func (l *Lab) Send(ctx context.Context, p SendPlan) (*Result, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	senders, rooms, err := l.furnish(ctx, p.Clients, p.OneRoom)
	if err != nil {
		return nil, err
	}
	if l.Realism.OpenSyncs {
		stop, err := l.open(ctx, senders, nil)
		if err != nil {
			return nil, err
		}
		r, err := l.measureSends(ctx, p, senders, rooms)
		return r, errors.Join(err, stop())
	}
	return l.measureSends(ctx, p, senders, rooms)
}

// furnish makes n senders and their rooms, with members, state and history.
func (l *Lab) furnish(ctx context.Context, n int, oneRoom bool) ([]*Client, []id.RoomID, error) {
	senders, err := l.clients(ctx, l.Server, n)
	if err != nil {
		return nil, nil, err
	}
	inRoom := 1
	if oneRoom {
		inRoom = n
	}
	idle, err := l.idle(ctx, inRoom)
	if err != nil {
		return nil, nil, err
	}
	creators := senders
	if oneRoom {
		creators, idle = senders[:1], append(idle, senders[1:]...)
	}
	rooms, err := l.rooms(ctx, creators, idle)
	if err != nil {
		return nil, nil, err
	}
	for len(rooms) < n {
		rooms = append(rooms, rooms[0])
	}
	return senders, rooms, l.warm(ctx, senders, rooms)
}

func (l *Lab) measureSends(ctx context.Context, p SendPlan, senders []*Client, rooms []id.RoomID) (*Result, error) {
	r := &Result{Scenario: p.Name, Operation: "send", Operations: p.Count, Params: map[string]any{
		"clients": p.Clients, "count": p.Count, "one_room": p.OneRoom, "rooms": l.Realism,
	}}
	var latency Histogram
	err := l.measure(ctx, r, func(ctx context.Context) error {
		var next atomic.Int64
		return l.sendAll(ctx, senders, rooms, func() (int, bool) {
			n := int(next.Add(1)) - 1
			return n, n < p.Count
		}, func(took time.Duration) { latency.Add(took) })
	})
	r.Latency = latency.Summary()
	return r, err
}

// sendAll lets each sender send, one message after another, the numbers that
// next gives out; sent is told how long each acknowledgement
// took.
func (l *Lab) sendAll(ctx context.Context, senders []*Client, rooms []id.RoomID, next func() (int, bool), sent func(took time.Duration)) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range senders {
		g.Go(func() error {
			var buf bytes.Buffer
			var content []byte
			for {
				n, more := next()
				if !more {
					return nil
				}
				content = message(content, l.run, n)
				start := time.Now()
				if err := c.Send(ctx, rooms[i], content, &buf); err != nil {
					return err
				}
				sent(time.Since(start))
			}
		})
	}
	return g.Wait()
}
