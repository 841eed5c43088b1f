package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entente/federation/keys"
	"entente/federation/resolve"
	"entente/internal/dial"
	"entente/internal/fault"
	"entente/roomserver/event"
	"github.com/prometheus/client_golang/prometheus"
)

func get(c *Client, server string) error {
	_, err := c.Event(context.Background(), server, eventID)
	return err
}

const oneEvent = `{"pdus":[{}]}`

func TestThePeerMustProveItsName(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	pinned := map[string]*x509.CertPool{}
	for name, test := range map[string]struct {
		cert   tls.Certificate
		roots  *x509.CertPool
		pinned *x509.CertPool
		good   bool
	}{
		"its certificate":                  {ca.certificate(t, peerName), ca.pool, nil, true},
		"another name":                     {ca.certificate(t, "other.example"), ca.pool, nil, false},
		"another authority":                {stranger.certificate(t, peerName), ca.pool, nil, false},
		"an authority nobody knows":        {ca.certificate(t, peerName), nil, nil, false},
		"the pinned authority":             {stranger.certificate(t, peerName), ca.pool, stranger.pool, true},
		"another than the pinned, trusted": {ca.certificate(t, peerName), ca.pool, stranger.pool, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, peerName, test.cert, says(oneEvent))
			n := &network{routes: map[string]string{peerName + ":8448": p.Listener.Addr().String()}}
			pinned[peerName] = test.pinned
			c := New(Options{
				Signer: ownOf(t, usName).Signer, Resolver: newResolver(nil), Dial: n.dial, Roots: test.roots,
				RootsFor: func(server string) *x509.CertPool { return pinned[server] },
			})
			defer c.Close()
			err := get(c, peerName)
			if (err == nil) != test.good {
				t.Errorf("got %v, want good %v", err, test.good)
			}
			if !test.good {
				wantKind(t, err, fault.Unreachable)
				if p.count() != 0 {
					t.Error("a request went to a peer that had not proved its name")
				}
			}
		})
	}
}

func TestIPLiteralsNeedACertificateForTheAddress(t *testing.T) {
	ca := newAuthority(t)
	for _, server := range []string{"127.0.0.1", "[::1]:99"} {
		name := strings.Trim(strings.TrimSuffix(server, ":99"), "[]")
		p := newPeer(t, server, ca.certificate(t, name), says(oneEvent))
		addr := map[string]string{"127.0.0.1": "127.0.0.1:8448", "[::1]:99": "[::1]:99"}[server]
		n := &network{routes: map[string]string{addr: p.Listener.Addr().String()}}
		c := New(Options{Signer: ownOf(t, usName).Signer, Resolver: newResolver(nil), Dial: n.dial, Roots: ca.pool})
		if err := get(c, server); err != nil {
			t.Errorf("%s: %v", server, err)
		}
		if got := p.last(t).host; got != server {
			t.Errorf("the Host header is %s, want %s", got, server)
		}
		c.Close()
	}
}

func TestNothingLeavesForAServerThatPolicyRefuses(t *testing.T) {
	refusal := fault.New(fault.Forbidden, "no agreement with this server")
	f := newFixture(t, says(oneEvent), func(o *Options) {
		o.Allow = func(server string) error {
			if server == peerName {
				return refusal
			}
			return nil
		}
		o.Resolver = resolve.New(resolve.Options{Transport: failTransport{t}, DNS: noDiscovery{}})
	})
	ctx := context.Background()
	_, joinErr := join(f.Client)
	_, keysErr := f.ServerKeys(ctx, peerName)
	_, notaryErr := f.QueryKeys(ctx, peerName, "other.example", 0)
	for _, err := range []error{get(f.Client, peerName), joinErr, keysErr, notaryErr} {
		if !errors.Is(err, refusal) {
			t.Errorf("got %v, want the refusal", err)
		}
	}
	if len(f.net.dialed) != 0 || f.peer.count() != 0 {
		t.Errorf("connected to %v", f.net.dialed)
	}
}

func TestHostsOnTheWayAreSubjectToPolicyToo(t *testing.T) {
	refusal := fault.New(fault.Forbidden, "no agreement names this host")
	f := newFixture(t, says(oneEvent), func(o *Options) {
		o.Resolver = resolve.New(resolve.Options{
			Transport: failTransport{t}, DNS: noDiscovery{}, AllowHost: func(_, _ string) error { return refusal },
		})
	})
	if err := get(f.Client, peerName); !errors.Is(err, refusal) || fault.KindOf(err) != fault.Forbidden {
		t.Errorf("got %v", err)
	}
}

type failTransport struct{ t *testing.T }

func (f failTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	f.t.Errorf("discovery asked %s", req.URL)
	return nil, errors.New("refused")
}

func TestRedirectsOfPeersAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		f := newFixture(t, fails(status, "", "Location: https://other.example/"))
		wantKind(t, get(f.Client, peerName), fault.Unreachable)
		if len(f.net.dialed) != 1 {
			t.Errorf("connected to %v", f.net.dialed)
		}
	}
}

func TestErrorsOfPeers(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		body    string
		headers []string
		kind    fault.Kind
		retry   time.Duration
		text    string
	}{
		"forbidden":               {403, `{"errcode":"M_FORBIDDEN","error":"You are banned"}`, nil, fault.Forbidden, 0, "You are banned"},
		"not found":               {404, `{"errcode":"M_NOT_FOUND","error":"No event"}`, nil, fault.NotFound, 0, "No event"},
		"no such endpoint":        {404, `{"errcode":"M_UNRECOGNIZED","error":"?"}`, nil, fault.Unreachable, 0, "answered with an error: 404 M_UNRECOGNIZED ?"},
		"room version":            {400, `{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"v","room_version":"99"}`, nil, fault.IncompatibleVersion, 0, "v"},
		"cannot authorise":        {400, `{"errcode":"M_UNABLE_TO_AUTHORISE_JOIN","error":"x"}`, nil, fault.UnableToAuthoriseJoin, 0, "x"},
		"cannot grant":            {400, `{"errcode":"M_UNABLE_TO_GRANT_JOIN","error":"x"}`, nil, fault.UnableToGrantJoin, 0, "x"},
		"invite blocked":          {403, `{"errcode":"M_INVITE_BLOCKED","error":"x"}`, nil, fault.InviteBlocked, 0, "x"},
		"our request is at fault": {400, `{"errcode":"M_INVALID_PARAM","error":"x"}`, nil, fault.Unreachable, 0, "M_INVALID_PARAM"},
		"we are not believed":     {401, `{"errcode":"M_FORBIDDEN","error":"x"}`, nil, fault.Unreachable, 0, "401"},
		"limited, by header":      {429, `{"errcode":"M_LIMIT_EXCEEDED","error":"slow","retry_after_ms":1}`, []string{"Retry-After: 7"}, fault.Limited, 7 * time.Second, "slow"},
		"limited, by body":        {429, `{"errcode":"M_LIMIT_EXCEEDED","error":"slow","retry_after_ms":1500}`, nil, fault.Limited, 1500 * time.Millisecond, "slow"},
		"limited for ever":        {429, `{"retry_after_ms":99999999999999999}`, []string{"Retry-After: never"}, fault.Limited, maxRetryAfter, ""},
		"limited for less":        {429, `{"retry_after_ms":-5}`, []string{"Retry-After: -5"}, fault.Limited, 0, ""},
		"a forbidden accident":    {500, `{"errcode":"M_FORBIDDEN","error":"x"}`, nil, fault.Unreachable, 0, "500"},
		"a proxy":                 {502, `<html>Bad Gateway</html>`, nil, fault.Unreachable, 0, "502"},
		"unavailable for a while": {503, ``, []string{"Retry-After: 30"}, fault.Unreachable, 30 * time.Second, "503"},
		"success of no kind":      {204, ``, nil, fault.Unreachable, 0, "204"},
		"control characters":      {403, `{"errcode":"M_FORBIDDEN","error":"a\u0000\nb\u202ec"}`, nil, fault.Forbidden, 0, "abc"},
		"a long story":            {403, `{"errcode":"M_FORBIDDEN","error":"` + strings.Repeat("ü", 5000) + `"}`, nil, fault.Forbidden, 0, strings.Repeat("ü", 250)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, fails(test.status, test.body, test.headers...))
			err := get(f.Client, peerName)
			wantKind(t, err, test.kind)
			var e *Error
			if !errors.As(err, &e) || e.Status != test.status || e.RetryAfter != test.retry || e.Server != peerName {
				t.Errorf("got %+v", e)
			}
			var public *fault.Error
			if !errors.As(err, &public) || !strings.Contains(public.Public, test.text) || len(public.Public) > maxErrorText+100 {
				t.Errorf("the client reads %q, want %q", public.Public, test.text)
			}
			if public.RetryAfter != test.retry {
				t.Errorf("the client is to wait %v, want %v", public.RetryAfter, test.retry)
			}
			if test.kind == fault.IncompatibleVersion && public.RoomVersion != "99" {
				t.Errorf("the room version is %q", public.RoomVersion)
			}
			if !strings.Contains(err.Error(), peerName) {
				t.Errorf("the log reads %q", err)
			}
		})
	}
}

func TestUnrecognizedEndpoints(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   bool
	}{
		"as specified":         {fails(404, `{"errcode":"M_UNRECOGNIZED"}`), true},
		"another method":       {fails(405, `{"errcode":"M_UNRECOGNIZED"}`), true},
		"as it once was":       {fails(400, `{"errcode":"M_UNRECOGNIZED"}`), true},
		"in its own words":     {fails(404, `404 page not found`), true},
		"something is missing": {fails(404, `{"errcode":"M_NOT_FOUND"}`), false},
		"something is wrong":   {fails(400, `{}`), false},
		"an answer":            {says(oneEvent), false},
	} {
		if got := IsUnrecognized(get(newFixture(t, test.answer).Client, peerName)); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if IsUnrecognized(errors.New("x")) {
		t.Error("any error is taken for it")
	}
}

func TestUnreachablePeers(t *testing.T) {
	f := newFixture(t, says(oneEvent))
	err := get(f.Client, "absent.example")
	wantKind(t, err, fault.Unreachable)
	var e *Error
	if !errors.As(err, &e) || e.Status != 0 {
		t.Errorf("got %+v", e)
	}
	wantKind(t, get(f.Client, "not a server"), fault.InvalidParam)
	f.peer.Close()
	wantKind(t, get(f.Client, peerName), fault.Unreachable)

	guarded := newFixture(t, says(oneEvent), func(o *Options) {
		o.Dial = dial.New(dial.Options{Hint: "allow"}).DialContext
		o.Resolver = newResolver(map[string]resolve.Override{peerName: {Addr: "127.0.0.1:1"}})
	})
	if err := get(guarded.Client, peerName); !fault.Is(err, fault.Unreachable) || !dial.IsRefused(err) {
		t.Errorf("a private address gives %v", err)
	}
}

func TestASilentPeerIsGivenUp(t *testing.T) {
	done := make(chan struct{})
	f := newFixture(t, func(http.ResponseWriter, *http.Request) { <-done }, func(o *Options) { o.Timeout = 20 * time.Millisecond })
	defer close(done)
	err := get(f.Client, peerName)
	wantKind(t, err, fault.Unreachable)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Event(ctx, peerName, eventID); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up gets %v", err)
	}
}

func TestAddressesAreTriedInOrder(t *testing.T) {
	f := newFixture(t, says(oneEvent))
	f.Client.o.Resolver = resolve.New(resolve.Options{Transport: noDiscovery{}, DNS: srvRecords{"dead.example", "live.example"}})
	f.net.route("live.example:1", f.peer.Listener.Addr().String())
	if err := get(f.Client, peerName); err != nil {
		t.Error(err)
	}
	if fmt.Sprint(f.net.dialed) != "[dead.example:1 live.example:1]" {
		t.Errorf("connected to %v", f.net.dialed)
	}
}

func TestConnectionsAreKeptAndBounded(t *testing.T) {
	release := make(chan struct{})
	f := newFixture(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		says(oneEvent)(w, r)
	}, func(o *Options) { o.MaxConns = 3 })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := get(f.Client, peerName); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if n := f.net.conns.Load(); n > 3 {
		t.Errorf("%d connections were made", n)
	}
	before := f.net.conns.Load()
	if err := get(f.Client, peerName); err != nil || f.net.conns.Load() != before {
		t.Errorf("a new connection was made (%v)", err)
	}
	f.Forget(peerName)
	if err := get(f.Client, peerName); err != nil || f.net.conns.Load() != before+1 {
		t.Errorf("the old connection was used for a peer that had been forgotten (%v)", err)
	}
}

func TestAConnectionThatThePeerClosedIsReplaced(t *testing.T) {
	f := newFixture(t, says(`{"pdus":{}}`))
	for range 5 {
		if _, err := f.Send(context.Background(), peerName, Transaction{ID: "t"}); err != nil {
			t.Fatal(err)
		}
		f.peer.CloseClientConnections()
	}
	if h := f.peer.last(t).header; h["Idempotency-Key"] != nil {
		t.Error("a header left that is only for the transport")
	}
}

func TestPeersInMemoryAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFixture(t, says(oneEvent), func(o *Options) {
		o.MaxPeers = 3
		o.Now = func() time.Time { now = now.Add(time.Second); return now }
	})
	for i := range 10 {
		_ = get(f.Client, fmt.Sprintf("s%d.example", i))
		if err := get(f.Client, peerName); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.peers) > 3 || f.net.conns.Load() != 1 {
		t.Errorf("%d peers are kept, %d connections were made", len(f.peers), f.net.conns.Load())
	}
	now = now.Add(time.Hour)
	_ = get(f.Client, "late.example")
	if len(f.peers) != 1 {
		t.Errorf("%d peers are kept after an hour", len(f.peers))
	}
}

func TestCallsAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	refuse := false
	f := newFixture(t, says(oneEvent), func(o *Options) {
		o.Metrics = reg
		o.Allow = func(string) error {
			if refuse {
				return errors.New("refused")
			}
			return nil
		}
	})
	_ = get(f.Client, peerName)
	_ = get(f.Client, "absent.example")
	f.peer.answers(fails(404, "{}"))
	_ = get(f.Client, peerName)
	_, _ = f.QueryDirectory(context.Background(), peerName, "#a:peer.example")
	refuse = true
	_ = get(f.Client, peerName)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if c := m.GetCounter(); c != nil {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = c.GetValue()
			}
		}
	}
	want := map[string]float64{"event ok": 1, "event unreachable": 1, "event error": 1, "event refused": 1, "query error": 1}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestKeysByWayOfTheClient plugs a Ring into a Client, as a server does.
func TestKeysByWayOfTheClient(t *testing.T) {
	f := newFixture(t, nil)
	f.peer.answers(func(w http.ResponseWriter, r *http.Request) {
		doc, err := f.peer.own.Document()
		if err != nil {
			t.Error(err)
		}
		says(string(doc))(w, r)
	})
	ring := keys.New(keys.Options{Own: ownOf(t, usName), Fetch: f.ServerKeys})
	obj, err := event.SignJSON([]byte(`{}`), f.peer.own.Signer())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.VerifyJSON(context.Background(), peerName, obj, time.Now()); err != nil {
		t.Error(err)
	}
	f.peer.answers(says(`{"x":"` + strings.Repeat("x", keys.MaxDocument) + `"}`))
	if _, err := f.ServerKeys(context.Background(), peerName); !errors.Is(err, errTooLong) {
		t.Errorf("a long document gives %v", err)
	}
}

// BenchmarkSend is what one small transaction costs both sides together.
func BenchmarkSend(b *testing.B) {
	f := newFixture(b, says(`{"pdus":{}}`))
	f.Client.o.Resolver = newResolver(map[string]resolve.Override{peerName: {Addr: peerName + ":8448"}})
	pdu := json.RawMessage(`{"content":{"body":"` + strings.Repeat("x", 600) + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Send(context.Background(), peerName, Transaction{ID: "t", PDUs: []json.RawMessage{pdu}}); err != nil {
			b.Fatal(err)
		}
	}
}
