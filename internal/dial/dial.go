// Package dial makes outgoing connections on behalf of strangers: whatever a
// user or a peer can make the server fetch goes through a Dialer, which
// refuses addresses that are not on the public internet unless the operator
// allowed them. It judges the address that a socket is about to connect to,
// not the name it came from, so a name that resolves differently the second
// time gains nothing.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	defaultTimeout = 10 * time.Second
	keepAlive      = 30 * time.Second
)

// Options say what a Dialer may connect to. The zero value allows public
// addresses only.
type Options struct {
	// AllowPrivate allows every address, loopback included.
	AllowPrivate bool
	// Allow are ranges that are allowed although they are not public.
	Allow []netip.Prefix
	// Deny are ranges that are refused whatever else is allowed.
	Deny []netip.Prefix
	// Hint ends the error about a refused address: the name of the setting
	// that allows it.
	Hint string
	// Timeout bounds one connection attempt; ten seconds when zero.
	Timeout time.Duration
	// Resolver looks names up; the system's when nil.
	Resolver *net.Resolver
}

// Dialer connects to allowed addresses. It is safe for concurrent use.
type Dialer struct {
	allowPrivate bool
	allow, deny  []netip.Prefix
	hint         string
	net          net.Dialer
}

// New makes a Dialer.
func New(o Options) *Dialer {
	d := &Dialer{allowPrivate: o.AllowPrivate, allow: o.Allow, deny: o.Deny, hint: o.Hint}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	d.net = net.Dialer{Timeout: o.Timeout, KeepAlive: keepAlive, Resolver: o.Resolver, Control: d.control}
	return d
}

// DialContext connects to addr, trying every address that its host resolves
// to. It has the signature that http.Transport wants.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d.net.DialContext(ctx, network, addr)
}

// control runs for each socket between its creation and its connection, with
// the address it is about to connect to.
func (d *Dialer) control(network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp4", "tcp6", "udp4", "udp6":
	default:
		return &RefusedError{Reason: "network " + network}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial: address %q: %w", address, err)
	}
	return d.Check(ap.Addr())
}

// Check is nil when the Dialer may connect to addr, and a *RefusedError
// otherwise. An address that carries an IPv4 address inside (mapped, NAT64,
// 6to4) is judged as that address too.
func (d *Dialer) Check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	if p, ok := find(d.deny, addr); ok {
		return &RefusedError{Addr: addr, Reason: "denied range " + p.String()}
	}
	if d.allowPrivate {
		return nil
	}
	if _, ok := find(d.allow, addr); ok {
		return nil
	}
	if inner, ok := embedded(addr); ok {
		return d.Check(inner)
	}
	if reason := special(addr); reason != "" {
		return &RefusedError{Addr: addr, Reason: reason, Hint: d.hint}
	}
	return nil
}

// RefusedError says that an address may not be connected to.
type RefusedError struct {
	Addr   netip.Addr
	Reason string // what kind of address it is
	Hint   string // what the operator may set to allow it
}

// Error is the text for logs.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("connection to %s refused by policy: %s", e.Addr, e.Reason)
	if e.Hint != "" {
		s += "; to allow it, set " + e.Hint
	}
	return s
}

// IsRefused reports whether err is, or wraps, a *RefusedError.
func IsRefused(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused)
}

func find(prefixes []netip.Prefix, addr netip.Addr) (netip.Prefix, bool) {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
