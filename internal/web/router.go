package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"entente/internal/fault"
)

// Options are what a Router needs beside its routes. Zero values are usable.
type Options struct {
	// Logger gets one record for each request.
	Logger *slog.Logger
	// Metrics may be shared by several routers.
	Metrics *Metrics
	// Limiter may be shared by several routers; nil limits nobody.
	Limiter *Limiter
	// Users is wanted if any route authenticates users.
	Users Authenticator
	// Peers is wanted if any route authenticates servers.
	Peers PeerAuthenticator
	// Proxies are the reverse proxies in front of the listener.
	Proxies Proxies
	// QueryToken takes access tokens from the query string too, where logs of
	// proxies will show them. Spec: client-server-api/#using-access-tokens
	QueryToken bool
	// MaxBody bounds request bodies; zero is 1 MiB.
	MaxBody int64
	// MaxDepth bounds the nesting of JSON in request bodies; zero is 100.
	MaxDepth int
	// Timeout bounds a call; zero is 90 seconds.
	Timeout time.Duration
	// Now is the clock; nil is the real one.
	Now func() time.Time
}

const (
	defaultMaxBody  = 1 << 20
	defaultMaxDepth = 100
	defaultTimeout  = 90 * time.Second
)

// Router serves a table of routes. It is complete once made and serves any
// number of requests at once.
type Router struct {
	opts      Options
	root      node
	unmatched *endpoint // stands in where no route matched
	scratches *sync.Pool
	boot      string // sets request IDs of two starts apart
	count     atomic.Uint64
}

// endpoint is a route in service.
type endpoint struct {
	Route
	params []string
	series series
}

// New makes a Router and reports every mistake in the table.
func New(opts Options, routes ...Route) (*Router, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = NewMetrics(nil)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = defaultMaxBody
	}
	if opts.MaxDepth == 0 {
		opts.MaxDepth = defaultMaxDepth
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	var boot [4]byte
	rand.Read(boot[:]) // never fails
	rt := &Router{
		opts:      opts,
		unmatched: &endpoint{Route: Route{Method: "any", Path: "unmatched"}},
		scratches: newScratches(),
		boot:      hex.EncodeToString(boot[:]) + "-",
	}
	var wrong []error
	for _, route := range routes {
		e := &endpoint{Route: route}
		if err := rt.check(route); err != nil {
			wrong = append(wrong, err)
		} else if err := rt.root.add(e); err != nil {
			wrong = append(wrong, err)
		}
	}
	return rt, errors.Join(wrong...)
}

// check reports what is missing in a route.
func (rt *Router) check(route Route) error {
	wrong := func(what string) error { return fmt.Errorf("route %s %s %s", route.Method, route.Path, what) }
	switch {
	case route.Method == "" || route.Method != strings.ToUpper(route.Method):
		return wrong("has no proper method")
	case route.Handle == nil:
		return wrong("has no handler")
	case route.Auth < AuthNone || route.Auth > AuthServer:
		return wrong("does not say who may call")
	case route.Auth == AuthServer && rt.opts.Peers == nil:
		return wrong("wants servers, but nothing authenticates them")
	case route.Auth != AuthNone && route.Auth != AuthServer && rt.opts.Users == nil:
		return wrong("wants users, but nothing authenticates them")
	case route.Rate >= classes:
		return wrong("has no such rate class")
	}
	return nil
}

// ServeHTTP serves one request.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{
		w: w, r: r, e: rt.unmatched, router: rt,
		start: rt.opts.Now(), sequence: rt.count.Add(1), remote: rt.opts.Proxies.client(r.RemoteAddr, r.Header),
	}
	rt.opts.Metrics.inFlight.Inc()
	defer rt.finish(c)
	if r.Method == http.MethodOptions {
		setCORS(w.Header(), true)
		c.writeStatus(http.StatusNoContent)
		return
	}
	answer, err := rt.serve(c)
	if err == nil {
		err = c.respond(answer)
	}
	if err != nil {
		c.refuse(err)
	}
}

// serve finds the route and calls its handler once the call may be made.
func (rt *Router) serve(c *Call) (any, error) {
	err := rt.find(c)
	if c.e.Auth != AuthServer {
		setCORS(c.w.Header(), false)
	}
	if err != nil {
		return nil, err
	}
	if c.e.Auth != AuthNone {
		c.w.Header()["Cache-Control"] = noStore
	}
	if encoding := c.r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		// Nobody needs them, and a small one can unfold into a large one.
		return nil, fault.New(fault.NotJSON, "Compressed request bodies are not accepted")
	}
	ctx := c.r.Context()
	if timeout := rt.timeout(c.e); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if err := c.admit(ctx); err != nil {
		return nil, err
	}
	return c.e.Handle(ctx, c)
}

// admit authenticates the call, charges it and reads its body. A server's
// signature covers the body, a user's body is read once we know the user.
func (c *Call) admit(ctx context.Context) error {
	if c.maxBody = c.e.MaxBody; c.maxBody == 0 {
		c.maxBody = c.router.opts.MaxBody
	}
	signed := c.e.Auth == AuthServer
	if signed {
		if err := c.readBody(); err != nil {
			return err
		}
	}
	if err := c.authenticate(ctx); err != nil {
		return err
	}
	if err := c.charge(); err != nil {
		return err
	}
	if signed || c.e.StreamBody {
		return nil
	}
	return c.readBody()
}

func (rt *Router) timeout(e *endpoint) time.Duration {
	if e.Timeout != 0 {
		return e.Timeout
	}
	return rt.opts.Timeout
}

// find matches the request to a route and unescapes the path's parameters.
//
// Spec: client-server-api/#common-error-codes
func (rt *Router) find(c *Call) error {
	// RawPath is only set where it differs from the plain escaping of Path;
	// without it Path holds no escaped slash and is unescaped already.
	path, escaped := c.r.URL.RawPath, true
	if path == "" {
		path, escaped = c.r.URL.Path, false
	}
	if path == "" || path[0] != '/' {
		return fault.New(fault.Unrecognized, "Unrecognized request")
	}
	place, values := rt.root.match(path[1:], c.values[:0])
	if place == nil {
		return fault.New(fault.Unrecognized, "Unrecognized request")
	}
	e := place.at(c.r.Method)
	if e == nil {
		c.w.Header().Set("Allow", place.allow())
		return fault.New(fault.MethodNotAllowed, "Unrecognized method for this endpoint")
	}
	c.e = e
	for i, value := range values {
		if escaped && strings.IndexByte(value, '%') >= 0 {
			plain, err := url.PathUnescape(value)
			if err != nil {
				return fault.New(fault.InvalidParam, "The path is not escaped properly")
			}
			c.values[i] = plain
		}
		if !utf8.ValidString(c.values[i]) {
			return fault.New(fault.InvalidParam, "The path is not UTF-8")
		}
	}
	return nil
}

// refuse answers with an error, unless its caller is gone or an answer has
// begun.
func (c *Call) refuse(err error) {
	c.err = err
	w := wireOf(err)
	c.errcode = w.errcode
	if c.status != 0 {
		return
	}
	if w.status == statusGone {
		c.status = statusGone
		return
	}
	setRetryAfter(c.w.Header(), err)
	if w.status >= http.StatusInternalServerError {
		// What a user can quote to an operator, who finds it in the log.
		c.w.Header().Set("X-Request-Id", c.RequestID())
	}
	if failed := c.write(w.status, "", bodyOf(err, w)); failed != nil {
		c.status = w.status
	}
}

// finish recovers from a panic, counts and logs the request.
func (rt *Router) finish(c *Call) {
	aborted := false
	if v := recover(); v != nil {
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			aborted = true
		} else {
			rt.opts.Metrics.panics.Inc()
			begun := c.status != 0
			c.refuse(fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
			aborted = begun
		}
	}
	c.boundRest()
	took := rt.opts.Now().Sub(c.start)
	m := rt.opts.Metrics
	m.inFlight.Dec()
	m.received.Add(float64(len(c.body)))
	m.sent.Add(float64(c.sent))
	m.observe(c.e, c.status, took)
	rt.record(c, took)
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

func (rt *Router) requestID(sequence uint64) string {
	return rt.boot + strconv.FormatUint(sequence, 36)
}
