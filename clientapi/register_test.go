package clientapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entente/accounts"
)

var dummy = object{"type": "m.login.dummy"}

// flows are the stages that an answer asks for.
func (a answer) flows() (out []string) {
	a.Helper()
	list, _ := a.body["flows"].([]any)
	for _, flow := range list {
		for _, stage := range flow.(object)["stages"].([]any) {
			out = append(out, stage.(string))
		}
	}
	return out
}

// asks wants a 401 that asks for stages, and answers its session.
func (a answer) asks(stages ...string) string {
	a.Helper()
	if a.status != http.StatusUnauthorized || !slices.Equal(a.flows(), stages) || a.str("session") == "" {
		a.Errorf("answered %d %s, want to be asked for %v", a.status, a.raw, stages)
	}
	return a.str("session")
}

// What was sent when the session began need not be sent again.
func TestRegister(t *testing.T) {
	each(t, func(w *world) {
		session := w.call("POST", "/register", "", object{
			"username": "Alice", "password": password, "device_id": "DEV", "initial_device_display_name": "phone", "refresh_token": true,
		}).asks("m.login.dummy")
		a := w.call("POST", "/register", "", object{"auth": object{"type": "m.login.dummy", "session": session}}).ok()
		if a.str("user_id") != "@alice:test" || a.str("device_id") != "DEV" || a.str("refresh_token") == "" {
			w.Errorf("answered %s", a.raw)
		}
		if d := w.call("GET", "/devices/DEV", a.str("access_token"), nil).ok(); d.str("display_name") != "phone" {
			w.Errorf("the device is %s", d.raw)
		}
		w.mu.Lock()
		audit := slices.Clone(w.audit)
		w.mu.Unlock()
		if !slices.Equal(audit, []string{accounts.AuditRegister, accounts.AuditLogin}) {
			w.Errorf("the audit records are %v", audit)
		}
		w.login("alice", password, nil).ok()
	})
}

func TestRegisterWithoutALogin(t *testing.T) {
	each(t, func(w *world) {
		a := w.call("POST", "/register", "", object{"username": "bob", "password": password, "inhibit_login": true, "auth": dummy}).ok()
		if a.body["access_token"] != nil || a.body["device_id"] != nil || a.str("user_id") != "@bob:test" {
			w.Errorf("answered %s", a.raw)
		}
		if a := w.call("POST", "/register", "", object{"password": password, "auth": dummy}).ok(); len(a.str("user_id")) < len("@:test")+8 {
			w.Errorf("the name made up is %s", a.str("user_id"))
		}
	})
}

func TestRegisterRefusals(t *testing.T) {
	each(t, func(w *world) {
		w.register("alice")
		for name, test := range map[string]struct {
			path    string
			body    object
			status  int
			errcode string
		}{
			"a taken name":            {"/register", object{"username": "ALICE", "password": password}, 400, "M_USER_IN_USE"},
			"a taken name, proved":    {"/register", object{"username": "alice", "password": password, "auth": dummy}, 400, "M_USER_IN_USE"},
			"a bad letter":            {"/register", object{"username": "a b", "password": password}, 400, "M_INVALID_USERNAME"},
			"a kept name":             {"/register", object{"username": "_bot", "password": password}, 400, "M_INVALID_USERNAME"},
			"a long name":             {"/register", object{"username": strings.Repeat("a", 250), "password": password}, 400, "M_INVALID_USERNAME"},
			"a name that is a number": {"/register", object{"username": 1, "password": password}, 400, "M_BAD_JSON"},
			"a short password":        {"/register", object{"username": "bob", "password": "short"}, 400, "M_WEAK_PASSWORD"},
			"a very long password":    {"/register", object{"username": "bob", "password": strings.Repeat("a", 600)}, 400, "M_INVALID_PARAM"},
			"no password":             {"/register", object{"username": "bob", "auth": dummy}, 400, "M_MISSING_PARAM"},
			"auth that is a text":     {"/register", object{"username": "bob", "auth": "x"}, 400, "M_BAD_JSON"},
			"a guest":                 {"/register?kind=guest", object{}, 403, "M_FORBIDDEN"},
			"an unknown kind":         {"/register?kind=ghost", object{}, 400, "M_INVALID_PARAM"},
		} {
			a := w.call("POST", test.path, "", test.body)
			if a.status != test.status || a.str("errcode") != test.errcode {
				w.Errorf("%s: answered %d %s, want %s", name, a.status, a.raw, test.errcode)
			}
		}
		w.call("GET", "/register/available?username=alice", "", nil).refused(400, "M_USER_IN_USE")
		w.call("GET", "/register/available?username=%C3%A4", "", nil).refused(400, "M_INVALID_USERNAME")
		w.call("GET", "/register/available", "", nil).refused(400, "M_MISSING_PARAM")
		w.call("GET", "/register/available?username=bob", "", nil).ok()
	})
}

// A closed server refuses, once it has an administrator.
func TestClosedRegistration(t *testing.T) {
	eachWith(t, func(o *accounts.Options) { o.Registration.Open = false }, nil, func(w *world) {
		if _, _, err := w.accounts.Create(w.Context(), accounts.NewUser{Localpart: "root", Password: password, Admin: true}); err != nil {
			w.Fatal(err)
		}
		w.call("POST", "/register", "", object{"username": "bob", "password": password}).refused(403, "M_FORBIDDEN")
		w.call("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x", "", nil).refused(403, "M_FORBIDDEN")
		if code, err := w.accounts.FirstAdministrator(w.Context()); err != nil || code != "" {
			w.Errorf("a server with an administrator makes the code %q, error %v", code, err)
		}
	})
}

func TestRegisterWithAToken(t *testing.T) {
	closed := func(o *accounts.Options) {
		o.Registration = accounts.RegistrationOptions{Tokens: []string{"open sesame"}}
	}
	eachWith(t, closed, nil, func(w *world) {
		validity := "/_matrix/client/v1/register/m.login.registration_token/validity?token="
		for token, want := range map[string]bool{"open+sesame": true, "sesame": false} {
			if got := w.call("GET", validity+token, "", nil).ok().body["valid"]; got != want {
				w.Errorf("%s is valid: %v", token, got)
			}
		}
		body := object{"username": "bob", "password": password}
		session := w.call("POST", "/register", "", body).asks("m.login.registration_token")
		body["auth"] = object{"type": "m.login.registration_token", "session": session, "token": "wrong"}
		a := w.call("POST", "/register", "", body)
		if again := a.asks("m.login.registration_token"); again != session || a.str("errcode") != "M_FORBIDDEN" {
			w.Errorf("a wrong token answered %s", a.raw)
		}
		body["auth"] = object{"type": "m.login.dummy", "session": session}
		w.call("POST", "/register", "", body).asks("m.login.registration_token")
		body["auth"] = object{"type": "m.login.registration_token", "session": session, "token": "open sesame"}
		w.call("POST", "/register", "", body).ok()
	})
}

// The first administrator's code is good once, for a day, and only the last.
func TestFirstAdministrator(t *testing.T) {
	eachWith(t, func(o *accounts.Options) { o.Registration.Open = false }, nil, func(w *world) {
		code := func() string {
			code, err := w.accounts.FirstAdministrator(w.Context())
			if err != nil || code == "" {
				w.Fatalf("the code is %q, error %v", code, err)
			}
			return code
		}
		register := func(name, code string) answer {
			return w.call("POST", "/register", "", object{
				"username": name, "password": password, "auth": object{"type": "m.login.registration_token", "token": code},
			})
		}
		replaced, expired := code(), code()
		register("root", replaced).asks("m.login.registration_token")
		w.pass(25 * time.Hour)
		register("root", expired).asks("m.login.registration_token")
		good := code()
		token := register("root", good).ok().str("access_token")
		if s, err := w.accounts.Authenticate(w.Context(), token, accounts.Caller{}); err != nil || !s.Admin {
			w.Errorf("the first administrator is %+v, error %v", s, err)
		}
		register("another", good).refused(403, "M_FORBIDDEN")
	})
}

// A session is good for one endpoint and one user, and for ten minutes.
func TestInteractionSessions(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		body := object{"username": "bob", "password": password}
		session := w.call("POST", "/register", "", body).asks("m.login.dummy")
		for name, wrong := range map[string]string{"no session": "x", "another's": w.call("POST", "/delete_devices", token, object{"devices": []string{}}).asks("m.login.password")} {
			body["auth"] = object{"type": "m.login.dummy", "session": wrong}
			if again := w.call("POST", "/register", "", body).asks("m.login.dummy"); again == wrong {
				w.Errorf("%s: the session goes on", name)
			}
		}
		body["auth"] = object{"session": session}
		if again := w.call("POST", "/register", "", body).asks("m.login.dummy"); again != session {
			w.Error("asking without a stage began a new session")
		}
		w.pass(11 * time.Minute)
		body["auth"] = object{"type": "m.login.dummy", "session": session}
		w.call("POST", "/register", "", body).asks("m.login.dummy")
	})
}

// A session goes on at another node, which has not seen its beginning, when
// the client sends everything again.
func TestInteractionSessionsOnAnotherNode(t *testing.T) {
	each(t, func(w *world) {
		body := object{"username": "bob", "password": password}
		session := w.call("POST", "/register", "", body).asks("m.login.dummy")
		w.start()
		body["auth"] = object{"type": "m.login.dummy", "session": session}
		w.call("POST", "/register", "", body).ok()
	})
}
