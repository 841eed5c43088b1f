package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"maunium.net/go/mautrix/id"
)

// FederationPlan is one room on two homeservers.
type FederationPlan struct {
	// Clients send on the first server, as fast as they are answered or, with
	// a Rate, together at that many messages a second.
	Clients int
	Rate    float64
	// Receivers sync on the second server.
	Receivers int
	// Count is how many messages are sent.
	Count int
}

// errNoPeer says that a scenario needs a second homeserver.
var errNoPeer = errors.New("this scenario needs a second homeserver: --peer")

// Federation measures messages from users of the Server to users of the Peer:
// throughput until the last has arrived, the delay of each, and what both
// servers use for one message.
func (l *Lab) Federation(ctx context.Context, p FederationPlan) (*Result, error) {
	if l.Peer == nil {
		return nil, errNoPeer
	}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	senders, rooms, err := l.furnish(ctx, p.Clients, true)
	if err != nil {
		return nil, err
	}
	receivers, err := l.visitors(ctx, senders[0], rooms[0], p.Receivers)
	if err != nil {
		return nil, err
	}
	ledger := newLedger(l.run, p.Count, p.Receivers)
	stop, err := l.open(ctx, receivers, ledger)
	if err != nil {
		return nil, err
	}
	stopSenders := func() error { return nil }
	if l.Realism.OpenSyncs {
		if stopSenders, err = l.open(ctx, senders, nil); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	r := &Result{Scenario: "federation", Operation: "message", Operations: p.Count, Params: map[string]any{
		"clients": p.Clients, "receivers": p.Receivers, "count": p.Count, "rate": p.Rate, "rooms": l.Realism,
	}}
	var latency Histogram
	err = l.measure(ctx, r, func(ctx context.Context) error {
		begin := time.Now()
		if p.Rate > 0 {
			plan := FanOutPlan{Members: p.Receivers, Rate: p.Rate, Count: p.Count}
			err = l.steadily(ctx, plan, senders[0], rooms[0], ledger, &latency)
		} else {
			err = l.flood(ctx, p, senders, rooms, ledger, &latency)
		}
		if err != nil {
			return err
		}
		r.Figures = map[string]float64{"sends_per_second": float64(p.Count) / time.Since(begin).Seconds()}
		return ledger.await(ctx, p.Count*p.Receivers, l.Settle)
	})
	r.Latency = latency.Summary()
	r.Delivery = ledger.deliveries(p.Count * p.Receivers)
	return r, errors.Join(err, stop(), stopSenders())
}

// flood sends the plan's messages as fast as they are answered.
func (l *Lab) flood(ctx context.Context, p FederationPlan, senders []*Client, rooms []id.RoomID, ledger *Ledger, latency *Histogram) error {
	var next atomic.Int64
	return l.sendAll(ctx, senders, rooms, func() (int, bool) {
		n := int(next.Add(1)) - 1
		if n < p.Count {
			ledger.send(n, time.Now())
		}
		return n, n < p.Count
	}, func(took time.Duration) { latency.Add(took) })
}

// visitors makes users of the Peer and joins them to a room of the Server.
func (l *Lab) visitors(ctx context.Context, host *Client, room id.RoomID, n int) ([]*Client, error) {
	out, err := l.clients(ctx, l.Peer, n)
	if err != nil {
		return nil, err
	}
	// The first join goes over federation; the others find the room there.
	for i, c := range out {
		if err := c.Join(ctx, room, host.User.Homeserver()); err != nil {
			return nil, err
		}
		l.Progress("joins from the peer", i+1, len(out))
	}
	return out, nil
}

// JoinPlan is rooms with much state that a second homeserver joins.
type JoinPlan struct {
	// State is how many state events each room has.
	State int
	// Count is how many rooms are joined, one after another.
	Count int
}

// FederatedJoin measures the Peer joining rooms of the Server that it does
// not know: the time until the join is answered, and what it uses beside what
// the signatures of the state alone would cost it.
func (l *Lab) FederatedJoin(ctx context.Context, p JoinPlan) (*Result, error) {
	if l.Peer == nil {
		return nil, errNoPeer
	}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	hosts, rooms, err := l.furnishState(ctx, p)
	if err != nil {
		return nil, err
	}
	joiners, err := l.clients(ctx, l.Peer, 1)
	if err != nil {
		return nil, err
	}
	r := &Result{Scenario: "federated-join", Operation: "join", Operations: p.Count, Params: map[string]any{
		"state": p.State, "count": p.Count, "rooms": l.Realism,
	}}
	var latency Histogram
	err = l.measure(ctx, r, func(ctx context.Context) error {
		for _, room := range rooms {
			start := time.Now()
			if err := joiners[0].Join(ctx, room, hosts[0].User.Homeserver()); err != nil {
				return err
			}
			latency.Add(time.Since(start))
		}
		return nil
	})
	r.Latency = latency.Summary()
	if err != nil {
		return r, err
	}
	for _, room := range rooms {
		n, err := joiners[0].StateCount(ctx, room)
		if err != nil {
			return r, err
		}
		if n < p.State {
			return r, fmt.Errorf("the peer has %d of %d state events of %s", n, p.State, room)
		}
	}
	// The receiver's use is that of the second server.
	if b := r.Baseline.VerifyMicros; b > 0 {
		r.Figures = map[string]float64{"receiver_cpu_per_state_event_in_verifications": r.Servers[1].CPUMicros / b / float64(p.State)}
	}
	return r, nil
}

// furnishState makes the rooms of a JoinPlan. Their state is written by many
// requests at once, so that their history has the shape of a busy room's.
func (l *Lab) furnishState(ctx context.Context, p JoinPlan) ([]*Client, []id.RoomID, error) {
	hosts, rooms, err := l.furnish(ctx, 1, false)
	if err != nil {
		return nil, nil, err
	}
	for len(rooms) < p.Count {
		room, err := hosts[0].CreateRoom(ctx, "Load "+l.run, l.Realism.RoomVersion)
		if err != nil {
			return nil, nil, err
		}
		rooms = append(rooms, room)
	}
	for _, room := range rooms {
		have, err := hosts[0].StateCount(ctx, room)
		if err != nil {
			return nil, nil, err
		}
		err = l.each(ctx, "state", max(0, p.State-have), func(ctx context.Context, i int) error {
			return hosts[0].SetState(ctx, room, stateType, fmt.Sprint("join-", i), stateContent)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return hosts, rooms, nil
}
