package clientapi_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/clientapi"
	"entente/clientapi/render"
	"entente/clientapi/syncapi"
	"entente/internal/spectest"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"
)

// world is a server of the account side of the API, on a database of its own.
// Every answer is held to the specification where its files are at hand.
type world struct {
	*testing.T
	db       *storage.DB
	accounts *accounts.Accounts
	rooms    *roomserver.Server
	sync     *syncapi.Server
	url      string
	from     string // the address that calls seem to come from; empty: this one

	mu       sync.Mutex
	offset   time.Duration // how far ahead of the real clock it is; guarded by mu
	audit    []string      // kinds of the audit records made; guarded by mu
	profiles []id.UserID   // whose profile changed; guarded by mu
	gone     []id.UserID   // who was deactivated; guarded by mu
	options  func(*accounts.Options)
	limits   web.Limits
	// directory says who may list rooms, and who sees them
	directory clientapi.Directory
	sends     int                 // transaction IDs used; guarded by mu
	records   []map[string]string // fields of the audit records; guarded by mu
}

const password = "correct horse battery"

// each runs fn on every kind of database, with open registration.
func each(t *testing.T, fn func(w *world)) {
	t.Helper()
	eachWith(t, nil, nil, fn)
}

func eachWith(t *testing.T, options func(*accounts.Options), limits web.Limits, fn func(w *world)) {
	t.Helper()
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		t.Parallel()
		w := &world{T: t, db: storagetest.Open(t, o), options: options, limits: limits, directory: clientapi.Directory{Anonymous: true}}
		w.start()
		fn(w)
	})
}

// specification is read once for all tests.
var specification = sync.OnceValues(func() (*spectest.Spec, error) { return spectest.Open(os.Getenv(spectest.EnvDir)) })

func (w *world) start() {
	w.Helper()
	o := accounts.Options{
		DB: w.db, ServerName: "test", Now: w.now,
		Passwords:    accounts.PasswordOptions{Memory: 64 << 10, Passes: 1, MinLength: 8},
		Registration: accounts.RegistrationOptions{Open: true},
		Sessions:     accounts.SessionOptions{Refresh: true, AccessLifetime: time.Hour, RefreshLifetime: 24 * time.Hour},
		Audit:        w.record,
		OnProfile:    w.onProfile, OnDeactivate: w.onDeactivate,
	}
	if w.options != nil {
		w.options(&o)
	}
	w.accounts = accounts.New(o)
	transactions := render.NewTransactions(w.db)
	w.rooms = roomserver.New(roomserver.Options{DB: w.db, ServerName: "test", Sign: w.signer(), Log: storagetest.Logger(w.T), Now: w.now})
	w.sync = syncapi.New(syncapi.Options{
		DB: w.db, Rooms: w.rooms, Accounts: w.accounts, Transactions: transactions, Presence: true, Log: storagetest.Logger(w.T), Now: w.now,
	})
	api := clientapi.New(clientapi.Options{
		Accounts: w.accounts, Rooms: w.rooms, Sync: w.sync, Transactions: transactions, Epoch: w.db.Epoch(), Secret: w.db.Secret(),
		BaseURL: "https://test.example", Now: w.now, Directory: w.directory,
	})
	router, err := web.New(web.Options{
		Proxies: web.Proxies{netip.MustParsePrefix("127.0.0.0/8")},
		Users:   clientapi.Users{Accounts: w.accounts}, Limiter: web.NewLimiter(w.limits, 0, time.Unix(0, 0)), Now: w.now,
	}, api.Routes()...)
	if err != nil {
		w.Fatal(err)
	}
	var handler http.Handler = router
	if os.Getenv(spectest.EnvDir) != "" {
		spec, err := specification()
		if err != nil {
			w.Fatal(err)
		}
		handler = spec.Handler(w.T, router)
	}
	server := httptest.NewServer(handler)
	w.Cleanup(server.Close)
	w.url = server.URL
}

// signer makes the server's signing key.
func (w *world) signer() func() event.Signer {
	w.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		w.Fatal(err)
	}
	signer := event.Signer{Server: "test", KeyID: "ed25519:1", Key: key}
	return func() event.Signer { return signer }
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

func (w *world) record(kind string, fields map[string]string) storage.AuditRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.audit = append(w.audit, kind)
	w.records = append(w.records, fields)
	body, _ := json.Marshal(fields) // a map of strings always encodes
	return storage.AuditRecord{At: 1, Body: body}
}

func (w *world) onProfile(_ context.Context, user id.UserID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profiles = append(w.profiles, user)
}

func (w *world) onDeactivate(_ context.Context, user id.UserID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = append(w.gone, user)
}

// audited reports whether the last audit record is of a kind.
func (w *world) audited(kind string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.audit) == 0 || w.audit[len(w.audit)-1] != kind {
		w.Errorf("the audit records are %v, want %s at the end", w.audit, kind)
	}
}

// object is a JSON object.
type object = map[string]any

// answer is what a call answered.
type answer struct {
	*world
	status int
	body   object
	list   []object // the answer, where it is a list of objects
	raw    string
}

// call makes a request; body is a string as it is, or anything as JSON.
func (w *world) call(method, path, token string, body any) answer {
	w.Helper()
	var text []byte
	switch body := body.(type) {
	case nil:
	case string:
		text = []byte(body)
	default:
		var err error
		if text, err = json.Marshal(body); err != nil {
			w.Fatal(err)
		}
	}
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/_matrix") {
		path = "/_matrix/client/v3" + path
	}
	r, err := http.NewRequest(method, w.url+path, bytes.NewReader(text))
	if err != nil {
		w.Fatal(err)
	}
	if w.from != "" {
		r.Header.Set("X-Forwarded-For", w.from)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	a := answer{world: w, status: resp.StatusCode, raw: string(got)}
	into := any(&a.body)
	if strings.HasPrefix(a.raw, "[") {
		into = &a.list
	}
	if err := json.Unmarshal(got, into); err != nil {
		w.Errorf("%s %s answered no JSON object or list: %q", method, path, got)
	}
	return a
}

// ok wants status 200.
func (a answer) ok() answer {
	a.Helper()
	if a.status != http.StatusOK {
		a.Fatalf("answered %d %s", a.status, a.raw)
	}
	return a
}

// refused wants an error of this status and errcode.
func (a answer) refused(status int, errcode string) answer {
	a.Helper()
	if a.status != status || a.str("errcode") != errcode {
		a.Errorf("answered %d %s, want %d %s", a.status, a.raw, status, errcode)
	}
	return a
}

// str is a string of the answer, or empty.
func (a answer) str(key string) string {
	s, _ := a.body[key].(string)
	return s
}

// register makes an account and logs a device in.
func (w *world) register(name string) (user id.UserID, token string) {
	w.Helper()
	a := w.call("POST", "/register", "", object{
		"username": name, "password": password, "device_id": "FIRST", "auth": object{"type": "m.login.dummy"},
	}).ok()
	return id.UserID(a.str("user_id")), a.str("access_token")
}

func (w *world) login(name, password string, more object) answer {
	w.Helper()
	body := object{"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": name}, "password": password}
	for key, value := range more {
		body[key] = value
	}
	return w.call("POST", "/login", "", body)
}

// whoami tells whether a token is good.
func (w *world) whoami(token string) answer {
	w.Helper()
	return w.call("GET", "/account/whoami", token, nil)
}
