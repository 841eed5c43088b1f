package accounts

import (
	"encoding/json"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"
)

func (p *pushRules) ids(kind string) (out []string) {
	for _, rule := range p.kinds[kind] {
		out = append(out, rule.id())
	}
	return out
}

// Stored rules get today's defaults, keep what the user chose about them, and
// lose nothing that we do not know.
func TestUpgradeOfStoredRules(t *testing.T) {
	const stored = `{"global":{"override":[
		{"rule_id":"mine","default":false,"enabled":true,"actions":[],"conditions":[],"org.example":1},
		{"rule_id":".org.example.theirs","default":true,"enabled":true,"actions":[],"conditions":[]},
		{"rule_id":".m.rule.reaction","default":true,"enabled":false,"actions":["notify"],"conditions":[{"kind":"old"}]}],
		"org.example.kind":[7]},"device":{"x":1}}`
	p, err := currentRules("@a:b", []byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	ids := p.ids("override")
	want := slices.Insert(defaultRules("@a:b").ids("override"), 1, "mine")
	want = append(want, ".org.example.theirs")
	if !slices.Equal(ids, want) {
		t.Errorf("the rules are %v\nwant %v", ids, want)
	}
	i, err := p.find("override", ".m.rule.reaction")
	if err != nil {
		t.Fatal(err)
	}
	reaction := p.kinds["override"][i]
	if string(reaction[keyEnabled]) != "false" || string(reaction[keyActions]) != `["notify"]` || string(reaction[keyConditions]) == `[{"kind":"old"}]` {
		t.Errorf("the reaction rule is %s", reaction)
	}
	if string(p.kinds["override"][1]["org.example"]) != "1" || string(p.global["org.example.kind"]) != "[7]" || string(p.all["device"]) != `{"x":1}` {
		t.Error("something unknown was lost")
	}
}

// A user ID with every letter that it may have stands in the rules as it is.
func TestDefaultRulesNameTheUser(t *testing.T) {
	for _, user := range []id.UserID{"@alice:test", `@o"\<>$user:test`} {
		encoded, err := defaultRules(user).encode()
		if err != nil {
			t.Fatal(err)
		}
		var content struct {
			Global struct {
				Override []struct {
					ID         string `json:"rule_id"`
					Conditions []struct{ Pattern, Value any }
				}
			}
		}
		if err := json.Unmarshal(encoded, &content); err != nil {
			t.Fatal(err)
		}
		for _, rule := range content.Global.Override {
			if rule.ID == ".m.rule.is_user_mention" && rule.Conditions[0].Value != string(user) {
				t.Errorf("the mention rule of %s wants %v", user, rule.Conditions[0].Value)
			}
			if rule.ID == ".m.rule.invite_for_me" && rule.Conditions[2].Pattern != string(user) {
				t.Errorf("the invite rule of %s wants %v", user, rule.Conditions[2].Pattern)
			}
		}
	}
}

func FuzzPushRule(f *testing.F) {
	f.Add("content", `{"actions":["notify"],"pattern":"x"}`)
	f.Add("override", `{"actions":[{"set_tweak":"sound"}],"conditions":[{"kind":"x"}]}`)
	f.Add("room", `{"actions":[],"x":{}}`)
	f.Fuzz(func(t *testing.T, kind, body string) {
		rule, err := readRule(kind, json.RawMessage(body))
		if err != nil {
			return
		}
		p := defaultRules("@a:b")
		rule[keyRuleID] = mustJSON("x")
		p.kinds["room"] = append(p.kinds["room"], rule)
		encoded, err := p.encode()
		if err != nil {
			t.Fatalf("a rule that was taken cannot be kept: %v", err)
		}
		if again, err := currentRules("@a:b", encoded); err != nil || len(again.kinds["room"]) != 1 {
			t.Errorf("what was kept cannot be read: %v", err)
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add(`{"room":{"timeline":{"limit":1}}}`)
	f.Add(`{"presence":{"senders":["@a:b"]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if CheckFilter(json.RawMessage(body)) == nil && !json.Valid([]byte(body)) {
			t.Errorf("%q is taken for a filter", body)
		}
	})
}
