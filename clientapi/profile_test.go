package clientapi_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/internal/fault"
)

func TestProfile(t *testing.T) {
	each(t, func(w *world) {
		user, token := w.register("alice")
		if a := w.call("GET", "/profile/@alice:test", "", nil).ok(); a.raw != "{}" {
			w.Errorf("a new profile is %s", a.raw)
		}
		w.call("GET", "/profile/@alice:test/displayname", "", nil).refused(404, "M_NOT_FOUND")
		for field, value := range map[string]any{
			"displayname": "Alice <&> Ä", "avatar_url": "mxc://test/a", "m.tz": "Europe/Berlin", "org.example.job": object{"title": []any{"x", nil}},
		} {
			w.call("PUT", "/profile/@alice:test/"+field, token, object{field: value}).ok()
			got := w.call("GET", "/profile/@alice:test/"+field, "", nil).ok().body[field]
			if !sameJSON(got, value) {
				w.Errorf("%s is %v, want %v", field, got, value)
			}
		}
		if a := w.call("GET", "/profile/@alice:test", token, nil).ok(); len(a.body) != 4 || a.str("displayname") != "Alice <&> Ä" {
			w.Errorf("the profile is %s", a.raw)
		}
		w.call("DELETE", "/profile/@alice:test/org.example.job", token, nil).ok()
		w.call("DELETE", "/profile/@alice:test/org.example.job", token, nil).ok()
		w.call("PUT", "/profile/@alice:test/avatar_url", token, object{"avatar_url": ""}).ok()
		if a := w.call("GET", "/profile/@alice:test", token, nil).ok(); len(a.body) != 2 {
			w.Errorf("the profile is %s", a.raw)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.profiles) != 3 || w.profiles[0] != user {
			w.Errorf("rooms were told of %v, want name, avatar and its removal", w.profiles)
		}
	})
}

func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && string(x) == string(y)
}

func TestProfileRefusals(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		w.register("bob")
		for name, test := range map[string]struct {
			path    string
			body    any
			status  int
			errcode string
		}{
			"another's":           {"@bob:test/displayname", object{"displayname": "x"}, 403, "M_FORBIDDEN"},
			"no such key":         {"@alice:test/displayname", object{"name": "x"}, 400, "M_MISSING_PARAM"},
			"a name of 1":         {"@alice:test/displayname", object{"displayname": 1}, 400, "M_BAD_JSON"},
			"a long name":         {"@alice:test/displayname", object{"displayname": strings.Repeat("x", 300)}, 400, "M_INVALID_PARAM"},
			"an avatar elsewhere": {"@alice:test/avatar_url", object{"avatar_url": "https://x"}, 400, "M_INVALID_PARAM"},
			"an unnamed space":    {"@alice:test/nodot", object{"nodot": 1}, 400, "M_INVALID_PARAM"},
			"capitals":            {"@alice:test/a.B", object{"a.B": 1}, 400, "M_INVALID_PARAM"},
			"a long key":          {"@alice:test/a." + strings.Repeat("b", 255), object{}, 400, "M_MISSING_PARAM"},
			"a long key with it":  {"@alice:test/a." + strings.Repeat("b", 255), object{"a." + strings.Repeat("b", 255): 1}, 400, "M_KEY_TOO_LARGE"},
			"a large value":       {"@alice:test/a.b", object{"a.b": strings.Repeat("x", 65<<10)}, 400, "M_PROFILE_TOO_LARGE"},
			"no JSON":             {"@alice:test/a.b", "{", 400, "M_NOT_JSON"},
		} {
			a := w.call("PUT", "/profile/"+test.path, token, test.body)
			if a.status != test.status || a.str("errcode") != test.errcode {
				w.Errorf("%s: answered %d %s, want %s", name, a.status, a.raw, test.errcode)
			}
		}
		w.call("DELETE", "/profile/@bob:test/displayname", token, nil).refused(403, "M_FORBIDDEN")
		w.call("GET", "/profile/@nobody:test", token, nil).refused(404, "M_NOT_FOUND")
		w.call("GET", "/profile/nobody", token, nil).refused(400, "M_INVALID_PARAM")
		half := strings.Repeat("x", 33<<10)
		w.call("PUT", "/profile/@alice:test/a.one", token, object{"a.one": half}).ok()
		w.call("PUT", "/profile/@alice:test/a.two", token, object{"a.two": half}).refused(400, "M_PROFILE_TOO_LARGE")
	})
}

// Profiles of other servers' users are asked for there, and only for those who
// have an account here.
func TestRemoteProfile(t *testing.T) {
	ask := func(o *accounts.Options) {
		o.RemoteProfile = func(_ context.Context, user id.UserID, field string) (accounts.Profile, error) {
			if user != "@far:away" {
				return nil, fault.New(fault.NotFound, "There is no such user")
			}
			if field != "" {
				return accounts.Profile{field: json.RawMessage(`"only"`)}, nil
			}
			return accounts.Profile{"displayname": json.RawMessage(`"Far"`)}, nil
		}
	}
	eachWith(t, ask, nil, func(w *world) {
		_, token := w.register("alice")
		w.call("GET", "/profile/@far:away", "", nil).refused(401, "M_MISSING_TOKEN")
		if a := w.call("GET", "/profile/@far:away", token, nil).ok(); a.str("displayname") != "Far" {
			w.Errorf("answered %s", a.raw)
		}
		if a := w.call("GET", "/profile/@far:away/avatar_url", token, nil).ok(); a.str("avatar_url") != "only" {
			w.Errorf("answered %s", a.raw)
		}
		w.call("GET", "/profile/@other:away", token, nil).refused(404, "M_NOT_FOUND")
	})
}

func TestUserDirectory(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		for _, name := range []string{"a1", "a2", "b_1"} {
			_, other := w.register(name)
			w.call("PUT", "/profile/@"+name+":test/displayname", other, object{"displayname": "Größe " + name}).ok()
		}
		search := func(body any) ([]any, any) {
			a := w.call("POST", "/user_directory/search", token, body).ok()
			return a.body["results"].([]any), a.body["limited"]
		}
		for term, want := range map[string]int{"a1": 1, "GRÖSSE": 0, "GRÖß": 3, "b_": 1, "a_": 0, "%": 0, " ": 0, "alice": 1} {
			if found, limited := search(object{"search_term": term}); len(found) != want || limited != false {
				w.Errorf("%q found %v", term, found)
			}
		}
		found, limited := search(object{"search_term": "größe", "limit": 2})
		if len(found) != 2 || limited != true || found[0].(object)["display_name"] != "Größe a1" {
			w.Errorf("found %v, limited %v", found, limited)
		}
		w.call("POST", "/user_directory/search", token, object{}).refused(400, "M_MISSING_PARAM")
	})
}
