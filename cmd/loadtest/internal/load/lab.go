package load

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"
)

// Realism is how real the rooms of a run are.
type Realism struct {
	// State is how many state events a room has, members included.
	State int `json:"state"`
	// Members is how many local members a room has; they need not sync.
	Members int `json:"members"`
	// WarmUp is how many messages are sent, over all rooms, before the
	// measurement.
	WarmUp int `json:"warm_up"`
	// OpenSyncs keeps a sync open for every client that sends.
	OpenSyncs bool `json:"open_syncs"`
	// RoomVersion is the version of the rooms; empty is the server's default.
	RoomVersion string `json:"room_version,omitempty"`
}

// String says it as a table shows it.
func (r Realism) String() string {
	version := "default"
	if r.RoomVersion != "" {
		version = r.RoomVersion
	}
	return fmt.Sprintf("%d state events, %d members, %d messages before, open syncs %t, room version %s", r.State, r.Members, r.WarmUp, r.OpenSyncs, version)
}

// Lab prepares a homeserver for a scenario and measures it. A Lab serves one
// run of one scenario.
type Lab struct {
	// Server is the homeserver that rooms are made on.
	Server *Server
	// Peer is a second homeserver that federates with it; nil if none.
	Peer *Server
	// Realism is how rooms are prepared.
	Realism Realism
	// Progress is told what is being done and how much of it is.
	Progress func(what string, done, total int)
	// Settle is how long to wait for the next late delivery before giving up.
	Settle time.Duration
	// Rest is a pause between preparation and measurement, so that what the
	// preparation left to do (checkpoints, queues) does not count.
	Rest time.Duration
	// Workers bounds the requests in flight during preparation.
	Workers int

	run   string
	users atomic.Int64
}

// prepare gives the run its name, so that runs on one server do not meet.
func (l *Lab) prepare() error {
	var raw [4]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	l.run = hex.EncodeToString(raw[:])
	if l.Workers <= 0 {
		l.Workers = 8
	}
	if l.Progress == nil {
		l.Progress = func(string, int, int) {}
	}
	return nil
}

// each runs f for 0..n-1 with at most Workers at once, telling progress.
func (l *Lab) each(ctx context.Context, what string, n int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(l.Workers)
	var done atomic.Int64
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(ctx, i); err != nil {
				return err
			}
			l.Progress(what, int(done.Add(1)), n)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// clients registers n users on a server.
func (l *Lab) clients(ctx context.Context, s *Server, n int) ([]*Client, error) {
	out := make([]*Client, n)
	err := l.each(ctx, "users", n, func(ctx context.Context, i int) (err error) {
		out[i], err = s.Register(ctx, fmt.Sprintf("load-%s-%d", l.run, l.users.Add(1)))
		return err
	})
	return out, err
}

// idle registers the members that fill a room beside its n senders.
func (l *Lab) idle(ctx context.Context, n int) ([]*Client, error) {
	return l.clients(ctx, l.Server, max(0, l.Realism.Members-n))
}

// room makes a real room: its creator, the members, and state up to the
// number asked for.
func (l *Lab) room(ctx context.Context, creator *Client, members []*Client) (id.RoomID, error) {
	room, err := creator.CreateRoom(ctx, "Load "+l.run, l.Realism.RoomVersion)
	if err != nil {
		return "", err
	}
	for _, m := range members {
		if err := m.Join(ctx, room, ""); err != nil {
			return "", err
		}
	}
	have, err := creator.StateCount(ctx, room)
	if err != nil {
		return "", err
	}
	for i := have; i < l.Realism.State; i++ {
		if err := creator.SetState(ctx, room, stateType, fmt.Sprint(i), stateContent); err != nil {
			return "", err
		}
	}
	return room, nil
}

const stateType = "org.example.loadtest"

var stateContent = []byte(`{"purpose":"A state event of a load test, about as long as the state of a room in use.","enabled":true}`)

// rooms makes n real rooms; room i has creators[i] and everyone in members.
func (l *Lab) rooms(ctx context.Context, creators, members []*Client) ([]id.RoomID, error) {
	out := make([]id.RoomID, len(creators))
	err := l.each(ctx, "rooms", len(creators), func(ctx context.Context, i int) (err error) {
		out[i], err = l.room(ctx, creators[i], members)
		return err
	})
	return out, err
}

// warm sends the warm-up messages; senders[i] writes to rooms[i].
func (l *Lab) warm(ctx context.Context, senders []*Client, rooms []id.RoomID) error {
	const chunk = 20 // messages of one sender in a row
	chunks := (l.Realism.WarmUp + chunk - 1) / chunk
	return l.each(ctx, fmt.Sprintf("warm-up, %d messages at a time", chunk), chunks, func(ctx context.Context, i int) error {
		var buf bytes.Buffer
		var content []byte
		who := i % len(senders)
		for n := range min(chunk, l.Realism.WarmUp-i*chunk) {
			content = message(content, "warm-up", n)
			path := roomPath(rooms[who], fmt.Sprintf("/send/m.room.message/w%d-%d", i, n))
			if err := l.Server.patient(ctx, "PUT", path, senders[who].token, content, &buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// open starts a sync for every client. stop ends them and returns the first
// error of any.
func (l *Lab) open(ctx context.Context, clients []*Client, ledger *Ledger) (stop func() error, err error) {
	syncers := make([]*Syncer, len(clients))
	err = l.each(ctx, "syncs", len(clients), func(ctx context.Context, i int) error {
		syncers[i] = &Syncer{client: clients[i], ledger: ledger, receiver: i}
		return syncers[i].begin(ctx)
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	for _, s := range syncers {
		g.Go(func() error { return s.run(ctx) })
	}
	return func() error {
		cancel()
		return g.Wait()
	}, nil
}

// measure runs f between two looks at the servers' processes and fills the
// result with what they used. f sets the counts.
func (l *Lab) measure(ctx context.Context, r *Result, f func(ctx context.Context) error) error {
	err := wait(ctx, l.Rest)
	if err != nil {
		return err
	}
	if r.Baseline, err = MeasureBaseline(l.Server.target.DataDir); err != nil {
		return err
	}
	servers := []*Server{l.Server}
	if l.Peer != nil {
		servers = append(servers, l.Peer)
	}
	before := make([]snapshot, len(servers))
	for i, s := range servers {
		if before[i], err = s.look(ctx); err != nil {
			return err
		}
	}
	own, err := usageOf("/proc", []int{os.Getpid()})
	if err != nil {
		return err
	}
	r.Started = time.Now()
	if err := f(ctx); err != nil {
		return err
	}
	r.Seconds = time.Since(r.Started).Seconds()
	for i, s := range servers {
		after, err := s.look(ctx)
		if err != nil {
			return err
		}
		r.Servers = append(r.Servers, use(s.target, before[i], after))
	}
	now, err := usageOf("/proc", []int{os.Getpid()})
	if err != nil {
		return err
	}
	r.ToolCPUMicros = micros(now.cpu-own.cpu) / float64(max(1, r.Operations))
	r.finish()
	return nil
}
