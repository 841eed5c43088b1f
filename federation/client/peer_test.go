package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entente/federation/keys"
	"entente/federation/resolve"
	"entente/internal/fault"
)

// authority is a private certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = issue(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.pool.AddCert(a.cert)
	return a
}

// certificate is valid for a DNS name or an IP address.
func (a *authority) certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	cert, key := issue(t, a, template)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func issue(t testing.TB, by *authority, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// net of servers that a test's Client can reach: addresses lead to loopback
// listeners.
type network struct {
	mu     sync.Mutex
	routes map[string]string // address that is dialled -> listener
	dialed []string
	conns  atomic.Int64
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, addr)
	to := n.routes[addr]
	n.mu.Unlock()
	if to == "" {
		return nil, fmt.Errorf("no route to %s", addr)
	}
	n.conns.Add(1)
	return (&net.Dialer{}).DialContext(ctx, "tcp", to)
}

func (n *network) route(addr, listener string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routes[addr] = listener
}

// asked is one request that a peer got.
type asked struct {
	method, uri, host, body string
	header                  http.Header
	origin                  string // whom X-Matrix proved
}

// peer is a Matrix server under the test's control. It refuses requests that
// are not signed, except for what needs no signature.
type testPeer struct {
	*httptest.Server
	own    *keys.Own
	mu     sync.Mutex
	asked  []asked
	answer http.HandlerFunc
}

const usName, peerName = "us.example", "peer.example"

func ownOf(t testing.TB, name string) *keys.Own {
	t.Helper()
	seed := []byte(strings.Repeat(name[:1], ed25519.SeedSize))
	own, err := keys.NewOwn(keys.OwnOptions{Name: name, Keys: []keys.OwnKey{{ID: "ed25519:a", Private: ed25519.NewKeyFromSeed(seed)}}})
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// newPeer starts a peer with a certificate for certName.
func newPeer(t testing.TB, name string, cert tls.Certificate, answer http.HandlerFunc) *testPeer {
	t.Helper()
	us := ownOf(t, usName)
	p := &testPeer{own: ownOf(t, name), answer: answer}
	ring := keys.New(keys.Options{Own: p.own, Fetch: func(_ context.Context, server string) ([]byte, error) {
		if server != usName {
			return nil, errors.New("only one other server exists")
		}
		return us.Document()
	}})
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a := asked{method: r.Method, uri: r.RequestURI, host: r.Host, body: string(body), header: r.Header}
		anonymous := strings.HasPrefix(r.URL.Path, "/_matrix/key/") || r.URL.Path == "/_matrix/federation/v1/version"
		if !anonymous || r.Header.Get("Authorization") != "" {
			if a.origin, err = ring.Authenticate(r, body); err != nil {
				http.Error(w, `{"errcode":"M_UNAUTHORIZED","error":"`+err.Error()+`"}`, http.StatusUnauthorized)
				return
			}
		}
		p.mu.Lock()
		p.asked = append(p.asked, a)
		answer := p.answer
		p.mu.Unlock()
		answer(w, r)
	}))
	p.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	// What a refused handshake says to the server's log is not of interest.
	p.Config.ErrorLog = discardLog()
	p.StartTLS()
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *testPeer) answers(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// last is the last request, which must have been one of ours.
func (p *testPeer) last(t testing.TB) asked {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		t.Fatal("the peer got no request")
	}
	return p.asked[len(p.asked)-1]
}

func (p *testPeer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func fails(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			key, value, _ := strings.Cut(h, ": ")
			w.Header().Set(key, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// fixture is one peer and a Client that reaches it.
type fixture struct {
	*Client
	peer *testPeer
	net  *network
	ca   *authority
}

func newFixture(t testing.TB, answer http.HandlerFunc, change ...func(*Options)) *fixture {
	t.Helper()
	ca := newAuthority(t)
	f := &fixture{ca: ca, net: &network{routes: map[string]string{}}}
	f.peer = newPeer(t, peerName, ca.certificate(t, peerName), answer)
	f.net.route(peerName+":8448", f.peer.Listener.Addr().String())
	o := Options{
		Signer: ownOf(t, usName).Signer, Resolver: newResolver(nil), Dial: f.net.dial, Roots: ca.pool, UserAgent: "test",
	}
	for _, c := range change {
		c(&o)
	}
	f.Client = New(o)
	t.Cleanup(f.Client.Close)
	return f
}

// noDiscovery finds neither .well-known files nor SRV records.
type noDiscovery struct{}

func (noDiscovery) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no web server here")
}

func (noDiscovery) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func newResolver(overrides map[string]resolve.Override) *resolve.Resolver {
	return resolve.New(resolve.Options{Transport: noDiscovery{}, DNS: noDiscovery{}, Overrides: overrides})
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want an error of kind %d", err, kind)
	}
}

// srvRecords leads every name to these hosts, port 1.
type srvRecords []string

func (s srvRecords) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	var out []*net.SRV
	for _, host := range s {
		out = append(out, &net.SRV{Target: host + ".", Port: 1})
	}
	return "", out, nil
}
