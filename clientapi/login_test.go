package clientapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/internal/web"
)

func TestLoginFlows(t *testing.T) {
	each(t, func(w *world) {
		flows := w.call("GET", "/login", "", nil).ok().body["flows"].([]any)
		if len(flows) != 1 || flows[0].(object)["type"] != "m.login.password" {
			w.Errorf("flows are %v", flows)
		}
	})
}

// A user logs in by name or ID, in any case of letters; whoever is wrong about
// the user or the password is told the same.
func TestLogin(t *testing.T) {
	each(t, func(w *world) {
		w.register("alice")
		for _, name := range []string{"alice", "@alice:test", "Alice", "@ALICE:test"} {
			a := w.login(name, password, object{"initial_device_display_name": "phone"}).ok()
			w.audited(accounts.AuditLogin)
			if a.str("user_id") != "@alice:test" || a.str("device_id") == "" || a.body["refresh_token"] != nil || a.body["well_known"] == nil {
				w.Errorf("login as %s answered %s", name, a.raw)
			}
			who := w.whoami(a.str("access_token")).ok()
			if who.str("user_id") != "@alice:test" || who.str("device_id") != a.str("device_id") {
				w.Errorf("whoami answered %s", who.raw)
			}
		}
		for _, name := range []string{"alice", "nobody", "@alice:elsewhere", "@alice", "@"} {
			a := w.login(name, "wrong", nil).refused(http.StatusForbidden, "M_FORBIDDEN")
			if a.str("error") != "The user name or the password is wrong" {
				w.Errorf("login as %s answered %s", name, a.raw)
			}
			w.audited(accounts.AuditLoginRefused)
		}
		a := w.call("POST", "/login", "", object{"type": "m.login.password", "user": "alice", "password": password})
		if a.ok().str("user_id") != "@alice:test" {
			w.Errorf("a login as of long ago answered %s", a.raw)
		}
	})
}

func TestLoginRefusesBadBodies(t *testing.T) {
	each(t, func(w *world) {
		user := object{"type": "m.id.user", "user": "alice"}
		for name, test := range map[string]struct {
			body    any
			errcode string
		}{
			"no JSON":            {`{`, "M_NOT_JSON"},
			"a list":             {`[]`, "M_BAD_JSON"},
			"no type":            {object{"identifier": user, "password": "x"}, "M_INVALID_PARAM"},
			"an unknown type":    {object{"type": "m.login.token", "token": "x"}, "M_INVALID_PARAM"},
			"no user":            {object{"type": "m.login.password", "password": "x"}, "M_MISSING_PARAM"},
			"no password":        {object{"type": "m.login.password", "identifier": user}, "M_MISSING_PARAM"},
			"a third party's ID": {object{"type": "m.login.password", "identifier": object{"type": "m.id.thirdparty"}, "password": "x"}, "M_INVALID_PARAM"},
			"a password of 1":    {object{"type": "m.login.password", "identifier": user, "password": 1}, "M_BAD_JSON"},
		} {
			a := w.call("POST", "/login", "", test.body)
			if a.status != http.StatusBadRequest || a.str("errcode") != test.errcode {
				w.Errorf("%s: answered %d %s, want %s", name, a.status, a.raw, test.errcode)
			}
		}
	})
}

// A login with the ID of a device replaces its token and keeps its name.
func TestLoginAgainOnADevice(t *testing.T) {
	each(t, func(w *world) {
		_, first := w.register("alice")
		second := w.login("alice", password, object{"device_id": "FIRST", "initial_device_display_name": "new"}).ok()
		w.whoami(first).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		device := w.call("GET", "/devices/FIRST", second.str("access_token"), nil).ok()
		if device.body["display_name"] != nil {
			w.Errorf("the known device is called %v", device.body["display_name"])
		}
		long := make([]byte, 300)
		for i := range long {
			long[i] = 'x'
		}
		w.login("alice", password, object{"device_id": string(long)}).refused(http.StatusBadRequest, "M_INVALID_PARAM")
	})
}

func TestLogout(t *testing.T) {
	each(t, func(w *world) {
		_, first := w.register("alice")
		second := w.login("alice", password, nil).ok().str("access_token")
		w.call("POST", "/logout", first, nil).ok()
		w.audited(accounts.AuditLogout)
		if a := w.whoami(first).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"); a.body["soft_logout"] == true {
			w.Error("a logout is not a soft one")
		}
		devices := w.call("GET", "/devices", second, nil).ok().body["devices"].([]any)
		if len(devices) != 1 {
			w.Errorf("after a logout the devices are %v", devices)
		}
		third := w.login("alice", password, nil).ok().str("access_token")
		w.call("POST", "/logout/all", third, nil).ok()
		w.whoami(second).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		w.whoami(third).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		w.call("POST", "/logout", "", nil).refused(http.StatusUnauthorized, "M_MISSING_TOKEN")
	})
}

// grant is a login with refresh tokens.
func (w *world) grant() (access, refresh string) {
	w.Helper()
	a := w.login("alice", password, object{"refresh_token": true, "device_id": "PHONE"}).ok()
	if a.body["expires_in_ms"] != float64(time.Hour/time.Millisecond) {
		w.Errorf("the access token expires in %v", a.body["expires_in_ms"])
	}
	return a.str("access_token"), a.str("refresh_token")
}

func (w *world) refresh(token string) answer {
	w.Helper()
	return w.call("POST", "/refresh", "", object{"refresh_token": token})
}

// An expired access token is a soft logout, which a refresh mends.
func TestRefresh(t *testing.T) {
	each(t, func(w *world) {
		w.register("alice")
		access, refresh := w.grant()
		w.pass(2 * time.Hour)
		if a := w.whoami(access).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"); a.body["soft_logout"] != true {
			w.Errorf("an expired token answered %s", a.raw)
		}
		next := w.refresh(refresh).ok()
		who := w.whoami(next.str("access_token")).ok()
		if who.str("device_id") != "PHONE" {
			w.Errorf("the device is now %s", who.raw)
		}
		w.pass(25 * time.Hour)
		if a := w.refresh(next.str("refresh_token")).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"); a.body["soft_logout"] != true {
			w.Errorf("an expired refresh token answered %s", a.raw)
		}
		w.refresh("nonsense").refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		w.call("POST", "/refresh", "", object{}).refused(http.StatusBadRequest, "M_MISSING_PARAM")
	})
}

// When the answer to a refresh is lost, the same refresh token works again,
// and the old access token too; the first use of a new token ends both.
func TestRefreshAfterALostAnswer(t *testing.T) {
	each(t, func(w *world) {
		w.register("alice")
		access, refresh := w.grant()
		lost := w.refresh(refresh).ok()
		w.whoami(access).ok()
		next := w.refresh(refresh).ok()
		w.whoami(access).ok()
		w.whoami(next.str("access_token")).ok()
		w.whoami(next.str("access_token")).ok()
		if a := w.whoami(access).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"); a.body["soft_logout"] != true {
			w.Error("the old token's end is not soft, and would cost the client its keys")
		}
		w.whoami(lost.str("access_token")).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	})
}

// The new refresh token counts as a first use as well.
func TestRefreshOfARefresh(t *testing.T) {
	each(t, func(w *world) {
		w.register("alice")
		_, refresh := w.grant()
		second := w.refresh(refresh).ok()
		third := w.refresh(second.str("refresh_token")).ok()
		w.whoami(second.str("access_token")).ok()
		w.whoami(third.str("access_token")).ok()
	})
}

// A refresh token that comes again after its successor was used was stolen,
// from whichever side: the whole login ends, other logins do not.
func TestRefreshTokenReuse(t *testing.T) {
	each(t, func(w *world) {
		_, other := w.register("alice")
		_, refresh := w.grant()
		next := w.refresh(refresh).ok()
		w.whoami(next.str("access_token")).ok()
		if a := w.refresh(refresh).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"); a.body["soft_logout"] == true {
			w.Error("a stolen login's end is not soft")
		}
		w.audited(accounts.AuditReuse)
		w.whoami(next.str("access_token")).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		w.refresh(next.str("refresh_token")).refused(http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		w.whoami(other).ok()
	})
}

// Guesses at one account's password count together, whoever makes them.
func TestLoginsAreLimitedByAccount(t *testing.T) {
	limits := web.Limits{web.RateLogin: {PerSecond: 0.001, Burst: 3}}
	eachWith(t, nil, limits, func(w *world) {
		user := w.addUser("alice")
		for i := range 3 {
			w.from = fmt.Sprintf("192.0.2.%d", i)
			w.login("alice", "wrong", nil).refused(http.StatusForbidden, "M_FORBIDDEN")
		}
		w.from = "192.0.2.9"
		if a := w.login(string(user), password, nil).refused(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED"); a.body["retry_after_ms"] == nil {
			w.Errorf("answered %s", a.raw)
		}
		w.login("another", "wrong", nil).refused(http.StatusForbidden, "M_FORBIDDEN")
	})
}

// addUser makes an account as the command line does.
func (w *world) addUser(name string) id.UserID {
	w.Helper()
	user, _, err := w.accounts.Create(w.Context(), accounts.NewUser{Localpart: name, Password: password, Via: "test"})
	if err != nil {
		w.Fatal(err)
	}
	return user
}
