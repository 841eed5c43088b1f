package clientapi_test

import (
	"slices"
	"strings"
	"testing"
)

// ids lists the rules of a kind in order.
func (w *world) ids(token, kind string) (out []string) {
	w.Helper()
	for _, rule := range w.call("GET", "/pushrules/global/", token, nil).ok().body[kind].([]any) {
		out = append(out, rule.(object)["rule_id"].(string))
	}
	return out
}

var defaultOverride = []string{
	".m.rule.master", ".m.rule.suppress_notices", ".m.rule.invite_for_me", ".m.rule.member_event", ".m.rule.is_user_mention",
	".m.rule.is_room_mention", ".m.rule.tombstone", ".m.rule.reaction", ".m.rule.room.server_acl", ".m.rule.suppress_edits",
}

func TestDefaultPushRules(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		if got := w.ids(token, "override"); !slices.Equal(got, defaultOverride) {
			w.Errorf("the override rules are %v", got)
		}
		if got := w.ids(token, "underride"); len(got) != 5 || got[3] != ".m.rule.message" {
			w.Errorf("the underride rules are %v", got)
		}
		mention := w.call("GET", "/pushrules/global/override/.m.rule.is_user_mention", token, nil).ok()
		if mention.body["conditions"].([]any)[0].(object)["value"] != "@alice:test" {
			w.Errorf("the mention rule is %s", mention.raw)
		}
		all := w.call("GET", "/pushrules/", token, nil).ok()
		if data := w.call("GET", own+"/account_data/m.push_rules", token, nil).ok(); data.raw != all.raw {
			w.Errorf("the account data is %s\nthe rules are %s", data.raw, all.raw)
		}
	})
}

func TestPushRulesOfOnesOwn(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		const rules = "/pushrules/global/"
		put := func(path string, more object) answer {
			body := object{"actions": []any{"notify", "dont_notify", object{"set_tweak": "sound", "value": "x"}}}
			for key, value := range more {
				body[key] = value
			}
			return w.call("PUT", rules+path, token, body)
		}
		pattern, conditions := object{"pattern": "<cake>*"}, object{"conditions": []any{object{"kind": "org.example.kind", "x": 1}}}
		put("content/one", pattern).ok()
		put("content/two", pattern).ok()
		put("content/three?before=one", pattern).ok()
		put("content/four?after=two", pattern).ok()
		if got := w.ids(token, "content"); !slices.Equal(got, []string{"two", "four", "three", "one"}) {
			w.Errorf("the rules are in the order %v", got)
		}
		put("content/one?before=two&after=three", pattern).ok()
		put("content/four", pattern).ok()
		if got := w.ids(token, "content"); !slices.Equal(got, []string{"one", "two", "four", "three"}) {
			w.Errorf("the rules are in the order %v", got)
		}
		want := object{
			"rule_id": "one", "default": false, "enabled": true, "pattern": "<cake>*",
			"actions": []any{"notify", object{"set_tweak": "sound", "value": "x"}},
		}
		if a := w.call("GET", rules+"content/one", token, nil).ok(); !sameJSON(a.body, want) {
			w.Errorf("the rule is %s", a.raw)
		}
		put("override/mine", conditions).ok()
		if got := w.ids(token, "override"); got[0] != ".m.rule.master" || got[1] != "mine" || len(got) != len(defaultOverride)+1 {
			w.Errorf("the override rules are %v", got)
		}
		put("underride/mine", nil).ok()
		put("room/!room:test", nil).ok()
		put("sender/@spam:test", nil).ok()
		for kind, rule := range map[string]string{"content": "two", "override": "mine", "underride": "mine", "room": "!room:test", "sender": "@spam:test"} {
			w.call("DELETE", rules+kind+"/"+rule, token, nil).ok()
			w.call("DELETE", rules+kind+"/"+rule, token, nil).refused(404, "M_NOT_FOUND")
			w.call("GET", rules+kind+"/"+rule, token, nil).refused(404, "M_NOT_FOUND")
		}
	})
}

// Enabled and actions can be changed of every rule; changing a rule does not
// enable it again.
func TestPushRuleAttributes(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		w.call("PUT", "/pushrules/global/content/cake", token, object{"pattern": "cake", "actions": []any{}}).ok()
		for _, rule := range []string{"content/cake", "override/.m.rule.suppress_notices"} {
			path := "/pushrules/global/" + rule
			w.call("PUT", path+"/enabled", token, object{"enabled": false}).ok()
			w.call("PUT", path+"/actions", token, object{"actions": []any{"coalesce", "notify"}}).ok()
			if a := w.call("GET", path+"/enabled", token, nil).ok(); a.raw != `{"enabled":false}` {
				w.Errorf("%s is %s", path, a.raw)
			}
			if a := w.call("GET", path+"/actions", token, nil).ok(); a.raw != `{"actions":["notify"]}` {
				w.Errorf("%s does %s", path, a.raw)
			}
			w.call("PUT", path+"/enabled", token, object{}).refused(400, "M_MISSING_PARAM")
			w.call("PUT", path+"/enabled", token, object{"enabled": "x"}).refused(400, "M_BAD_JSON")
			w.call("PUT", path+"/actions", token, object{"actions": "x"}).refused(400, "M_BAD_JSON")
			w.call("PUT", path+"/actions", token, object{}).refused(400, "M_MISSING_PARAM")
			w.call("PUT", "/pushrules/global/room/none/enabled", token, object{"enabled": true}).refused(404, "M_NOT_FOUND")
			w.call("GET", "/pushrules/global/room/none/actions", token, nil).refused(404, "M_NOT_FOUND")
		}
		w.call("PUT", "/pushrules/global/content/cake", token, object{"pattern": "pie", "actions": []any{}}).ok()
		if a := w.call("GET", "/pushrules/global/content/cake", token, nil).ok(); a.body["enabled"] != false || a.str("pattern") != "pie" {
			w.Errorf("the changed rule is %s", a.raw)
		}
	})
}

func TestPushRuleRefusals(t *testing.T) {
	each(t, func(w *world) {
		_, token := w.register("alice")
		actions := []any{"notify"}
		for name, test := range map[string]struct {
			path    string
			body    any
			errcode string
		}{
			"an unknown kind":       {"device/x", object{"actions": actions}, "M_INVALID_PARAM"},
			"a kept name":           {"room/.m.rule.x", object{"actions": actions}, "M_INVALID_PARAM"},
			"a slash":               {"room/a%2Fb", object{"actions": actions}, "M_INVALID_PARAM"},
			"a backslash":           {"room/a%5Cb", object{"actions": actions}, "M_INVALID_PARAM"},
			"a long name":           {"room/" + strings.Repeat("x", 300), object{"actions": actions}, "M_INVALID_PARAM"},
			"no actions":            {"room/x", object{}, "M_MISSING_PARAM"},
			"actions that are none": {"room/x", object{"actions": nil}, "M_BAD_JSON"},
			"an unknown action":     {"room/x", object{"actions": []any{"dance"}}, "M_INVALID_PARAM"},
			"an action of 1":        {"room/x", object{"actions": []any{1}}, "M_INVALID_PARAM"},
			"an empty tweak":        {"room/x", object{"actions": []any{object{}}}, "M_INVALID_PARAM"},
			"no pattern":            {"content/x", object{"actions": actions}, "M_BAD_JSON"},
			"conditions of 1":       {"override/x", object{"actions": actions, "conditions": 1}, "M_BAD_JSON"},
			"conditions of no kind": {"override/x", object{"actions": actions, "conditions": []any{object{}}}, "M_BAD_JSON"},
			"before nothing":        {"room/x?before=y", object{"actions": actions}, "M_INVALID_PARAM"},
			"after a default":       {"override/x?after=.m.rule.reaction", object{"actions": actions, "conditions": []any{}}, "M_INVALID_PARAM"},
			"a list":                {"room/x", `[]`, "M_BAD_JSON"},
			"more than can be kept": {"content/x", object{"actions": actions, "pattern": strings.Repeat("x", 300<<10)}, "M_TOO_LARGE"},
		} {
			a := w.call("PUT", "/pushrules/global/"+test.path, token, test.body)
			if a.status/100 != 4 || a.str("errcode") != test.errcode {
				w.Errorf("%s: answered %d %s, want %s", name, a.status, a.raw, test.errcode)
			}
		}
		w.call("DELETE", "/pushrules/global/override/.m.rule.master", token, nil).refused(400, "M_INVALID_PARAM")
		w.call("GET", "/pushrules/global/device/x", token, nil).refused(400, "M_INVALID_PARAM")
	})
}
