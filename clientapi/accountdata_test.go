package clientapi_test

import (
	"net/url"
	"strings"
	"testing"

	"entente/roomserver/event"
	"entente/storage"
)

const own = "/user/@alice:test"

func TestAccountData(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		room, err := w.db.AddRoom(w.Context(), "!room:test", event.DefaultVersion)
		if err != nil {
			w.Fatal(err)
		}
		since := w.db.Applied()
		const inRoom = own + "/rooms/!room:test"
		for _, base := range []string{own, inRoom} {
			path := base + "/account_data/org.example%2Ftype"
			w.call("GET", path, token, nil).refused(404, "M_NOT_FOUND")
			w.call("PUT", path, token, `{"a":{"b":[1.5,"<"]}, "base":"`+base+`"}`).ok()
			if a := w.call("GET", path, token, nil).ok(); a.raw != `{"a":{"b":[1.5,"<"]}, "base":"`+base+`"}` {
				w.Errorf("%s answered %s", path, a.raw)
			}
			for body, errcode := range map[string]string{`[]`: "M_BAD_JSON", `{"a"`: "M_NOT_JSON", ``: "M_NOT_JSON"} {
				w.call("PUT", path, token, body).refused(400, errcode)
			}
			w.call("PUT", base+"/account_data/m.fully_read", token, object{}).refused(405, "M_BAD_JSON")
			w.call("PUT", base+"/account_data/m.push_rules", token, object{}).refused(405, "M_BAD_JSON")
			w.call("PUT", path, token, object{"x": strings.Repeat("x", 300<<10)}).refused(413, "M_TOO_LARGE")
			w.call("PUT", base+"/account_data/"+strings.Repeat("x", 300), token, object{}).refused(400, "M_INVALID_PARAM")
		}
		w.call("GET", "/user/@bob:test/account_data/x", token, nil).refused(403, "M_FORBIDDEN")
		w.call("PUT", "/user/@bob:test/account_data/x", token, object{}).refused(403, "M_FORBIDDEN")
		w.call("PUT", own+"/rooms/notaroom/account_data/x", token, object{}).refused(400, "M_INVALID_PARAM")
		w.call("PUT", own+"/rooms/!other:test/account_data/x", token, object{}).refused(404, "M_NOT_FOUND")

		changes, err := w.db.Latest().AccountDataSince(w.Context(), user, since, w.db.Applied())
		if err != nil || len(changes) != 2 || changes[0].Room != 0 || changes[1].Room != room.NID {
			w.Errorf("a sync would see %v, error %v", changes, err)
		}
	})
}

// The log tells every change of account data, so that syncs wake up.
func TestAccountDataIsInTheLog(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		subject, err := w.db.UserSubject(w.Context(), storage.User, user)
		if err != nil {
			w.Fatal(err)
		}
		seen := make(chan storage.Position, 10)
		w.db.Follow(func(e *storage.LogEntry) {
			e.Touched(func(s storage.Subject, at storage.Position) {
				if s == subject {
					seen <- at
				}
			})
		})
		w.call("PUT", own+"/account_data/x", token, object{}).ok()
		w.call("PUT", "/pushrules/global/room/!r:test", token, object{"actions": []any{}}).ok()
		if len(seen) != 2 {
			w.Errorf("the log told of %d changes, want 2", len(seen))
		}
	})
}

func TestTags(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		if _, err := w.db.AddRoom(w.Context(), "!room:test", event.DefaultVersion); err != nil {
			w.Fatal(err)
		}
		const tags = own + "/rooms/!room:test/tags"
		if a := w.call("GET", tags, token, nil).ok(); a.raw != `{"tags":{}}` {
			w.Errorf("no tags are %s", a.raw)
		}
		w.call("PUT", tags+"/m.favourite", token, object{"order": 0.25, "other": true}).ok()
		w.call("PUT", tags+"/"+url.PathEscape("u.Wörk/home"), token, object{}).ok()
		if a := w.call("GET", tags, token, nil).ok(); a.raw != `{"tags":{"m.favourite":{"order":0.25,"other":true},"u.Wörk/home":{}}}` {
			w.Errorf("the tags are %s", a.raw)
		}
		w.call("DELETE", tags+"/m.favourite", token, nil).ok()
		w.call("DELETE", tags+"/m.favourite", token, nil).ok()
		if a := w.call("GET", own+"/rooms/!room:test/account_data/m.tag", token, nil).ok(); a.raw != `{"tags":{"u.Wörk/home":{}}}` {
			w.Errorf("the account data is %s", a.raw)
		}
		w.call("PUT", tags+"/a", token, object{"order": "first"}).refused(400, "M_BAD_JSON")
		w.call("PUT", tags+"/"+strings.Repeat("x", 256), token, object{}).refused(400, "M_INVALID_PARAM")
		w.call("PUT", own+"/rooms/!other:test/tags/a", token, object{}).refused(404, "M_NOT_FOUND")

		w.call("PUT", own+"/rooms/!room:test/account_data/m.tag", token, object{"tags": 7, "kept": 1}).ok()
		w.call("PUT", tags+"/a", token, object{}).ok()
		if a := w.call("GET", own+"/rooms/!room:test/account_data/m.tag", token, nil).ok(); a.raw != `{"kept":1,"tags":{"a":{}}}` {
			w.Errorf("the account data is %s", a.raw)
		}
	})
}

func TestFilters(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		const body = `{"room":{"timeline":{"limit":10,"types":["m.*"]},"rooms":["!a:b"]},"presence":{"not_senders":["@a:b"]},"org.example":1}`
		name := w.call("POST", own+"/filter", token, body).ok().str("filter_id")
		if again := w.call("POST", own+"/filter", token, " "+body).ok().str("filter_id"); again != name || name == "" || name[0] == '{' {
			w.Errorf("the same filter is called %q and %q", name, again)
		}
		if a := w.call("GET", own+"/filter/"+name, token, nil).ok(); a.raw != body {
			w.Errorf("the filter is %s", a.raw)
		}
		w.call("GET", own+"/filter/none", token, nil).refused(404, "M_NOT_FOUND")
		w.call("GET", "/user/@bob:test/filter/"+name, token, nil).refused(403, "M_FORBIDDEN")
		w.call("POST", "/user/@bob:test/filter", token, body).refused(403, "M_FORBIDDEN")
		for _, wrong := range []string{
			`{"presence":"x"}`, `{"room":{"timeline":"x"}}`, `{"room":{"state":{"senders":"x"}}}`, `{"presence":{"senders":["x"]}}`,
			`{"room":{"not_rooms":["x"]}}`, `{"room":{"timeline":{"rooms":[1]}}}`, `{"event_format":"x"}`, `{"event_fields":"x"}`,
			`{"room":{"timeline":{"limit":-1}}}`, `{"room":{"timeline":{"limit":"1"}}}`, `{"room":{"include_leave":1}}`, `[]`,
		} {
			if a := w.call("POST", own+"/filter", token, wrong); a.status != 400 || a.str("errcode") != "M_BAD_JSON" {
				w.Errorf("%s answered %d %s", wrong, a.status, a.raw)
			}
		}
		w.call("POST", own+"/filter", token, object{"x": strings.Repeat("x", 70<<10)}).refused(413, "M_TOO_LARGE")
	})
}

func TestVersionsAndCapabilities(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		if a := w.call("GET", "/_matrix/client/versions", "", nil).ok(); len(a.body["versions"].([]any)) == 0 {
			w.Errorf("answered %s", a.raw)
		}
		a := w.call("GET", "/capabilities", token, nil).ok()
		rooms := a.body["capabilities"].(object)["m.room_versions"].(object)
		if rooms["default"] != "12" || len(rooms["available"].(object)) != 12 {
			w.Errorf("answered %s", a.raw)
		}
		w.call("GET", "/capabilities", "", nil).refused(401, "M_MISSING_TOKEN")
	})
}
