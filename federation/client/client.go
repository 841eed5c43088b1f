// Package client calls other Matrix servers: every request is allowed by
// policy first, goes where discovery says, is signed, checks the peer's
// certificate, and reads no more of the answer than the call is worth.
//
// Answers are a stranger's: events in them are unparsed and unverified, and
// what they claim is for the caller to check.
//
// Spec: server-server-api/
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"entente/federation/resolve"
	"entente/roomserver/event"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultTimeout     = time.Minute
	defaultLongTimeout = 10 * time.Minute
	defaultStall       = time.Minute
	defaultPeers       = 2_000
	defaultConns       = 8
	handshakeTimeout   = 15 * time.Second
	idleTimeout        = 90 * time.Second
	maxHeaderBytes     = 64 << 10
)

// Options are what a Client works with. Signer, Resolver and Dial are needed.
type Options struct {
	// Signer is our name and the key to sign a request with, asked for each.
	Signer func() event.Signer
	// Resolver finds servers.
	Resolver *resolve.Resolver
	// Dial connects to an address that Resolver found. Peers choose it: it
	// wants a guarded dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Roots are the certificate authorities that peers' certificates must go
	// back to; the system's when nil.
	Roots *x509.CertPool
	// RootsFor are the authorities that an agreement pins for a server; nil
	// for a server without a pin, which Roots goes for.
	RootsFor func(server string) *x509.CertPool
	// Allow is asked before anything is sent to server, discovery and key
	// fetches included; its error ends the call. Nil allows everything.
	Allow func(server string) error
	// UserAgent goes with every request.
	UserAgent string
	// Timeout bounds an ordinary call; a minute when zero.
	Timeout time.Duration
	// LongTimeout bounds a call whose answer is the state of a room; ten
	// minutes when zero.
	LongTimeout time.Duration
	// Stall bounds how long such an answer may pause; a minute when zero.
	Stall time.Duration
	// MaxPeers bounds the servers with connections kept open; 2,000 when zero.
	MaxPeers int
	// MaxConns bounds the connections to one server; eight when zero.
	MaxConns int
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Metrics registers counters of calls; they are not shown when nil.
	Metrics prometheus.Registerer
}

// Client calls other servers. It is safe for concurrent use.
type Client struct {
	o       Options
	metrics *metrics

	mu    sync.Mutex
	peers map[string]*peer // guarded by mu
}

// peer holds the connections to one server. They are not shared between
// servers, even where several names lead to one address: each name has its
// own certificate and pins.
type peer struct {
	transport *http.Transport
	used      time.Time // guarded by Client.mu
}

// New makes a Client.
func New(o Options) *Client {
	if o.RootsFor == nil {
		o.RootsFor = func(string) *x509.CertPool { return nil }
	}
	if o.Allow == nil {
		o.Allow = func(string) error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Timeout = orDefault(o.Timeout, defaultTimeout)
	o.LongTimeout = orDefault(o.LongTimeout, defaultLongTimeout)
	o.Stall = orDefault(o.Stall, defaultStall)
	o.MaxPeers = orDefault(o.MaxPeers, defaultPeers)
	o.MaxConns = orDefault(o.MaxConns, defaultConns)
	return &Client{o: o, metrics: newMetrics(o.Metrics), peers: map[string]*peer{}}
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Forget closes the idle connections to server and forgets its address: when
// its agreement changes, what was checked under the old one counts no more.
func (c *Client) Forget(server string) {
	c.o.Resolver.Forget(server)
	c.mu.Lock()
	p := c.peers[server]
	delete(c.peers, server)
	c.mu.Unlock()
	if p != nil {
		p.transport.CloseIdleConnections()
	}
}

// Close closes all idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for server, p := range c.peers {
		p.transport.CloseIdleConnections()
		delete(c.peers, server)
	}
}

// transport is the one that holds server's connections.
func (c *Client) transport(server string) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Now()
	p, ok := c.peers[server]
	if !ok {
		c.makeRoomLocked(now)
		p = &peer{transport: c.newTransport(server)}
		c.peers[server] = p
	}
	p.used = now
	return p.transport
}

// makeRoomLocked closes what has been idle for long, or else what has been
// idle for longest.
func (c *Client) makeRoomLocked(now time.Time) {
	if len(c.peers) < c.o.MaxPeers {
		return
	}
	oldest := ""
	for server, p := range c.peers {
		if now.Sub(p.used) > idleTimeout {
			p.transport.CloseIdleConnections()
			delete(c.peers, server)
		} else if oldest == "" || p.used.Before(c.peers[oldest].used) {
			oldest = server
		}
	}
	if len(c.peers) >= c.o.MaxPeers {
		c.peers[oldest].transport.CloseIdleConnections()
		delete(c.peers, oldest)
	}
}

func (c *Client) newTransport(server string) *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, server) },
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("client: federation is never without TLS")
		},
		MaxConnsPerHost:        c.o.MaxConns,
		MaxIdleConnsPerHost:    c.o.MaxConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// Compression is asked for where it pays, in open.
		DisableCompression: true,
	}
}

// dial connects to server at the first of its addresses that proves to be it.
func (c *Client) dial(ctx context.Context, server string) (net.Conn, error) {
	target, err := c.o.Resolver.Resolve(ctx, server)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, addr := range target.Addrs {
		conn, err := c.dialTLS(ctx, server, addr, target.TLSName)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, fmt.Errorf("connect to %s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	// It may have moved: look again before the next attempt.
	c.o.Resolver.Forget(server)
	return nil, errors.Join(failures...)
}

// dialTLS connects to one address and checks that its certificate is valid
// for name. There is no session resumption: a pin that changed must be looked
// at by the next handshake.
//
// Spec: server-server-api/#tls
func (c *Client) dialTLS(ctx context.Context, server, addr, name string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	roots := c.o.RootsFor(server)
	if roots == nil {
		roots = c.o.Roots
	}
	plain, err := c.o.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, &tls.Config{
		ServerName: strings.TrimSuffix(name, "."), RootCAs: roots, MinVersion: tls.VersionTLS12,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}
