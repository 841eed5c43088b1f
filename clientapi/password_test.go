package clientapi_test

import (
	"testing"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
)

// proof is the password stage.
func proof(user id.UserID, password string) object {
	return object{"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": user}, "password": password}
}

const newPassword = "another horse battery"

// Changing the password logs the other devices out, and not one's own.
func TestChangePassword(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		w.register("bob")
		other := w.login("alice", password, nil).ok().str("access_token")
		body := object{"new_password": newPassword}
		w.call("POST", "/account/password", token, body).asks("m.login.password")
		body["auth"] = proof(user, "wrong")
		a := w.call("POST", "/account/password", token, body)
		if a.asks("m.login.password"); a.str("errcode") != "M_FORBIDDEN" {
			w.Errorf("a wrong password answered %s", a.raw)
		}
		w.audited(accounts.AuditPasswordDenied)
		body["auth"] = proof("@bob:test", password)
		w.call("POST", "/account/password", token, body).refused(403, "M_FORBIDDEN")
		w.audited(accounts.AuditPasswordDenied)
		body["auth"] = object{"type": "m.login.password", "password": password}
		w.call("POST", "/account/password", token, body).ok()
		w.audited(accounts.AuditPassword)
		w.whoami(token).ok()
		w.whoami(other).refused(401, "M_UNKNOWN_TOKEN")
		w.login("alice", password, nil).refused(403, "M_FORBIDDEN")
		w.login("alice", newPassword, nil).ok()

		body = object{"new_password": "short", "auth": proof(user, newPassword)}
		w.call("POST", "/account/password", token, body).refused(400, "M_WEAK_PASSWORD")
		w.call("POST", "/account/password", token, object{}).refused(400, "M_MISSING_PARAM")
	})
}

// Who has no session proves by the password which account it is about.
func TestChangePasswordWithoutASession(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		w.call("POST", "/account/password", "", object{"new_password": newPassword, "logout_devices": false, "auth": proof(user, password)}).ok()
		w.whoami(token).ok()
		w.call("POST", "/account/password", "", object{"new_password": password, "auth": proof(user, newPassword)}).ok()
		w.whoami(token).refused(401, "M_UNKNOWN_TOKEN")
	})
}

func TestDeactivate(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		_, bob := w.register("bob")
		w.call("PUT", "/profile/@alice:test/displayname", token, object{"displayname": "Alice"}).ok()
		w.call("POST", "/account/deactivate", token, nil).asks("m.login.password")
		a := w.call("POST", "/account/deactivate", token, object{"erase": true, "auth": proof(user, password)}).ok()
		if a.str("id_server_unbind_result") != "success" {
			w.Errorf("answered %s", a.raw)
		}
		w.audited(accounts.AuditDeactivate)
		w.whoami(token).refused(401, "M_UNKNOWN_TOKEN")
		w.login("alice", password, nil).refused(403, "M_FORBIDDEN")
		w.call("POST", "/register", "", object{"username": "alice", "password": password}).refused(400, "M_USER_IN_USE")
		w.call("GET", "/profile/@alice:test", bob, nil).refused(404, "M_NOT_FOUND")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.gone) != 1 || w.gone[0] != user {
			w.Errorf("told of %v, want %s to leave their rooms", w.gone, user)
		}
	})
}

func TestDevices(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		other := w.login("alice", password, object{"device_id": "OTHER", "initial_device_display_name": "x"}).ok().str("access_token")
		third := w.login("alice", password, object{"device_id": "THIRD"}).ok().str("access_token")
		w.call("PUT", "/devices/OTHER", token, object{"display_name": "desk"}).ok()
		w.call("PUT", "/devices/OTHER", token, object{}).ok()
		if d := w.call("GET", "/devices/OTHER", token, nil).ok(); d.str("display_name") != "desk" || d.str("last_seen_ip") == "" || d.body["last_seen_ts"] == nil {
			w.Errorf("the device is %s", d.raw)
		}
		for _, method := range []string{"GET", "PUT"} {
			w.call(method, "/devices/NONE", token, object{"display_name": "x"}).refused(404, "M_NOT_FOUND")
		}
		session := w.call("DELETE", "/devices/OTHER", token, object{}).asks("m.login.password")
		auth := proof(user, password)
		auth["session"] = session
		w.call("DELETE", "/devices/THIRD", token, object{"auth": auth}).asks("m.login.password") // another request's session
		w.whoami(third).ok()
		w.call("DELETE", "/devices/OTHER", token, object{"auth": auth}).ok()
		w.audited(accounts.AuditDevice)
		w.whoami(other).refused(401, "M_UNKNOWN_TOKEN")
		w.call("POST", "/delete_devices", token, object{"devices": []string{"THIRD", "NONE"}, "auth": proof(user, password)}).ok()
		w.whoami(third).refused(401, "M_UNKNOWN_TOKEN")
		w.call("POST", "/delete_devices", token, object{"auth": proof(user, password)}).refused(400, "M_MISSING_PARAM")
		if left := w.call("GET", "/devices", token, nil).ok().body["devices"].([]any); len(left) != 1 {
			w.Errorf("the devices left are %v", left)
		}
		w.call("GET", "/account/3pid", token, nil).ok()
	})
}
