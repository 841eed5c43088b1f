package sender_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entente/federation/client"
	"entente/federation/sender"
	"entente/governance"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

// network stands for the peers: it takes transactions, or fails.
type network struct {
	mu      sync.Mutex
	cond    *sync.Cond
	taken   map[string][]string // bodies of messages that each server has, in order
	edus    map[string][]gjson.Result
	sent    map[string][]client.Transaction // every attempt
	failure map[string]error
	block   map[string]bool // hangs until cut off
}

func newNetwork() *network {
	n := &network{taken: map[string][]string{}, edus: map[string][]gjson.Result{}, sent: map[string][]client.Transaction{}, failure: map[string]error{}, block: map[string]bool{}}
	n.cond = sync.NewCond(&n.mu)
	return n
}

func (n *network) send(ctx context.Context, server string, t client.Transaction) (map[id.EventID]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.cond.Broadcast()
	n.sent[server] = append(n.sent[server], t)
	if n.block[server] {
		n.cond.Broadcast()
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return nil, ctx.Err()
	}
	if err := n.failure[server]; err != nil {
		return nil, err
	}
	for _, pdu := range t.PDUs {
		body := gjson.GetBytes(pdu, "content.body").String()
		if !slices.Contains(n.taken[server], body) { // peers know events that come twice
			n.taken[server] = append(n.taken[server], body)
		}
	}
	for _, e := range t.EDUs {
		n.edus[server] = append(n.edus[server], gjson.ParseBytes(e))
	}
	return nil, nil
}

func (n *network) set(server string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failure[server] = err
}

// wait waits until the condition, which holds the lock, is true.
func (n *network) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	expired := time.AfterFunc(30*time.Second, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cond.Broadcast()
	})
	defer expired.Stop()
	start := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !done() {
		if time.Since(start) > 29*time.Second {
			t.Fatalf("%s did not happen; taken %v", what, n.taken)
		}
		n.cond.Wait()
	}
}

func (n *network) has(t *testing.T, server string, want ...string) {
	t.Helper()
	n.wait(t, fmt.Sprintf("%s having %d events", server, len(want)), func() bool { return len(n.taken[server]) >= len(want) })
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.taken[server], want) {
		t.Errorf("%s has %v, and not %v", server, n.taken[server], want)
	}
}

// room writes events to the log as the room server does.
type room struct {
	t    testing.TB
	db   *storage.DB
	info *storage.RoomInfo
	key  ed25519.PrivateKey
}

func newRoom(t testing.TB, db *storage.DB) *room {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := db.AddRoom(t.Context(), "!room:test", "11")
	if err != nil {
		t.Fatal(err)
	}
	return &room{t, db, info, key}
}

func (r *room) event(body string, to ...string) *storage.Event {
	r.t.Helper()
	rules, _ := event.RulesOf("11")
	content, err := json.Marshal(map[string]string{"body": body})
	if err != nil {
		r.t.Fatal(err)
	}
	pdu, err := (&event.Draft{
		Room: r.info.ID, Type: "m.room.message", Sender: "@alice:test", Content: content,
		Prev: []event.Ref{{ID: "$prev"}}, Auth: []event.Ref{{ID: "$auth"}}, Depth: 1, Timestamp: 1,
	}).Build(rules, event.Signer{Server: "test", KeyID: "ed25519:1", Key: r.key})
	if err != nil {
		r.t.Fatal(err)
	}
	nid, err := r.db.AllocateEvents(r.t.Context(), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(to)
	return &storage.Event{NID: nid, Room: r.info.NID, PDU: pdu, Status: storage.Accepted, Before: storage.UnknownRoot, After: storage.UnknownRoot, Destinations: storage.ServerSet(to)}
}

func (r *room) send(body string, to ...string) storage.Position {
	r.t.Helper()
	pos, err := r.db.Commit(r.t.Context(), storage.Commit{
		Positions: 1, Write: []storage.Row{r.event(body, to...).At(0)}, Touch: []storage.Subject{{Kind: storage.Room, ID: int64(r.info.NID)}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return pos
}

// start runs a sender until the returned function stops it.
func start(t *testing.T, db *storage.DB, n *network, change func(*sender.Options)) (*sender.Sender, func()) {
	t.Helper()
	o := sender.Options{DB: db, Send: n.send, Log: storagetest.Logger(t), FirstBackoff: time.Millisecond, LongestBackoff: 5 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	s := sender.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the sender ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

var errDown = errors.New("down")

func numbered(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// What must be sent arrives in order, at each server that it is for, and
// nowhere else.
func TestEventsArriveInOrder(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, n := storagetest.Open(t, o), newNetwork()
		r := newRoom(t, db)
		r.send("before", "a") // the sender finds what is older than itself
		start(t, db, n, nil)
		for i := range 120 {
			r.send(fmt.Sprint(i), "a", "b")
		}
		r.send("for b", "b")
		n.has(t, "a", append([]string{"before"}, numbered(0, 120)...)...)
		n.has(t, "b", append(numbered(0, 120), "for b")...)
	})
}

// The peer is down, its last user is kicked, more is sent, the peer returns:
// it gets the kick, and nothing after.
func TestKickedWhileDown(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, n := storagetest.Open(t, o), newNetwork()
		r := newRoom(t, db)
		n.set("a", errDown)
		_, stop := start(t, db, n, nil)
		r.send("hello", "a", "b")
		r.send("kick", "a", "b") // to those who were joined before it
		r.send("secret", "b")
		n.has(t, "b", "hello", "kick", "secret")
		stop() // a restart must not change any of it
		start(t, db, n, nil)
		n.wait(t, "another attempt", func() bool { return len(n.sent["a"]) > 2 })
		n.set("a", nil)
		n.has(t, "a", "hello", "kick")
		r.send("still secret", "b")
		n.has(t, "b", "hello", "kick", "secret", "still secret")
		n.has(t, "a", "hello", "kick")
	})
}

// A server that does not answer is left alone for a while, whatever comes up
// for it and whoever else calls.
func TestBackoffHolds(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	r := newRoom(t, db)
	n.set("a", errDown)
	s, _ := start(t, db, n, func(o *sender.Options) { o.LongestBackoff, o.FirstBackoff = time.Hour, time.Hour })
	r.send("first", "a")
	n.wait(t, "a first attempt", func() bool { return len(n.sent["a"]) > 0 })
	n.set("a", nil)
	for i := range 20 {
		r.send(fmt.Sprint(i), "a", "b")
		s.Wake("b")
	}
	n.has(t, "b", numbered(0, 20)...)
	s.Wake("a") // too soon after the last attempt
	s.Typing("b", "!room:test", "@alice:test", true)
	n.wait(t, "typing", func() bool { return len(n.edus["b"]) == 1 })
	n.mu.Lock()
	defer n.mu.Unlock()
	if attempts := len(n.sent["a"]); attempts != 1 {
		t.Errorf("there were %d attempts during the backoff", attempts)
	}
}

// After a long outage everything arrives, in order, in transactions of bounded
// size, also what was too much to keep in memory; then it goes on as before.
func TestOverflowIsRead(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, n := storagetest.Open(t, o), newNetwork()
		r := newRoom(t, db)
		n.set("a", errDown)
		start(t, db, n, nil)
		for i := range 400 {
			r.send(fmt.Sprint(i), "a")
		}
		n.set("a", nil)
		n.has(t, "a", numbered(0, 400)...)
		for i := 400; i < 420; i++ {
			r.send(fmt.Sprint(i), "a")
		}
		n.has(t, "a", numbered(0, 420)...)
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, tx := range n.sent["a"] {
			if len(tx.PDUs) > client.MaxPDUs {
				t.Errorf("a transaction has %d events", len(tx.PDUs))
			}
		}
	})
}

// Repeating a transaction keeps its ID, so that a peer that has it already can
// tell; another one has another.
func TestTransactionIDs(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	r := newRoom(t, db)
	n.set("a", errDown)
	start(t, db, n, nil)
	r.send("0", "a")
	n.wait(t, "a third attempt", func() bool { return len(n.sent["a"]) > 2 })
	n.set("a", nil)
	n.has(t, "a", "0")
	r.send("1", "a")
	n.has(t, "a", "0", "1")
	n.mu.Lock()
	defer n.mu.Unlock()
	sent := n.sent["a"]
	for _, tx := range sent[:len(sent)-1] {
		if tx.ID != sent[0].ID {
			t.Errorf("a retry has the ID %s instead of %s", tx.ID, sent[0].ID)
		}
	}
	if last := sent[len(sent)-1]; last.ID == sent[0].ID {
		t.Error("two transactions have the same ID")
	}
}

// The backoff survives a restart, and a sign of life shortens it.
func TestBackoffPersists(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, n := storagetest.Open(t, o), newNetwork()
		r := newRoom(t, db)
		var mu sync.Mutex
		now := time.Now()
		failed := make(failures, 10)
		clock := func(o *sender.Options) {
			o.FirstBackoff, o.LongestBackoff, o.Log = time.Hour, time.Hour, slog.New(failed)
			o.Now = func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return now
			}
		}
		n.set("a", errDown)
		_, stop := start(t, db, n, clock)
		r.send("0", "a")
		<-failed
		stop()
		row, err := db.Latest().Destination(t.Context(), "a")
		if err != nil || row == nil || row.Failures != 1 || row.RetryAt == 0 || row.Cursor >= row.Newest {
			t.Fatalf("after a failure the destination is %+v, %v", row, err)
		}
		n.set("a", nil)
		s, _ := start(t, db, n, clock)
		r.send("for b", "b")
		n.has(t, "b", "for b") // whatever was due has been tried by now
		mu.Lock()
		now = now.Add(30 * time.Minute)
		mu.Unlock()
		n.mu.Lock()
		if len(n.sent["a"]) != 1 {
			t.Error("A restart forgets the backoff.")
		}
		n.mu.Unlock()
		calls := time.NewTicker(time.Millisecond) // a peer that is up again calls more than once
		defer calls.Stop()
		called, enough := context.WithCancel(t.Context())
		var caller sync.WaitGroup
		caller.Go(func() {
			for called.Err() == nil {
				<-calls.C
				s.Wake("a")
			}
		})
		n.has(t, "a", "0")
		enough()
		caller.Wait()
	})
}

// failures is a log that tells of each failure to reach a server, once the
// sender has taken note of it.
type failures chan struct{}

func (failures) Enabled(context.Context, slog.Level) bool { return true }
func (f failures) WithAttrs([]slog.Attr) slog.Handler     { return f }
func (f failures) WithGroup(string) slog.Handler          { return f }
func (f failures) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "a server could not be reached" {
		f <- struct{}{}
	}
	return nil
}

// While a destination is forbidden nothing leaves, what is under way is cut
// off, and afterwards it goes on behind the gap.
func TestPolicy(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, n := storagetest.Open(t, o), newNetwork()
		r := newRoom(t, db)
		var mu sync.Mutex
		var policy error
		forbid := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			policy = err
		}
		s, stop := start(t, db, n, func(o *sender.Options) {
			o.Allow = func(server string) error {
				mu.Lock()
				defer mu.Unlock()
				if server == "a" {
					return policy
				}
				return nil
			}
		})
		r.send("0", "a", "b")
		n.has(t, "a", "0")
		n.mu.Lock()
		n.block["a"] = true
		n.mu.Unlock()
		r.send("1", "a", "b")
		n.wait(t, "a transaction under way", func() bool { return len(n.sent["a"]) == 2 })
		forbid(fault.New(fault.Forbidden, "suspended"))
		s.PolicyChanged() // returns when nothing is under way any more
		n.mu.Lock()
		n.block["a"] = false
		n.mu.Unlock()
		s.Typing("a", "!room:test", "@alice:test", true)
		r.send("2", "a", "b")
		n.has(t, "b", "0", "1", "2")
		stop() // the gap is kept over a restart
		forbid(nil)
		s, _ = start(t, db, n, nil)
		s.PolicyChanged()
		r.send("3", "a", "b")
		n.has(t, "b", "0", "1", "2", "3")
		n.has(t, "a", "0", "3")
	})
}

// A policy that is not known at the moment stops a destination, and costs it
// nothing.
func TestUndecidedPolicy(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	r := newRoom(t, db)
	var asked, stale atomic.Int64
	stale.Store(1)
	start(t, db, n, func(o *sender.Options) {
		o.Allow = func(string) error {
			asked.Add(1)
			switch stale.Load() {
			case 1:
				return &governance.Refusal{Rule: governance.RuleStale}
			case 2:
				return errors.New("the policy could not be read")
			}
			return nil
		}
	})
	for i := range 4 {
		r.send(fmt.Sprint(i), "a")
	}
	for reason := range int64(2) {
		before := asked.Load()
		stale.Store(reason + 1)
		for i := range 5 {
			r.send(fmt.Sprint(reason, "/", i), "a") // wakes the worker
		}
		for asked.Load() == before {
			runtime.Gosched()
		}
	}
	stale.Store(0)
	r.send("last", "a")
	n.wait(t, "all of them", func() bool { return len(n.taken["a"]) == 15 })
}

// An event that a peer does not take, whatever is sent with it, does not hold
// up the others for ever.
func TestPoison(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	r := newRoom(t, db)
	n.set("a", errDown)
	start(t, db, n, func(o *sender.Options) {
		send := o.Send
		o.Send = func(ctx context.Context, server string, tx client.Transaction) (map[id.EventID]string, error) {
			for _, pdu := range tx.PDUs {
				if gjson.GetBytes(pdu, "content.body").String() == "poison" {
					return nil, &client.Error{Server: server, Status: 400, Errcode: "M_BAD_JSON"}
				}
			}
			return send(ctx, server, tx)
		}
	})
	for _, body := range []string{"0", "1", "poison", "2"} {
		r.send(body, "a")
	}
	n.set("a", nil)
	n.has(t, "a", "0", "1", "2")
}

// Of two nodes one sends to a destination, and the other takes over where it
// left off.
func TestTwoNodes(t *testing.T) {
	o := storagetest.Postgres(t)
	first, second, n := storagetest.Open(t, o), storagetest.Open(t, o), newNetwork()
	var mu sync.Mutex
	sentBy := map[string]int{}
	ahead := time.Duration(0)
	node := func(name string) func(*sender.Options) {
		return func(o *sender.Options) {
			o.Send = func(ctx context.Context, server string, tx client.Transaction) (map[id.EventID]string, error) {
				mu.Lock()
				sentBy[name]++
				mu.Unlock()
				return n.send(ctx, server, tx)
			}
			o.Now = func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return time.Now().Add(ahead)
			}
		}
	}
	_, stop := start(t, first, n, node("first"))
	r := newRoom(t, first)
	r.send("0", "a")
	n.has(t, "a", "0")
	start(t, second, n, node("second"))
	r.db = second
	for i := 1; i < 20; i++ {
		r.send(fmt.Sprint(i), "a")
	}
	n.has(t, "a", numbered(0, 20)...)
	mu.Lock()
	if sentBy["second"] != 0 {
		t.Errorf("both nodes send: %v", sentBy)
	}
	mu.Unlock()
	n.set("a", errDown)
	r.send("20", "a")
	n.wait(t, "an attempt", func() bool { return len(n.sent["a"]) > 20 || len(n.taken["a"]) == 20 })
	stop()
	n.set("a", nil)
	mu.Lock()
	ahead = time.Minute // the second node asks again now and then
	mu.Unlock()
	r.send("21", "a")
	n.has(t, "a", numbered(0, 22)...)
}

// One slow peer costs others nothing.
func TestSlowPeer(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	r := newRoom(t, db)
	n.block["slow"] = true
	start(t, db, n, nil)
	for i := range 100 {
		r.send(fmt.Sprint(i), "fast", "slow")
	}
	n.has(t, "fast", numbered(0, 100)...)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.sent["slow"]) != 1 {
		t.Errorf("%d transactions to a server that answered none", len(n.sent["slow"]))
	}
}
