package resolve

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entente/internal/fault"
)

// world is the internet that a test's Resolver sees.
type world struct {
	mu      sync.Mutex
	answers map[string]func() *http.Response // by URL
	srv     map[string][]*net.SRV            // by "_service._tcp.name."
	srvErr  map[string]error
	asked   []string // URLs and SRV names
	now     time.Time
}

func newWorld() *world {
	return &world{
		answers: map[string]func() *http.Response{}, srv: map[string][]*net.SRV{}, srvErr: map[string]error{},
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func (w *world) resolver(change ...func(*Options)) *Resolver {
	o := Options{Transport: w, DNS: w, Now: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	}}
	for _, f := range change {
		f(&o)
	}
	return New(o)
}

func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, req.URL.String())
	if answer := w.answers[req.URL.String()]; answer != nil {
		return answer(), nil
	}
	return nil, errors.New("connection refused")
}

func (w *world) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	full := fmt.Sprintf("_%s._%s.%s", service, proto, name)
	w.asked = append(w.asked, full)
	if err := w.srvErr[full]; err != nil {
		return "", nil, err
	}
	if srvs, ok := w.srv[full]; ok {
		return full, srvs, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: full, IsNotFound: true}
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
	w.asked = nil
}

func (w *world) wellKnown(host string, status int, body string, headers ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers["https://"+host+"/.well-known/matrix/server"] = func() *http.Response {
		h := http.Header{}
		for _, header := range headers {
			key, value, _ := strings.Cut(header, ": ")
			h.Add(key, value)
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
	}
}

func (w *world) hasSRV(name string, srvs ...*net.SRV) { w.srv[name] = srvs }

func TestEveryStepOfDiscovery(t *testing.T) {
	for _, test := range []struct {
		name, server string
		setup        func(*world)
		want         Target
		asked        int
	}{
		{"step 1: IPv4 literal", "1.2.3.4", nil, Target{[]string{"1.2.3.4:8448"}, "1.2.3.4", "1.2.3.4"}, 0},
		{"step 1: IPv4 literal with port", "1.2.3.4:99", nil, Target{[]string{"1.2.3.4:99"}, "1.2.3.4:99", "1.2.3.4"}, 0},
		{"step 1: IPv6 literal", "[2001:db8::1]", nil, Target{[]string{"[2001:db8::1]:8448"}, "[2001:db8::1]", "2001:db8::1"}, 0},
		{"step 1: IPv6 literal with port", "[2001:db8::1]:99", nil, Target{[]string{"[2001:db8::1]:99"}, "[2001:db8::1]:99", "2001:db8::1"}, 0},
		{"step 2: explicit port", "a.example:99", nil, Target{[]string{"a.example:99"}, "a.example:99", "a.example"}, 0},
		{"step 3.1: delegated to an IP literal", "a.example", func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"1.2.3.4"}`)
		}, Target{[]string{"1.2.3.4:8448"}, "1.2.3.4", "1.2.3.4"}, 1},
		{"step 3.1: delegated to an IP literal with port", "a.example", func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"[::1]:7"}`)
		}, Target{[]string{"[::1]:7"}, "[::1]:7", "::1"}, 1},
		{"step 3.2: delegated to a name with port", "a.example", func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"hs.b.example:443"}`)
		}, Target{[]string{"hs.b.example:443"}, "hs.b.example:443", "hs.b.example"}, 1},
		{"step 3.3: delegated to a name with SRV", "a.example", func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"b.example"}`)
			w.hasSRV("_matrix-fed._tcp.b.example.", &net.SRV{Target: "x.example.", Port: 1}, &net.SRV{Target: "y.example.", Port: 2})
			w.hasSRV("_matrix._tcp.b.example.", &net.SRV{Target: "old.example.", Port: 3})
		}, Target{[]string{"x.example:1", "y.example:2"}, "b.example", "b.example"}, 2},
		{"step 3.4: delegated to a name with deprecated SRV", "a.example", func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"b.example"}`)
			w.hasSRV("_matrix._tcp.b.example.", &net.SRV{Target: "old.example.", Port: 3})
		}, Target{[]string{"old.example:3"}, "b.example", "b.example"}, 3},
		{"step 3.5: delegated to a name alone", "a.example", func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"b.example"}`)
		}, Target{[]string{"b.example:8448"}, "b.example", "b.example"}, 3},
		{"step 4: SRV", "a.example", func(w *world) {
			w.hasSRV("_matrix-fed._tcp.a.example.", &net.SRV{Target: "x.example.", Port: 1})
		}, Target{[]string{"x.example:1"}, "a.example", "a.example"}, 2},
		{"step 5: deprecated SRV", "a.example", func(w *world) {
			w.hasSRV("_matrix._tcp.a.example.", &net.SRV{Target: "x.example.", Port: 1})
		}, Target{[]string{"x.example:1"}, "a.example", "a.example"}, 3},
		{"step 6: nothing", "a.example", nil, Target{[]string{"a.example:8448"}, "a.example", "a.example"}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			if test.setup != nil {
				test.setup(w)
			}
			got, err := w.resolver().Resolve(context.Background(), test.server)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if len(w.asked) != test.asked {
				t.Errorf("asked %v, want %d questions", w.asked, test.asked)
			}
		})
	}
}

func TestAnUnusableWellKnownIsNoDelegation(t *testing.T) {
	for name, setup := range map[string]func(*world){
		"not found":            func(w *world) { w.wellKnown("a.example", 404, `{"m.server":"evil.example"}`) },
		"server error":         func(w *world) { w.wellKnown("a.example", 500, `{"m.server":"evil.example"}`) },
		"not JSON":             func(w *world) { w.wellKnown("a.example", 200, `<html>`) },
		"no m.server":          func(w *world) { w.wellKnown("a.example", 200, `{}`) },
		"not a string":         func(w *world) { w.wellKnown("a.example", 200, `{"m.server":7}`) },
		"not a server name":    func(w *world) { w.wellKnown("a.example", 200, `{"m.server":"https://evil.example/"}`) },
		"a wrong IPv6 literal": func(w *world) { w.wellKnown("a.example", 200, `{"m.server":"[1:2:3:4:5:6:7:8:9]"}`) },
		"too long": func(w *world) {
			w.wellKnown("a.example", 200, `{"m.server":"evil.example","x":"`+strings.Repeat("x", wellKnownBody)+`"}`)
		},
		"redirect to http":      func(w *world) { w.wellKnown("a.example", 302, "", "Location: http://evil.example/") },
		"redirect to a file":    func(w *world) { w.wellKnown("a.example", 302, "", "Location: file:///etc/passwd") },
		"redirect with a login": func(w *world) { w.wellKnown("a.example", 302, "", "Location: https://u:p@evil.example/") },
		"redirect to nowhere":   func(w *world) { w.wellKnown("a.example", 302, "") },
		"redirect loop": func(w *world) {
			w.wellKnown("a.example", 302, "", "Location: https://a.example/.well-known/matrix/server")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			setup(w)
			got, err := w.resolver().Resolve(context.Background(), "a.example")
			if err != nil {
				t.Fatal(err)
			}
			if want := (Target{[]string{"a.example:8448"}, "a.example", "a.example"}); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if len(w.asked) > wellKnownRedirects+1+2 {
				t.Errorf("asked %d times", len(w.asked))
			}
		})
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	w := newWorld()
	w.wellKnown("a.example", 301, "", "Location: https://www.a.example/.well-known/matrix/server")
	w.wellKnown("www.a.example", 308, "", "Location: /elsewhere")
	w.answers["https://www.a.example/elsewhere"] = func() *http.Response {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"m.server":"b.example:1"}`))}
	}
	got, err := w.resolver().Resolve(context.Background(), "a.example")
	if err != nil || got.Host != "b.example:1" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestInvalidServerNamesAreRefused(t *testing.T) {
	for _, server := range []string{"", "a b", "https://a.example", "a.example:x", "[::1", "[::g]", "a/b", "a.example:99:1", "ü.example", "[1:2:3:4:5:6:7:8:9]"} {
		if got, err := newWorld().resolver().Resolve(context.Background(), server); !fault.Is(err, fault.InvalidParam) {
			t.Errorf("%q: got %+v, %v", server, got, err)
		}
	}
}

func TestWellKnownIsCachedAsItsHeadersSay(t *testing.T) {
	for name, test := range map[string]struct {
		headers []string
		want    time.Duration
	}{
		"no headers":         {nil, 24 * time.Hour},
		"max-age":            {[]string{"Cache-Control: public, Max-Age=3600"}, time.Hour},
		"quoted max-age":     {[]string{`Cache-Control: max-age="7200"`}, 2 * time.Hour},
		"long max-age":       {[]string{"Cache-Control: max-age=31536000"}, 48 * time.Hour},
		"endless max-age":    {[]string{"Cache-Control: max-age=99999999999999999999"}, 24 * time.Hour},
		"max-age of nothing": {[]string{"Cache-Control: max-age=0"}, 5 * time.Minute},
		"no-store":           {[]string{"Cache-Control: max-age=3600, no-store"}, 5 * time.Minute},
		"two headers":        {[]string{"Cache-Control: public", "Cache-Control: max-age=3600"}, time.Hour},
		"Expires":            {[]string{"Expires: Fri, 02 Jan 2026 13:04:05 GMT"}, 10 * time.Hour},
		"Expires, malformed": {[]string{"Expires: 0"}, 5 * time.Minute},
		"max-age beats both": {[]string{"Expires: 0", "Cache-Control: max-age=3600"}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.wellKnown("a.example", 200, `{"m.server":"b.example:1"}`, test.headers...)
			r := w.resolver()
			ask := func() int {
				if _, err := r.Resolve(context.Background(), "a.example"); err != nil {
					t.Fatal(err)
				}
				return len(w.asked)
			}
			ask()
			w.pass(test.want - time.Second)
			if n := ask(); n != 0 {
				t.Errorf("asked again after %v", test.want-time.Second)
			}
			w.pass(2 * time.Second)
			if n := ask(); n != 1 {
				t.Errorf("not asked again after %v", test.want+time.Second)
			}
		})
	}
}

func TestFailuresAreCachedForLongerAndLonger(t *testing.T) {
	w := newWorld()
	r := w.resolver()
	var waits []time.Duration
	for range 9 {
		if _, err := r.Resolve(context.Background(), "a.example"); err != nil {
			t.Fatal(err)
		}
		waits = append(waits, r.wellKnown["a.example"].expires.Sub(w.now))
		w.pass(wellKnownMaxFail)
		r.Forget("a.example")
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i := range want {
		if waits[i] != want[i]*time.Minute {
			t.Errorf("failure %d is kept for %v, want %v", i+1, waits[i], want[i]*time.Minute)
		}
	}
	w.wellKnown("a.example", 200, `{"m.server":"b.example:1"}`)
	if got, _ := r.Resolve(context.Background(), "a.example"); got.Host != "b.example:1" {
		t.Errorf("got %+v after the failures ended", got)
	}
}

func TestADelegationOutlivesAShortOutage(t *testing.T) {
	w := newWorld()
	w.wellKnown("a.example", 200, `{"m.server":"b.example:1"}`, "Cache-Control: max-age=3600")
	r := w.resolver()
	host := func() string {
		got, err := r.Resolve(context.Background(), "a.example")
		if err != nil {
			t.Fatal(err)
		}
		return got.Host
	}
	host()
	w.wellKnown("a.example", 502, "bad gateway")
	w.pass(2 * time.Hour)
	if got := host(); got != "b.example:1" {
		t.Errorf("got %s during the outage", got)
	}
	w.pass(47 * time.Hour)
	if got := host(); got != "a.example" {
		t.Errorf("got %s after two days", got)
	}
	w.wellKnown("a.example", 200, `{"m.server":"b.example:1"}`, "Cache-Control: max-age=3600")
	w.pass(2 * time.Hour)
	host()
	w.wellKnown("a.example", 404, "gone")
	w.pass(2 * time.Hour)
	if got := host(); got != "a.example" {
		t.Errorf("got %s after the delegation was taken away", got)
	}
}

func TestDNSFailuresAreDoubtedSoon(t *testing.T) {
	w := newWorld()
	w.srvErr["_matrix-fed._tcp.a.example."] = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	r := w.resolver()
	if got, err := r.Resolve(context.Background(), "a.example"); err != nil || got.Addrs[0] != "a.example:8448" {
		t.Fatalf("got %+v, %v", got, err)
	}
	w.srvErr, w.srv["_matrix-fed._tcp.a.example."] = nil, []*net.SRV{{Target: "x.example.", Port: 1}}
	w.pass(doubtTTL + time.Second)
	if got, err := r.Resolve(context.Background(), "a.example"); err != nil || got.Addrs[0] != "x.example:1" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnSRVRecordCanSayThatThereIsNoService(t *testing.T) {
	w := newWorld()
	w.hasSRV("_matrix-fed._tcp.a.example.", &net.SRV{Target: "."})
	if got, err := w.resolver().Resolve(context.Background(), "a.example"); !fault.Is(err, fault.Unreachable) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestOverridesSkipDiscovery(t *testing.T) {
	w := newWorld()
	r := w.resolver(func(o *Options) {
		o.Overrides = map[string]Override{
			"a.example":    {Addr: "127.0.0.1:8448"},
			"b.example:99": {Addr: "127.0.0.1:1", TLSName: "other.example"},
		}
		o.AllowHost = func(_, _ string) error { return errors.New("no discovery") }
	})
	for server, want := range map[string]Target{
		"a.example":    {[]string{"127.0.0.1:8448"}, "a.example", "a.example"},
		"b.example:99": {[]string{"127.0.0.1:1"}, "b.example:99", "other.example"},
	} {
		if got, err := r.Resolve(context.Background(), server); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", server, got, err, want)
		}
	}
	if len(w.asked) != 0 {
		t.Errorf("asked %v", w.asked)
	}
}

func TestEveryHostOnTheWayIsAskedAbout(t *testing.T) {
	for _, refuse := range []string{"a.example", "www.a.example", "b.example"} {
		w := newWorld()
		w.wellKnown("a.example", 301, "", "Location: https://www.a.example/.well-known/matrix/server")
		w.wellKnown("www.a.example", 200, `{"m.server":"b.example:1"}`)
		refusal := fault.New(fault.Forbidden, "no agreement names %s", refuse)
		var hosts []string
		r := w.resolver(func(o *Options) {
			o.AllowHost = func(server, host string) error {
				if server != "a.example" {
					t.Errorf("asked about %s", server)
				}
				if hosts = append(hosts, host); host == refuse {
					return refusal
				}
				return nil
			}
		})
		if _, err := r.Resolve(context.Background(), "a.example"); !errors.Is(err, refusal) {
			t.Errorf("got %v, want the refusal of %s", err, refuse)
		}
		if len(w.asked) != len(hosts)-1 {
			t.Errorf("%v was asked although only %v were allowed", w.asked, hosts[:len(hosts)-1])
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	w := newWorld()
	r := w.resolver(func(o *Options) { o.MaxServers = 10 })
	for i := range 100 {
		if _, err := r.Resolve(context.Background(), fmt.Sprintf("s%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.targets) > 10 || len(r.wellKnown) > 10 {
		t.Errorf("%d targets and %d well-known records are kept", len(r.targets), len(r.wellKnown))
	}
}

// blockingDNS answers nothing until it is released.
type blockingDNS struct {
	*world
	release chan struct{}
}

func (b blockingDNS) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	select {
	case <-b.release:
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	return b.world.LookupSRV(ctx, service, proto, name)
}

func TestCallersShareOneDiscoveryAndMayGiveUpAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		dns := blockingDNS{w, make(chan struct{})}
		r := w.resolver(func(o *Options) { o.DNS = dns })
		var wg sync.WaitGroup
		first, cancel := context.WithCancel(context.Background())
		wg.Go(func() {
			if _, err := r.Resolve(first, "a.example"); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller that gave up got %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if _, err := r.Resolve(context.Background(), "a.example"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(dns.release)
		wg.Wait()
		if len(w.asked) != 3 {
			t.Errorf("asked %v", w.asked)
		}
	})
}

func TestADiscoveryThatHangsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := w.resolver(func(o *Options) { o.DNS = blockingDNS{w, nil} })
		if _, err := r.Resolve(context.Background(), "a.example"); !fault.Is(err, fault.Unreachable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTheTransportChecksCertificatesAndAsksTheDialer(t *testing.T) {
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "example.com" || r.URL.Path != "/.well-known/matrix/server" {
			t.Errorf("asked for %s on %s", r.URL, r.Host)
		}
		_, _ = io.WriteString(w, `{"m.server":"b.example:1"}`)
	}))
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate()) // valid for example.com
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != "example.com:443" {
			t.Errorf("connects to %s", addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, web.Listener.Addr().String())
	}
	for want, pool := range map[string]*x509.CertPool{"b.example:1": roots, "example.com": x509.NewCertPool()} {
		r := New(Options{Transport: NewTransport(dial, pool), DNS: newWorld()})
		if got, err := r.Resolve(context.Background(), "example.com"); err != nil || got.Host != want {
			t.Errorf("got %+v, %v, want %s", got, err, want)
		}
	}
}

func FuzzParseWellKnown(f *testing.F) {
	f.Add([]byte(`{"m.server":"b.example:1"}`))
	f.Add([]byte(`{"m.server":"[::1]"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		delegate, err := parseWellKnown(body)
		if err != nil {
			return
		}
		n, err := parseName(delegate)
		if err != nil || n.host == "" {
			t.Fatalf("%q was taken for a delegate", delegate)
		}
		if _, _, err := net.SplitHostPort(n.addr()); err != nil {
			t.Fatalf("%q leads to %q: %v", delegate, n.addr(), err)
		}
	})
}
