// Package resolve finds out where a Matrix server listens: which address to
// connect to for a server name, which Host header to send there, and which
// name its certificate must be valid for.
//
// Spec: server-server-api/#resolving-server-names
package resolve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// lookupTimeout bounds one whole discovery.
	lookupTimeout = 30 * time.Second
	// addressTTL is how long a discovery is kept that DNS had a part in: Go's
	// resolver does not tell the records' own lifetime.
	addressTTL = 10 * time.Minute
	// doubtTTL is how long a discovery is kept when DNS failed on the way.
	doubtTTL          = time.Minute
	defaultMaxServers = 10_000
)

// Target is where a server listens.
type Target struct {
	// Addrs are the addresses to try, in order, each a host and a port. The
	// host may be a name that is still to be looked up.
	Addrs []string
	// Host is the Host header to send.
	Host string
	// TLSName is the DNS name or IP address that the certificate must be
	// valid for.
	TLSName string
}

// SRVResolver looks up SRV records; *net.Resolver is one.
type SRVResolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, srvs []*net.SRV, err error)
}

// Override fixes where a server listens, without any discovery.
type Override struct {
	// Addr is the host and port to connect to.
	Addr string
	// TLSName is the name that the certificate must be valid for; the
	// server name's host when empty.
	TLSName string
}

// Options are what a Resolver works with.
type Options struct {
	// Transport fetches .well-known files; NewTransport makes one.
	Transport http.RoundTripper
	// DNS looks up SRV records; net.DefaultResolver when nil.
	DNS SRVResolver
	// Overrides maps server names to fixed addresses.
	Overrides map[string]Override
	// AllowHost, when set, is asked before anything is sent to host because
	// of server: for .well-known, for each redirect, and for the delegate. An
	// error ends the discovery.
	AllowHost func(server, host string) error
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// MaxServers bounds the cache; 10,000 when zero.
	MaxServers int
}

// Resolver discovers servers and remembers what it found. It is safe for
// concurrent use.
type Resolver struct {
	dns       SRVResolver
	http      http.RoundTripper
	overrides map[string]Override
	allowHost func(server, host string) error
	now       func() time.Time
	max       int

	flight singleflight.Group

	mu        sync.Mutex
	targets   map[string]cachedTarget    // guarded by mu
	wellKnown map[string]wellKnownRecord // guarded by mu
}

type cachedTarget struct {
	target  Target
	expires time.Time
}

// New makes a Resolver.
func New(o Options) *Resolver {
	r := &Resolver{
		dns: o.DNS, http: o.Transport, overrides: o.Overrides, allowHost: o.AllowHost, now: o.Now, max: o.MaxServers,
		targets: map[string]cachedTarget{}, wellKnown: map[string]wellKnownRecord{},
	}
	if r.dns == nil {
		r.dns = net.DefaultResolver
	}
	if r.allowHost == nil {
		r.allowHost = func(_, _ string) error { return nil }
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.max == 0 {
		r.max = defaultMaxServers
	}
	return r
}

// Resolve finds out where server listens. Concurrent calls for one server
// share one discovery. It answers an error for an invalid server name, for a
// host that AllowHost refuses, and for a server whose SRV record says that it
// has no such service; it does not connect to the server.
func (r *Resolver) Resolve(ctx context.Context, server string) (Target, error) {
	if o, ok := r.overrides[server]; ok {
		return r.overridden(server, o)
	}
	if t, ok := r.cached(server); ok {
		return t, nil
	}
	done := r.flight.DoChan(server, func() (any, error) {
		// Not the caller's context: others may wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		t, ttl, err := r.discover(ctx, server)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		makeRoom(r.targets, r.max, func(c cachedTarget) bool { return r.now().After(c.expires) })
		r.targets[server] = cachedTarget{t, r.now().Add(ttl)}
		return t, nil
	})
	select {
	case <-ctx.Done():
		return Target{}, ctx.Err()
	case res := <-done:
		if res.Err != nil {
			return Target{}, res.Err
		}
		return res.Val.(Target), nil
	}
}

// Forget drops what is known of server's address, after it could not be
// reached there. What its .well-known said stays for its own lifetime.
func (r *Resolver) Forget(server string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.targets, server)
}

func (r *Resolver) cached(server string) (Target, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.targets[server]
	if !ok || !r.now().Before(c.expires) {
		return Target{}, false
	}
	return c.target, true
}

func (r *Resolver) overridden(server string, o Override) (Target, error) {
	n, err := parseName(server)
	if err != nil {
		return Target{}, err
	}
	if o.TLSName == "" {
		o.TLSName = n.host
	}
	return Target{Addrs: []string{o.Addr}, Host: server, TLSName: o.TLSName}, nil
}

// makeRoom keeps a map below its bound: what is dead goes first, and if that
// is not enough, something goes.
func makeRoom[V any](m map[string]V, limit int, dead func(V) bool) {
	if len(m) < limit {
		return
	}
	for k, v := range m {
		if dead(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < limit {
			return
		}
		delete(m, k)
	}
}
