package resolve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of .well-known. Spec: server-server-api/#resolving-server-names
const (
	wellKnownDefault   = 24 * time.Hour  // when the answer does not say
	wellKnownMax       = 48 * time.Hour  // whatever the answer says
	wellKnownMin       = 5 * time.Minute // likewise: it is asked for on the way to a request
	wellKnownFirstFail = time.Minute     // doubled with each failure
	wellKnownMaxFail   = time.Hour
	wellKnownTimeout   = 15 * time.Second
	wellKnownBody      = 64 << 10
	wellKnownRedirects = 5
)

// NewTransport makes a transport to fetch .well-known files with. Peers choose
// what it connects to: dial wants to be a guarded dialer's. Roots are the
// certificate authorities that web servers must go back to; nil for the
// system's.
func NewTransport(dial func(ctx context.Context, network, addr string) (net.Conn, error), roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    wellKnownTimeout,
		MaxResponseHeaderBytes: wellKnownBody,
		// A host is asked once a day or so.
		DisableKeepAlives: true,
		// The file is too short to be worth packing.
		DisableCompression: true,
	}
}

// wellKnownRecord is what a host's .well-known file last said.
type wellKnownRecord struct {
	delegate string // empty: none
	expires  time.Time
	fetched  time.Time // when delegate was read
	failures int       // in a row
}

// errNoDelegate is an answer that says there is no delegation, as opposed to
// a host that does not answer.
var errNoDelegate = errors.New("no usable .well-known")

// lookupWellKnown is the delegate that host names, empty when it names none,
// and how long that may be relied on. An error is a refusal of AllowHost or
// the end of ctx, never an answer of the host's.
func (r *Resolver) lookupWellKnown(ctx context.Context, server, host string) (delegate string, ttl time.Duration, err error) {
	r.mu.Lock()
	rec, known := r.wellKnown[host]
	r.mu.Unlock()
	now := r.now()
	if known && now.Before(rec.expires) {
		return rec.delegate, rec.expires.Sub(now), nil
	}
	delegate, life, err := r.fetchWellKnown(ctx, server, host)
	var refused *refusedError
	if errors.As(err, &refused) {
		return "", 0, refused.error
	}
	now = r.now()
	switch {
	case err == nil:
		rec = wellKnownRecord{delegate: delegate, expires: now.Add(life), fetched: now}
	case errors.Is(err, errNoDelegate) || now.Sub(rec.fetched) >= wellKnownMax:
		rec = wellKnownRecord{failures: rec.failures + 1}
		rec.expires = now.Add(failureTTL(rec.failures))
	default:
		// The host does not answer just now. Falling back would send requests
		// to another place than yesterday's, so a delegation that is not older
		// than the cache may ever be still holds.
		rec.failures++
		rec.expires = now.Add(failureTTL(rec.failures))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	makeRoom(r.wellKnown, r.max, func(w wellKnownRecord) bool { return now.After(w.expires) })
	r.wellKnown[host] = rec
	return rec.delegate, rec.expires.Sub(now), nil
}

func failureTTL(failures int) time.Duration {
	ttl := wellKnownFirstFail
	for ; failures > 1 && ttl < wellKnownMaxFail; failures-- {
		ttl *= 2
	}
	return min(ttl, wellKnownMaxFail)
}

// refusedError is AllowHost's answer, which ends a discovery.
type refusedError struct{ error }

// fetchWellKnown asks host, following redirects to https only.
//
// Spec: server-server-api/#getwell-knownmatrixserver
func (r *Resolver) fetchWellKnown(ctx context.Context, server, host string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wellKnownTimeout)
	defer cancel()
	at := &url.URL{Scheme: "https", Host: host, Path: "/.well-known/matrix/server"}
	for range wellKnownRedirects + 1 {
		if err := r.allowHost(server, at.Hostname()); err != nil {
			return "", 0, &refusedError{err}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return "", 0, fmt.Errorf("%w: %w", errNoDelegate, err)
		}
		resp, err := r.http.RoundTrip(req)
		if err != nil {
			return "", 0, err
		}
		next, delegate, life, err := r.readWellKnown(at, resp)
		resp.Body.Close()
		if err != nil || next == nil {
			return delegate, life, err
		}
		at = next
	}
	return "", 0, fmt.Errorf("%w: too many redirects", errNoDelegate)
}

// readWellKnown reads one answer: a redirect, a delegation, or an error.
func (r *Resolver) readWellKnown(at *url.URL, resp *http.Response) (next *url.URL, delegate string, life time.Duration, err error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		next, err := at.Parse(resp.Header.Get("Location"))
		if err != nil || next.Scheme != "https" || next.Host == "" || next.User != nil {
			return nil, "", 0, fmt.Errorf("%w: redirected to %q", errNoDelegate, resp.Header.Get("Location"))
		}
		return next, "", 0, nil
	case http.StatusOK:
	default:
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			return nil, "", 0, fmt.Errorf(".well-known of %s: status %d", at.Host, resp.StatusCode)
		}
		return nil, "", 0, fmt.Errorf("%w: status %d", errNoDelegate, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, wellKnownBody+1))
	if err != nil {
		return nil, "", 0, err
	}
	if len(body) > wellKnownBody {
		return nil, "", 0, fmt.Errorf("%w: too long", errNoDelegate)
	}
	if delegate, err = parseWellKnown(body); err != nil {
		return nil, "", 0, err
	}
	return nil, delegate, lifetime(resp.Header, r.now()), nil
}

// parseWellKnown reads the file itself. Its content type is not looked at.
func parseWellKnown(body []byte) (delegate string, err error) {
	var file struct {
		Server string `json:"m.server"`
	}
	if err := json.Unmarshal(body, &file); err != nil {
		return "", fmt.Errorf("%w: %w", errNoDelegate, err)
	}
	if _, err := parseName(file.Server); err != nil {
		return "", fmt.Errorf("%w: %w", errNoDelegate, err)
	}
	return file.Server, nil
}

// lifetime is how long an answer may be kept: what its cache headers say, or
// a day, and never more than two.
func lifetime(h http.Header, now time.Time) time.Duration {
	life, said := time.Duration(0), false
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.ToLower(directive)), "=")
		switch key {
		case "no-store", "no-cache":
			return wellKnownMin
		case "max-age":
			if secs, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32); err == nil {
				life, said = time.Duration(secs)*time.Second, true
			}
		}
	}
	if !said && h.Get("Expires") != "" {
		// An invalid date is in the past: RFC 9111, section 5.3.
		at, _ := http.ParseTime(h.Get("Expires"))
		life, said = at.Sub(now), true
	}
	if !said {
		life = wellKnownDefault
	}
	return min(max(life, wellKnownMin), wellKnownMax)
}
