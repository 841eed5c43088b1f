package adminapi_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"entente/accounts"
	"entente/adminapi"
	"entente/internal/web"
	"entente/storage"
	"entente/storage/storagetest"
)

const (
	secret = "a shared secret"
	path   = "/_synapse/admin/v1/register"
)

type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type fixture struct {
	*testing.T
	router   *web.Router
	accounts *accounts.Accounts
	clock    *clock
}

func start(t *testing.T, o storage.Options, secret string) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: &clock{at: time.Now()}}
	f.accounts = accounts.New(accounts.Options{
		DB: storagetest.Open(t, o), ServerName: "test", Now: f.clock.now, Passwords: accounts.PasswordOptions{Memory: 64 << 10, Passes: 1},
	})
	api := adminapi.New(adminapi.Options{Accounts: f.accounts, SharedSecret: secret, Now: f.clock.now})
	var err error
	if f.router, err = web.New(web.Options{}, api.Routes()...); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) call(method string, body any) (status int, answer map[string]any) {
	f.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		f.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(text)))
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		f.Fatalf("answered %q", w.Body)
	}
	return w.Code, answer
}

func (f *fixture) nonce() string {
	f.Helper()
	_, answer := f.call("GET", nil)
	nonce, _ := answer["nonce"].(string)
	if nonce == "" {
		f.Fatalf("answered %v", answer)
	}
	return nonce
}

func mac(key string, parts ...string) string {
	h := hmac.New(sha1.New, []byte(key))
	for i, part := range parts {
		if i > 0 {
			h.Write([]byte{0})
		}
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestRegisterWithTheSharedSecret(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		f := start(t, o, secret)
		nonce := f.nonce()
		body := map[string]any{
			"nonce": nonce, "username": "root", "password": "pw", "admin": true, "displayname": "Root", "mac": mac(secret, nonce, "root", "pw", "admin"),
		}
		status, answer := f.call("POST", body)
		if status != http.StatusOK || answer["user_id"] != "@root:test" || answer["home_server"] != "test" || answer["device_id"] == "" {
			t.Fatalf("answered %d %v", status, answer)
		}
		s, err := f.accounts.Authenticate(t.Context(), answer["access_token"].(string), accounts.Caller{})
		if err != nil || !s.Admin || s.User != "@root:test" {
			t.Errorf("the session is %+v, error %v", s, err)
		}
		if p, err := f.accounts.Profile(t.Context(), "@root:test"); err != nil || string(p["displayname"]) != `"Root"` {
			t.Errorf("the profile is %v, error %v", p, err)
		}
		if status, _ := f.call("POST", body); status != http.StatusBadRequest {
			t.Errorf("a nonce that was used answered %d", status)
		}
	})
}

func TestRegisterRefusals(t *testing.T) {
	f := start(t, storagetest.SQLite(t), secret)
	expired := f.nonce()
	f.clock.pass(2 * time.Minute)
	n := f.nonce
	for name, test := range map[string]struct {
		nonce, user, password, mac string
		admin                      bool
		want                       int
	}{
		"an expired nonce":     {expired, "a", "b", mac(secret, expired, "a", "b", "notadmin"), false, 400},
		"a made up nonce":      {"x", "a", "b", mac(secret, "x", "a", "b", "notadmin"), false, 400},
		"no MAC":               {n(), "a", "b", "", false, 400},
		"a MAC that is no hex": {n(), "a", "b", "zz", false, 403},
		"a zero byte":          {n(), "a", "b\x00notadmin", "00", false, 403},
	} {
		status, answer := f.call("POST", map[string]any{
			"nonce": test.nonce, "username": test.user, "password": test.password, "mac": test.mac, "admin": test.admin,
		})
		if status != test.want {
			t.Errorf("%s: answered %d %v, want %d", name, status, answer, test.want)
		}
	}
	nonce := n()
	if status, _ := f.call("POST", map[string]any{
		"nonce": nonce, "username": "a", "password": "b", "admin": true, "mac": mac(secret, nonce, "a", "b", "notadmin"),
	}); status != http.StatusForbidden {
		t.Errorf("a MAC for another kind of user answered %d", status)
	}
	nonce = n()
	if status, _ := f.call("POST", map[string]any{
		"nonce": nonce, "username": "a", "password": "b", "mac": mac("another secret", nonce, "a", "b", "notadmin"),
	}); status != http.StatusForbidden {
		t.Errorf("a MAC with another secret answered %d", status)
	}
}

// Nonces that nobody uses do not grow without bound.
func TestNoncesAreBounded(t *testing.T) {
	f := start(t, storagetest.SQLite(t), secret)
	for range 3000 {
		f.nonce()
	}
	nonce := f.nonce()
	status, answer := f.call("POST", map[string]any{
		"nonce": nonce, "username": "a", "password": "b", "user_type": "bot", "inhibit_login": true, "mac": mac(secret, nonce, "a", "b", "notadmin", "bot"),
	})
	if status != http.StatusOK || answer["access_token"] != nil {
		t.Errorf("the latest nonce answered %d %v", status, answer)
	}
}

// Without a secret there is no such route.
func TestNoSecretNoRoute(t *testing.T) {
	f := start(t, storagetest.SQLite(t), "")
	if status, _ := f.call("GET", nil); status != http.StatusNotFound {
		t.Errorf("answered %d", status)
	}
}
