package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
)

// Call is one request as its handler sees it: parsed, authenticated and
// bounded. It belongs to the handler until the handler returns.
type Call struct {
	w http.ResponseWriter
	r *http.Request
	e *endpoint

	values   [maxParams]string // path parameters, unescaped
	query    url.Values        // nil until asked for
	body     []byte
	bodyRead bool
	maxBody  int64
	user     Principal
	origin   string
	remote   netip.Addr
	sequence uint64
	router   *Router

	start   time.Time
	status  int
	errcode string
	sent    int64
	err     error
}

// User is the caller; empty when a route with AuthOptional was called by
// nobody.
func (c *Call) User() id.UserID { return c.user.User }

// Device is the caller's device.
func (c *Call) Device() id.DeviceID { return c.user.Device }

// Principal is all that is known of the caller.
func (c *Call) Principal() *Principal { return &c.user }

// Origin is the server name of the peer that signed the request, on routes
// with AuthServer.
func (c *Call) Origin() string { return c.origin }

// Remote is the address that the request came from, as the trusted proxies
// report it.
func (c *Call) Remote() netip.Addr { return c.remote }

// UserAgent names the client, in its own words.
func (c *Call) UserAgent() string { return c.r.UserAgent() }

// Header is the first value of a request header.
func (c *Call) Header(name string) string { return c.r.Header.Get(name) }

// Endpoint is the method and the path as it was sent: two requests with the
// same transaction ID are the same only on the same endpoint.
//
// Spec: client-server-api/#transaction-identifiers
func (c *Call) Endpoint() string { return c.r.Method + " " + c.r.URL.EscapedPath() }

// Request is the request itself, for what Call has no accessor for. Its body
// has been read unless the route says StreamBody.
func (c *Call) Request() *http.Request { return c.r }

// RequestID is what the log record of this request carries.
func (c *Call) RequestID() string { return c.router.requestID(c.sequence) }

// Path is a path parameter, unescaped. A name that the route's pattern does
// not have is a mistake in the program.
func (c *Call) Path(name string) string {
	for i, param := range c.e.params {
		if param == name {
			return c.values[i]
		}
	}
	panic("web: " + c.e.Path + " has no parameter " + name)
}

// OwnPath refuses the call unless the path parameter is the caller's own user
// ID.
func (c *Call) OwnPath(name string) error {
	if c.Path(name) != string(c.user.User) || c.user.User == "" {
		return fault.New(fault.Forbidden, "This is for the user themselves only")
	}
	return nil
}

// Reader is the unread body of a route with StreamBody, bounded by the
// route's MaxBody: reading past it fails with fault.TooLarge. A sender must
// keep sending: each read waits for a bounded time.
func (c *Call) Reader() io.Reader {
	return &boundedReader{
		src: http.MaxBytesReader(c.w, c.r.Body, c.maxBody),
		ctl: http.NewResponseController(c.w),
	}
}

// boundedReader bounds a body in size, and each read of it in time.
type boundedReader struct {
	src io.Reader
	ctl *http.ResponseController
}

// Read reads from the body.
func (b *boundedReader) Read(p []byte) (int, error) {
	// Not every ResponseWriter has deadlines; without one there is no socket
	// to wait for either.
	_ = b.ctl.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := b.src.Read(p)
	if err != nil {
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return n, errTooLarge(tooLarge.Limit)
	}
	return n, err
}

// authenticate finds out who calls and refuses those who may not.
func (c *Call) authenticate(ctx context.Context) error {
	switch c.e.Auth {
	case AuthNone:
		return nil
	case AuthServer:
		origin, err := c.router.opts.Peers(c.r, c.body)
		c.origin = origin
		return err
	}
	cred := c.credentials()
	if cred.Token == "" {
		if c.e.Auth == AuthOptional {
			return nil
		}
		return fault.New(fault.MissingToken, "Missing access token")
	}
	user, err := c.router.opts.Users.Authenticate(ctx, cred)
	if err != nil {
		return err
	}
	c.user = user
	switch {
	case c.e.Auth == AuthUser && user.Guest:
		return fault.New(fault.Forbidden, "Guests may not do this")
	case c.e.Auth == AuthAdmin && !user.Admin:
		return fault.New(fault.Forbidden, "This is for administrators of this server only")
	}
	return nil
}

// credentials are what the request presents.
//
// Spec: client-server-api/#using-access-tokens
func (c *Call) credentials() Credentials {
	cred := Credentials{Token: bearer(c.r.Header.Get("Authorization")), Remote: c.remote, UserAgent: c.r.UserAgent()}
	if c.r.URL.RawQuery == "" {
		return cred
	}
	query := c.Query()
	if cred.Token == "" && c.router.opts.QueryToken {
		cred.Token = query.Get("access_token")
	}
	cred.AssertUser = id.UserID(query.Get("user_id"))
	cred.AssertDevice = id.DeviceID(query.Get("device_id"))
	return cred
}

// bearer is the token in an Authorization header of that scheme.
func bearer(header string) string {
	const scheme = "bearer "
	if len(header) <= len(scheme) {
		return ""
	}
	for i := range len(scheme) {
		b := header[i]
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != scheme[i] {
			return ""
		}
	}
	return header[len(scheme):]
}

// subject is whom a rate limit counts: the user, the peer, else the address.
// An IPv6 address counts with its /64, which one caller has to itself.
func (c *Call) subject() string {
	switch {
	case c.user.User != "":
		return string(c.user.User)
	case c.origin != "":
		return c.origin
	}
	if c.remote.Is6() && !c.remote.Is4In6() {
		if prefix, err := c.remote.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return c.remote.String()
}

// charge counts the call against its route's limit.
func (c *Call) charge() error {
	limiter := c.router.opts.Limiter
	if limiter == nil || c.user.Unlimited || !limiter.limits(c.e.Rate) {
		return nil
	}
	return c.Charge(c.e.Rate, c.subject())
}

// Charge counts the call against a limit once more, for another subject than
// the caller: the account that someone tries to log in to, say.
func (c *Call) Charge(class Class, subject string) error {
	wait := c.router.opts.Limiter.Take(class, subject, c.start)
	if wait == 0 {
		return nil
	}
	c.router.opts.Metrics.limited.WithLabelValues(class.String()).Inc()
	err := fault.New(fault.Limited, "Too many requests")
	err.RetryAfter = wait
	return err
}
