package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entente/federation/keys"
	"entente/internal/fault"
	"entente/roomserver/event"
	"github.com/klauspost/compress/gzip"
)

const (
	federationV1 = "/_matrix/federation/v1"
	federationV2 = "/_matrix/federation/v2"
	keyV2        = "/_matrix/key/v2"
)

// call is one request to a peer.
type call struct {
	server string
	method string
	uri    string // path and query, escaped
	body   []byte // canonical JSON; nil for none
	// limit is how many bytes the answer may have, unpacked.
	limit int64
	// anonymous calls are not signed.
	anonymous bool
	// long calls answer with much, after long work.
	long bool
}

// path escapes segments behind a prefix.
func path(prefix string, segments ...string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// withQuery adds a query to a path.
func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// canonical is v as canonical JSON, for a request body.
func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return event.Canonical(raw)
}

// do calls and decodes the answer into out.
func (c *Client) do(ctx context.Context, q call, out any) error {
	return c.open(ctx, q, func(body io.Reader) error {
		raw, err := io.ReadAll(body)
		if err != nil {
			return unreachable(q.server, err)
		}
		if err := json.Unmarshal(raw, out); err != nil {
			return malformed(q.server, err)
		}
		return nil
	})
}

// open calls and hands the body of a good answer to read, which may read no
// more than the call's limit.
func (c *Client) open(ctx context.Context, q call, read func(body io.Reader) error) (err error) {
	start := c.o.Now()
	defer func() { c.metrics.count(q, c.o.Now().Sub(start), err) }()
	if err := c.o.Allow(q.server); err != nil {
		return fmt.Errorf("call %s: %w", q.server, err)
	}
	timeout := c.o.Timeout
	if q.long {
		timeout = c.o.LongTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(ctx, q)
	if err != nil {
		return err
	}
	// Not by an http.Client: peers' redirects are not followed.
	resp, err := c.transport(q.server).RoundTrip(req)
	if err != nil {
		return unreachable(q.server, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return readError(q.server, resp)
	}
	var body io.Reader = resp.Body
	if q.long {
		stalled := &stallReader{r: body, cancel: cancel, wait: c.o.Stall}
		defer stalled.stop()
		body = stalled
	}
	if body, err = decoded(resp.Header.Get("Content-Encoding"), body); err != nil {
		return malformed(q.server, err)
	}
	return read(&limitedReader{r: body, left: q.limit})
}

// request makes the HTTP request: addressed as discovery says, and signed.
//
// Spec: server-server-api/#request-authentication
func (c *Client) request(ctx context.Context, q call) (*http.Request, error) {
	target, err := c.o.Resolver.Resolve(ctx, q.server)
	switch fault.KindOf(err) {
	case fault.Forbidden, fault.InvalidParam:
		// Policy refuses a host on the way, or there is no such name.
		return nil, fmt.Errorf("call %s: %w", q.server, err)
	}
	if err != nil {
		return nil, unreachable(q.server, err)
	}
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, "https://"+target.Host+q.uri, body)
	if err != nil {
		return nil, unreachable(q.server, err)
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
		// Every call can be made twice. A nil value says so to the transport,
		// which may then repeat it on a new connection, and sends no header.
		req.Header["Idempotency-Key"] = nil
	}
	if q.long {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	if c.o.UserAgent != "" {
		req.Header.Set("User-Agent", c.o.UserAgent)
	}
	if !q.anonymous {
		auth := keys.SignRequest(c.o.Signer(), q.method, req.URL.RequestURI(), q.server, q.body)
		req.Header.Set("Authorization", auth)
	}
	return req, nil
}

// decoded undoes the content encoding. Only gzip was ever asked for.
func decoded(encoding string, body io.Reader) (io.Reader, error) {
	switch strings.ToLower(encoding) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		return gzip.NewReader(body)
	}
	return nil, fmt.Errorf("content encoding %q was not asked for", encoding)
}

// errTooLong is an answer beyond its call's limit.
var errTooLong = errors.New("the answer is too long")

// limitedReader fails beyond its limit, instead of pretending an end there.
type limitedReader struct {
	r    io.Reader
	left int64
}

// Read reads.
func (l *limitedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// stallReader cancels the call when one Read takes too long. The time that
// the caller takes between reads does not count.
type stallReader struct {
	r      io.Reader
	cancel context.CancelFunc
	wait   time.Duration
	timer  *time.Timer
}

// Read reads.
func (s *stallReader) Read(p []byte) (int, error) {
	if s.timer == nil {
		s.timer = time.AfterFunc(s.wait, s.cancel)
	} else {
		s.timer.Reset(s.wait)
	}
	n, err := s.r.Read(p)
	s.timer.Stop()
	return n, err
}

func (s *stallReader) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
