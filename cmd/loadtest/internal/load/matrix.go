package load

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" // the shared-secret registration of the field's servers is defined with it
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

// Target says how to reach one homeserver and what to measure about it.
type Target struct {
	// Base is the URL of its Client-Server API: http://127.0.0.1:8008.
	Base string
	// Secret is the registration shared secret. Without one, users register
	// openly with m.login.dummy.
	Secret string
	// CA is a file with the root that signed the server's certificate.
	CA string
	// AllowRemote permits a server that is not on this machine.
	AllowRemote bool
	// PIDs are the server's processes; their CPU time and memory add up.
	PIDs []int
	// DataDir is measured for growth and gives the fsync baseline.
	DataDir string
	// Metrics is the URL of the server's metrics in Prometheus' text format,
	// and Counters are those whose increase the result shows.
	Metrics  string
	Counters []string
}

// Server is a homeserver under load.
type Server struct {
	target Target
	base   string
	http   *http.Client
}

// errRemote refuses a load on a machine that is not this one.
var errRemote = errors.New("the target is not on this machine: load on others needs --allow-remote")

// Connect prepares to talk to a homeserver; it sends nothing yet.
func Connect(t Target) (*Server, error) {
	u, err := url.Parse(t.Base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no base URL of a homeserver, such as http://127.0.0.1:8008", t.Base)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !t.AllowRemote {
		dialer.Control = loopbackOnly
	}
	transport := &http.Transport{
		DialContext:         dialer.DialContext,
		DisableCompression:  true,
		MaxIdleConns:        4096,
		MaxIdleConnsPerHost: 4096,
		IdleConnTimeout:     2 * time.Minute,
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", t.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &Server{target: t, base: strings.TrimSuffix(t.Base, "/"), http: &http.Client{Transport: transport}}, nil
}

// loopbackOnly refuses a connection by the address that is really dialled.
func loopbackOnly(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errRemote
	}
	return nil
}

// Close drops the idle connections.
func (s *Server) Close() { s.http.CloseIdleConnections() }

// Refusal is an answer of the server that is not a success.
type Refusal struct {
	Method, Path string
	Status       int
	Errcode      string
	Text         string
	RetryAfter   time.Duration
}

func (r *Refusal) Error() string {
	hint := ""
	if r.Status == http.StatusTooManyRequests {
		hint = " (switch the server's rate limits off for a measurement)"
	}
	return fmt.Sprintf("%s %s: %d %s %s%s", r.Method, r.Path, r.Status, r.Errcode, r.Text, hint)
}

// call sends one request and reads the whole answer into buf, which is reset
// first. A status of 400 or more is a *Refusal.
func (s *Server) call(ctx context.Context, method, path, token string, body []byte, buf *bytes.Buffer) error {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buf.Reset()
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, 512<<20)); err != nil {
		return err
	}
	if resp.StatusCode < 400 {
		return nil
	}
	r := &Refusal{Method: method, Path: path, Status: resp.StatusCode}
	r.Errcode, r.Text = gjson.GetBytes(buf.Bytes(), "errcode").String(), gjson.GetBytes(buf.Bytes(), "error").String()
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		r.RetryAfter = time.Duration(n) * time.Second
	} else if ms := gjson.GetBytes(buf.Bytes(), "retry_after_ms").Int(); ms > 0 {
		r.RetryAfter = time.Duration(ms) * time.Millisecond
	}
	return r
}

// patient is call for the preparation of a run: it waits out rate limits.
func (s *Server) patient(ctx context.Context, method, path, token string, body []byte, buf *bytes.Buffer) error {
	for {
		err := s.call(ctx, method, path, token, body, buf)
		var r *Refusal
		if !errors.As(err, &r) || r.Status != http.StatusTooManyRequests {
			return err
		}
		if err := wait(ctx, max(r.RetryAfter, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// wait pauses for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Client is one logged-in user. Its methods may be used concurrently.
type Client struct {
	server *Server
	User   id.UserID
	token  string
	txn    atomic.Int64
}

// Register makes a user and logs it in, by the shared secret if there is one.
func (s *Server) Register(ctx context.Context, localpart string) (*Client, error) {
	var buf bytes.Buffer
	var err error
	if s.target.Secret != "" {
		err = s.registerBySecret(ctx, localpart, &buf)
	} else {
		err = s.registerOpenly(ctx, localpart, &buf)
	}
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", localpart, err)
	}
	c := &Client{server: s, User: id.UserID(gjson.GetBytes(buf.Bytes(), "user_id").String()), token: gjson.GetBytes(buf.Bytes(), "access_token").String()}
	if c.User == "" || c.token == "" {
		return nil, fmt.Errorf("register %s: the answer has no user_id or no access_token", localpart)
	}
	return c, nil
}

const password = "loadtest-Pa55word"

// registerBySecret uses the admin route that the field's tools use: a nonce,
// and an HMAC-SHA1 of nonce, user, password and role.
func (s *Server) registerBySecret(ctx context.Context, localpart string, buf *bytes.Buffer) error {
	const path = "/_synapse/admin/v1/register"
	if err := s.patient(ctx, http.MethodGet, path, "", nil, buf); err != nil {
		return err
	}
	nonce := gjson.GetBytes(buf.Bytes(), "nonce").String()
	mac := hmac.New(sha1.New, []byte(s.target.Secret))
	mac.Write([]byte(strings.Join([]string{nonce, localpart, password, "notadmin"}, "\x00")))
	body, err := json.Marshal(map[string]any{
		"nonce": nonce, "username": localpart, "password": password, "admin": false,
		"mac": hex.EncodeToString(mac.Sum(nil)),
	})
	if err != nil {
		return err
	}
	return s.patient(ctx, http.MethodPost, path, "", body, buf)
}

// registerOpenly goes through the dummy stage of user-interactive
// authentication; some servers want its session named.
//
// Spec: client-server-api/#dummy-auth
func (s *Server) registerOpenly(ctx context.Context, localpart string, buf *bytes.Buffer) error {
	session := ""
	for range 2 {
		auth := map[string]any{"type": "m.login.dummy"}
		if session != "" {
			auth["session"] = session
		}
		body, err := json.Marshal(map[string]any{"username": localpart, "password": password, "auth": auth})
		if err != nil {
			return err
		}
		err = s.patient(ctx, http.MethodPost, "/_matrix/client/v3/register", "", body, buf)
		var r *Refusal
		if !errors.As(err, &r) || r.Status != http.StatusUnauthorized || session != "" {
			return err
		}
		if session = gjson.GetBytes(buf.Bytes(), "session").String(); session == "" {
			return err
		}
	}
	return errors.New("the dummy stage of registration did not complete")
}
