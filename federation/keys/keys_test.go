package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func private(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('A'+seed%26)), ed25519.SeedSize)))
}

func mustOwn(t testing.TB, name string, c *clock, keys ...OwnKey) *Own {
	t.Helper()
	if len(keys) == 0 {
		keys = []OwnKey{{ID: "ed25519:a", Private: private(name[0])}}
	}
	own, err := NewOwn(OwnOptions{Name: name, Keys: keys, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// network serves the key documents of peers and counts who was asked.
type network struct {
	mu    sync.Mutex
	peers map[string]func() ([]byte, error)
	asked map[string]int
}

func newNetwork(peers ...*Own) *network {
	n := &network{peers: map[string]func() ([]byte, error){}, asked: map[string]int{}}
	for _, p := range peers {
		n.serve(p)
	}
	return n
}

func (n *network) serve(p *Own) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers[p.Name()] = func() ([]byte, error) { return p.Document() }
}

func (n *network) fails(server string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.peers, server)
}

func (n *network) fetch(_ context.Context, server string) ([]byte, error) {
	n.mu.Lock()
	n.asked[server]++
	serve := n.peers[server]
	n.mu.Unlock()
	if serve == nil {
		return nil, errors.New("connection refused")
	}
	return serve()
}

func (n *network) count(server string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[server]
}

// memory is a Store.
type memory struct {
	mu   sync.Mutex
	rows map[string]map[id.KeyID]Key
	err  error
}

func (m *memory) Load(_ context.Context, server string) ([]Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.rows[server])), m.err
}

func (m *memory) Save(_ context.Context, keys []Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if m.rows == nil {
			m.rows = map[string]map[id.KeyID]Key{}
		}
		if m.rows[k.Server] == nil {
			m.rows[k.Server] = map[id.KeyID]Key{}
		}
		m.rows[k.Server][k.ID] = k
	}
	return m.err
}

func newRing(t testing.TB, c *clock, n *network, change ...func(*Options)) *Ring {
	t.Helper()
	o := Options{Own: mustOwn(t, "us.example", c), Fetch: n.fetch, Now: c.now}
	for _, f := range change {
		f(&o)
	}
	return New(o)
}

func signed(t testing.TB, s event.Signer) []byte {
	t.Helper()
	obj, err := event.SignJSON([]byte(`{"hello":"world"}`), s)
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want an error of kind %d", err, kind)
	}
}

func TestOurDocumentIsOneThatPeersAccept(t *testing.T) {
	c := newClock()
	old := OwnKey{ID: "ed25519:old", Public: private(3).Public().(ed25519.PublicKey), Until: c.now().Add(-time.Hour)}
	own := mustOwn(t, "us.example", c, old,
		OwnKey{ID: "ed25519:now", Private: private(1)},
		OwnKey{ID: "ed25519:next", Private: private(2), From: c.now().Add(48 * time.Hour)})
	doc, err := own.Document()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseDocument(doc, "us.example", c.now())
	if err != nil {
		t.Fatal(err)
	}
	got := map[id.KeyID]Key{}
	for _, k := range keys {
		got[k.ID] = k
	}
	day := c.now().Add(24 * time.Hour).UnixMilli()
	if len(got) != 3 || got["ed25519:now"].ValidUntil != day || got["ed25519:next"].ValidUntil != day ||
		got["ed25519:old"].Expired != old.Until.UnixMilli() {
		t.Errorf("got %+v", got)
	}
	for _, keyID := range []id.KeyID{"ed25519:now", "ed25519:next"} {
		if err := event.VerifyJSON(doc, "us.example", keyID, got[keyID].Public); err != nil {
			t.Errorf("the document lacks the signature of %s: %v", keyID, err)
		}
	}
	if again, _ := own.Document(); &again[0] != &doc[0] {
		t.Error("the document was made again at once")
	}
	c.pass(7 * time.Hour)
	if again, _ := own.Document(); string(again) == string(doc) {
		t.Error("the document was not renewed after a quarter of its validity")
	}
}

func TestKeysRotateWithoutAGap(t *testing.T) {
	c := newClock()
	change := c.now().Add(30 * time.Hour)
	own := mustOwn(t, "us.example", c,
		OwnKey{ID: "ed25519:one", Private: private(1), Until: change},
		OwnKey{ID: "ed25519:two", Private: private(2), From: change})
	peer := newRing(t, c, newNetwork(own), func(o *Options) { o.Own = mustOwn(t, "peer.example", c) })
	used := map[id.KeyID]bool{}
	for range 60 {
		s := own.Signer()
		used[s.KeyID] = true
		if err := peer.VerifyJSON(context.Background(), "us.example", signed(t, s), c.now()); err != nil {
			t.Fatalf("at %v: %v", c.now(), err)
		}
		c.pass(time.Hour)
	}
	if len(used) != 2 {
		t.Errorf("signed with %v", used)
	}
	before := signed(t, event.Signer{Server: "us.example", KeyID: "ed25519:one", Key: private(1)})
	if err := peer.VerifyJSON(context.Background(), "us.example", before, change.Add(-time.Minute)); err != nil {
		t.Errorf("what the old key signed in its time: %v", err)
	}
	wantKind(t, peer.VerifyJSON(context.Background(), "us.example", before, change.Add(time.Hour)), fault.Forbidden)
}

func TestOwnKeysAreChecked(t *testing.T) {
	c := newClock()
	hour := c.now().Add(time.Hour)
	for name, o := range map[string]OwnOptions{
		"no server name": {Name: "", Keys: []OwnKey{{ID: "ed25519:a", Private: private(1)}}},
		"no keys":        {Name: "us.example"},
		"only in future": {Name: "us.example", Keys: []OwnKey{{ID: "ed25519:a", Private: private(1), From: hour}}},
		"no successor":   {Name: "us.example", Keys: []OwnKey{{ID: "ed25519:a", Private: private(1), Until: hour}}},
		"a gap": {Name: "us.example", Keys: []OwnKey{{ID: "ed25519:a", Private: private(1), Until: hour},
			{ID: "ed25519:b", Private: private(2), From: hour.Add(time.Second)}}},
		"twice the ID":  {Name: "us.example", Keys: []OwnKey{{ID: "ed25519:a", Private: private(1)}, {ID: "ed25519:a", Private: private(2)}}},
		"a wrong ID":    {Name: "us.example", Keys: []OwnKey{{ID: "rsa:a", Private: private(1)}}},
		"a cut key":     {Name: "us.example", Keys: []OwnKey{{ID: "ed25519:a", Private: private(1)[:10]}}},
		"no key inside": {Name: "us.example", Keys: []OwnKey{{ID: "ed25519:a"}}},
	} {
		o.Now = c.now
		if _, err := NewOwn(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDocumentsAreChecked(t *testing.T) {
	c := newClock()
	own := mustOwn(t, "peer.example", c)
	good, err := own.Document()
	if err != nil {
		t.Fatal(err)
	}
	many := map[string]any{}
	for i := range 100 {
		many["ed25519:"+strings.Repeat("x", i+1)] = map[string]string{"key": "x"}
	}
	resigned := func(change func(map[string]any)) []byte {
		var doc map[string]any
		if err := json.Unmarshal(good, &doc); err != nil {
			t.Fatal(err)
		}
		delete(doc, "signatures")
		doc["valid_until_ts"] = c.now().Add(time.Hour).UnixMilli()
		change(doc)
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		raw, err = event.SignJSON(raw, own.Signer())
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if _, err := ParseDocument(resigned(func(map[string]any) {}), "peer.example", c.now()); err != nil {
		t.Fatalf("the unchanged document: %v", err)
	}
	for name, raw := range map[string][]byte{
		"not JSON":          []byte(`<html>`),
		"empty":             []byte(`{}`),
		"another server":    resigned(func(d map[string]any) { d["server_name"] = "other.example" }),
		"changed":           []byte(strings.Replace(string(good), `"valid_until_ts":1`, `"valid_until_ts":2`, 1)),
		"unsigned":          []byte(strings.Replace(string(good), `"signatures":{"peer.example"`, `"signatures":{"other.example"`, 1)),
		"a short key":       resigned(func(d map[string]any) { d["verify_keys"] = map[string]any{"ed25519:a": map[string]any{"key": "AAAA"}} }),
		"no base64":         resigned(func(d map[string]any) { d["verify_keys"] = map[string]any{"ed25519:a": map[string]any{"key": "???"}} }),
		"too many keys":     resigned(func(d map[string]any) { d["old_verify_keys"] = many }),
		"too long":          []byte(string(good) + strings.Repeat(" ", MaxDocument)),
		"someone else's":    resigned(func(d map[string]any) { d["verify_keys"] = map[string]any{} }),
		"a wrong time type": resigned(func(d map[string]any) { d["valid_until_ts"] = "soon" }),
	} {
		if keys, err := ParseDocument(raw, "peer.example", c.now()); err == nil {
			t.Errorf("%s: accepted as %+v", name, keys)
		}
	}
	// Unknown algorithms and old keys without a date are left out.
	raw := resigned(func(d map[string]any) {
		public := d["verify_keys"].(map[string]any)["ed25519:a"]
		d["verify_keys"].(map[string]any)["future:a"] = map[string]any{"key": "AAAA"}
		d["old_verify_keys"] = map[string]any{"ed25519:undated": public, "ed25519:a": map[string]any{"key": "AAAA", "expired_ts": 1}}
		d["valid_until_ts"] = c.now().Add(1000 * time.Hour).UnixMilli()
	})
	keys, err := ParseDocument(raw, "peer.example", c.now())
	if err != nil || len(keys) != 1 || keys[0].ID != "ed25519:a" || keys[0].Expired != 0 {
		t.Fatalf("got %+v, %v", keys, err)
	}
	if want := c.now().Add(maxTrust).UnixMilli(); keys[0].ValidUntil != want {
		t.Errorf("a document of 1,000 hours is trusted until %d, want %d", keys[0].ValidUntil, want)
	}
}

func TestKeysAreFetchedOnceAndKept(t *testing.T) {
	c, store := newClock(), &memory{}
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	obj := signed(t, peer.Signer())
	withStore := func(o *Options) { o.Store = store }
	r := newRing(t, c, n, withStore)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := r.VerifyJSON(context.Background(), "peer.example", obj, c.now()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n.count("peer.example") != 1 {
		t.Errorf("the peer was asked %d times", n.count("peer.example"))
	}
	restarted := newRing(t, c, n, withStore)
	if err := restarted.VerifyJSON(context.Background(), "peer.example", obj, c.now()); err != nil {
		t.Error(err)
	}
	if n.count("peer.example") != 1 {
		t.Errorf("the peer was asked %d times after a restart", n.count("peer.example"))
	}
}

func TestAKeyIsRenewedWhenItsTimeIsOver(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	r := newRing(t, c, n)
	verify := func() error {
		return r.VerifyJSON(context.Background(), "peer.example", signed(t, peer.Signer()), c.now())
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	c.pass(25 * time.Hour)
	if err := verify(); err != nil {
		t.Error(err)
	}
	if n.count("peer.example") != 2 {
		t.Errorf("the peer was asked %d times", n.count("peer.example"))
	}
	n.fails("peer.example")
	c.pass(25 * time.Hour)
	wantKind(t, verify(), fault.Unreachable)
}

func TestUnknownKeysCannotMakeUsFloodAPeer(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	r := newRing(t, c, n)
	forged := signed(t, event.Signer{Server: "peer.example", KeyID: "ed25519:forged", Key: private(9)})
	for range 100 {
		wantKind(t, r.VerifyJSON(context.Background(), "peer.example", forged, c.now()), fault.Forbidden)
	}
	if n.count("peer.example") != 1 {
		t.Errorf("the peer was asked %d times", n.count("peer.example"))
	}
	wantKind(t, r.VerifyJSON(context.Background(), "peer.example", signed(t, event.Signer{Server: "peer.example", KeyID: "ed25519:a", Key: private(9)}), c.now()), fault.Forbidden)
	wantKind(t, r.VerifyJSON(context.Background(), "other.example", forged, c.now()), fault.Forbidden)
	wantKind(t, r.VerifyJSON(context.Background(), "peer.example", []byte(`[`), c.now()), fault.BadJSON)
	c.pass(refetch)
	wantKind(t, r.VerifyJSON(context.Background(), "peer.example", forged, c.now().Add(30*24*time.Hour)), fault.Forbidden)
	if n.count("peer.example") != 1 {
		t.Error("the peer was asked about something of the far future")
	}
}

func TestBackoffFromAPeerThatDoesNotAnswer(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork()
	r := newRing(t, c, n)
	obj := signed(t, peer.Signer())
	verify := func() error { return r.VerifyJSON(context.Background(), "peer.example", obj, c.now()) }
	for i, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		wantKind(t, verify(), fault.Unreachable)
		wantKind(t, verify(), fault.Unreachable)
		if n.count("peer.example") != i+1 {
			t.Errorf("asked %d times, want %d", n.count("peer.example"), i+1)
		}
		c.pass(wait)
	}
	n.serve(peer)
	if err := verify(); err != nil {
		t.Errorf("after the peer came back: %v", err)
	}
	if got := retryAfter(1000); got != lastRetry {
		t.Errorf("the thousandth failure waits %v", got)
	}
}

func TestPinsAreTheOnlyKeysThatCount(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	pinned := private(7)
	r := newRing(t, c, n, func(o *Options) {
		o.Pinned = func(server string) (map[id.KeyID]ed25519.PublicKey, bool) {
			return map[id.KeyID]ed25519.PublicKey{"ed25519:pin": pinned.Public().(ed25519.PublicKey)}, server == "peer.example"
		}
	})
	wantKind(t, r.VerifyJSON(context.Background(), "peer.example", signed(t, peer.Signer()), c.now()), fault.Forbidden)
	byPin := signed(t, event.Signer{Server: "peer.example", KeyID: "ed25519:pin", Key: pinned})
	if err := r.VerifyJSON(context.Background(), "peer.example", byPin, c.now()); err != nil {
		t.Error(err)
	}
	if n.count("peer.example") != 0 {
		t.Error("a pinned server was asked for its keys")
	}
}

func TestTheStoreMayFail(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	r := newRing(t, c, newNetwork(peer), func(o *Options) { o.Store = &memory{err: errors.New("disk full")} })
	wantKind(t, r.VerifyJSON(context.Background(), "peer.example", signed(t, peer.Signer()), c.now()), fault.Unavailable)
	store := &failingSave{}
	r = newRing(t, c, newNetwork(peer), func(o *Options) { o.Store = store })
	if err := r.VerifyJSON(context.Background(), "peer.example", signed(t, peer.Signer()), c.now()); err != nil {
		t.Errorf("with a store that cannot save: %v", err)
	}
}

type failingSave struct{ memory }

func (*failingSave) Save(context.Context, []Key) error { return errors.New("disk full") }

func TestMemoryIsBounded(t *testing.T) {
	c := newClock()
	r := newRing(t, c, newNetwork(), func(o *Options) { o.MaxServers = 10 })
	for i := range 100 {
		server := strings.Repeat("x", i+1) + ".example"
		obj := signed(t, event.Signer{Server: server, KeyID: "ed25519:a", Key: private(1)})
		wantKind(t, r.VerifyJSON(context.Background(), server, obj, c.now()), fault.Unreachable)
	}
	if len(r.servers) > 10 {
		t.Errorf("%d servers are kept", len(r.servers))
	}
	old := map[id.KeyID]Key{}
	for i := range 2 * maxServerKeys {
		old[id.KeyID("ed25519:"+strings.Repeat("x", i+1))] = Key{}
	}
	if got := merge(old, []Key{{ID: "ed25519:new"}}); len(got) != maxServerKeys || got["ed25519:new"].ID == "" {
		t.Errorf("%d keys of one server are kept", len(got))
	}
}

func TestAWaitingCallerMayGiveUp(t *testing.T) {
	c := newClock()
	release := make(chan struct{})
	defer close(release)
	r := newRing(t, c, newNetwork(), func(o *Options) {
		o.Fetch = func(context.Context, string) ([]byte, error) { <-release; return nil, errors.New("late") }
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	obj := signed(t, event.Signer{Server: "peer.example", KeyID: "ed25519:a", Key: private(1)})
	wantKind(t, r.VerifyJSON(ctx, "peer.example", obj, c.now()), fault.Unavailable)
}
