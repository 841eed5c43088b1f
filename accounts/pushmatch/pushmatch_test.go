package pushmatch_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"

	"entente/accounts/pushmatch"
	"entente/roomserver/event"
)

// room is a room of two, in which only @mod:x may notify everyone.
type room struct{ members int64 }

func (r room) Members() (int64, error)                  { return r.members, nil }
func (r room) DisplayName() (string, error)             { return "Alice A.", nil }
func (r room) MayNotify(sender id.UserID) (bool, error) { return sender == "@mod:x", nil }

func pdu(t testing.TB, typ, sender, content string) *event.PDU {
	t.Helper()
	rules, _ := event.RulesOf("11")
	raw, err := event.Canonical([]byte(fmt.Sprintf(`{"type":%q,"sender":%q,"room_id":"!r:x","content":%s}`, typ, sender, content)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := event.Trusted(rules, "$e", raw)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func compile(t testing.TB, set string) *pushmatch.Rules {
	t.Helper()
	var parsed pushrules.PushRuleset
	if err := json.Unmarshal([]byte(set), &parsed); err != nil {
		t.Fatal(err)
	}
	return pushmatch.Compile(&parsed)
}

// Each kind of condition holds when the specification says so.
func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		condition, typ, sender, content string
		want                            bool
	}{
		{`{"kind":"event_match","key":"type","pattern":"m.room.message"}`, "m.room.message", "@b:x", `{}`, true},
		{`{"kind":"event_match","key":"type","pattern":"m.room"}`, "m.room.message", "@b:x", `{}`, false},
		{`{"kind":"event_match","key":"type","pattern":"m.*.mess?ge"}`, "m.room.message", "@b:x", `{}`, true},
		{`{"kind":"event_match","key":"sender","pattern":"@B:X"}`, "m", "@b:x", `{}`, true},
		{`{"kind":"event_match","key":"room_id","pattern":"!r:x"}`, "m", "@b:x", `{}`, true},
		{`{"kind":"event_match","key":"state_key","pattern":""}`, "m", "@b:x", `{}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"cake"}`, "m", "@b:x", `{"body":"Let them eat CAKE!"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"cake"}`, "m", "@b:x", `{"body":"cakes"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"cak*"}`, "m", "@b:x", `{"body":"some cakes here"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"a.c"}`, "m", "@b:x", `{"body":"abc"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"cake"}`, "m", "@b:x", `{"body":7}`, false},
		{`{"kind":"event_match","key":"content.m\\.x.y","pattern":"z"}`, "m", "@b:x", `{"m.x":{"y":"Z"}}`, true},
		{`{"kind":"event_property_is","key":"content.n","value":3}`, "m", "@b:x", `{"n":3}`, true},
		{`{"kind":"event_property_is","key":"content.n","value":"3"}`, "m", "@b:x", `{"n":3}`, false},
		{`{"kind":"event_property_is","key":"content.n","value":null}`, "m", "@b:x", `{"n":null}`, true},
		{`{"kind":"event_property_is","key":"content.n","value":null}`, "m", "@b:x", `{}`, false},
		{`{"kind":"event_property_is","key":"content.n","value":"Case"}`, "m", "@b:x", `{"n":"case"}`, false},
		{`{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"@a:x"}`, "m", "@b:x", `{"m.mentions":{"user_ids":["@c:x","@a:x"]}}`, true},
		{`{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"@a:x"}`, "m", "@b:x", `{"m.mentions":{"user_ids":"@a:x"}}`, false},
		{`{"kind":"event_property_contains","key":"content.l","value":{}}`, "m", "@b:x", `{"l":[{}]}`, false},
		{`{"kind":"contains_display_name"}`, "m", "@b:x", `{"body":"hello alice a. there"}`, true},
		{`{"kind":"contains_display_name"}`, "m", "@b:x", `{"body":"malice a."}`, false},
		{`{"kind":"room_member_count","is":"2"}`, "m", "@b:x", `{}`, true},
		{`{"kind":"room_member_count","is":"==2"}`, "m", "@b:x", `{}`, true},
		{`{"kind":"room_member_count","is":"<2"}`, "m", "@b:x", `{}`, false},
		{`{"kind":"room_member_count","is":"<=2"}`, "m", "@b:x", `{}`, true},
		{`{"kind":"room_member_count","is":">1"}`, "m", "@b:x", `{}`, true},
		{`{"kind":"room_member_count","is":">=3"}`, "m", "@b:x", `{}`, false},
		{`{"kind":"room_member_count","is":"two"}`, "m", "@b:x", `{}`, false},
		{`{"kind":"sender_notification_permission","key":"room"}`, "m", "@mod:x", `{}`, true},
		{`{"kind":"sender_notification_permission","key":"room"}`, "m", "@b:x", `{}`, false},
		{`{"kind":"sender_notification_permission","key":"moon"}`, "m", "@mod:x", `{}`, false},
		{`{"kind":"org.example.unheard"}`, "m", "@b:x", `{}`, false},
	} {
		rules := compile(t, `{"override":[{"rule_id":"r","enabled":true,"actions":["notify"],"conditions":[`+tt.condition+`]}]}`)
		got, err := rules.Decide(pdu(t, tt.typ, tt.sender, tt.content), room{2})
		if err != nil || got.Notify != tt.want {
			t.Errorf("%s on %s: %+v, %v", tt.condition, tt.content, got, err)
		}
	}
}

// The first rule that matches decides: override, content, room, sender,
// underride. Disabled rules do not count.
func TestOrder(t *testing.T) {
	rules := compile(t, `{
		"override":[{"rule_id":"off","enabled":false,"actions":[],"conditions":[]},
			{"rule_id":"silent","enabled":true,"actions":[],"conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}]}],
		"content":[{"rule_id":"word","enabled":true,"actions":["notify",{"set_tweak":"highlight"}],"pattern":"ping"}],
		"room":[{"rule_id":"!r:x","enabled":true,"actions":["notify"]}],
		"sender":[{"rule_id":"@b:x","enabled":true,"actions":[]}],
		"underride":[{"rule_id":"never reached","enabled":true,"actions":[],"conditions":[]}]}`)
	for content, want := range map[string]pushmatch.Outcome{
		`{"msgtype":"m.notice","body":"ping"}`: {},
		`{"body":"Ping, please"}`:              {Notify: true, Highlight: true},
		`{"body":"x"}`:                         {Notify: true},
	} {
		if got, err := rules.Decide(pdu(t, "m.room.message", "@b:x", content), room{3}); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", content, got, err, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	rules := compile(b, `{"override":[
		{"rule_id":"1","enabled":true,"actions":[],"conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}]},
		{"rule_id":"2","enabled":true,"actions":["notify"],"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"@a:x"}]}],
		"underride":[{"rule_id":"3","enabled":true,"actions":["notify"],"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.message"}]}]}`)
	e := pdu(b, "m.room.message", "@b:x", `{"body":"a message of some length, as people write them","msgtype":"m.text"}`)
	for b.Loop() {
		if got, err := rules.Decide(e, room{2}); err != nil || !got.Notify {
			b.Fatal(got, err)
		}
	}
}
