package event_test

import (
	"encoding/json"
	"testing"

	"entente/roomserver/event"
)

// TestRedactContent lists what stays of each protected type, by the version
// from which it stays (or, for aliases, until which).
//
// Spec: rooms/v1/#redactions, rooms/v6/#redactions, rooms/v8/#redactions,
// rooms/v9/#redactions, rooms/v11/#redactions
func TestRedactContent(t *testing.T) {
	type step struct {
		from event.Version
		want string
	}
	for _, c := range []struct {
		typ, content string
		steps        []step
	}{
		{"m.room.message", `{"body":"x","membership":"join"}`, []step{{"1", `{}`}}},
		{
			"m.room.member",
			`{"displayname":"A","join_authorised_via_users_server":"@b:c","membership":"join","reason":"x"}`,
			[]step{{"1", `{"membership":"join"}`}, {"9", `{"join_authorised_via_users_server":"@b:c","membership":"join"}`}},
		},
		{
			"m.room.member",
			`{"membership":"invite","third_party_invite":{"display_name":"A","signed":{"mxid":"@a:b","token":"t"}}}`,
			[]step{{"1", `{"membership":"invite"}`}, {"11", `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@a:b","token":"t"}}}`}},
		},
		{
			"m.room.member", `{"membership":"invite","third_party_invite":{"display_name":"A"}}`,
			[]step{{"1", `{"membership":"invite"}`}, {"11", `{"membership":"invite","third_party_invite":{}}`}},
		},
		{"m.room.member", `{"third_party_invite":"x"}`, []step{{"1", `{}`}}},
		{
			"m.room.create", `{"creator":"@a:b","m.federate":false,"room_version":"11"}`,
			[]step{{"1", `{"creator":"@a:b"}`}, {"11", `{"creator":"@a:b","m.federate":false,"room_version":"11"}`}},
		},
		{
			"m.room.join_rules", `{"allow":[],"join_rule":"restricted","x":1}`,
			[]step{{"1", `{"join_rule":"restricted"}`}, {"8", `{"allow":[],"join_rule":"restricted"}`}},
		},
		{
			"m.room.power_levels",
			`{"ban":1,"events":{},"events_default":2,"invite":3,"kick":4,"notifications":{},"redact":5,"state_default":6,"users":{"@a:b":7},"users_default":8}`,
			[]step{
				{"1", `{"ban":1,"events":{},"events_default":2,"kick":4,"redact":5,"state_default":6,"users":{"@a:b":7},"users_default":8}`},
				{"11", `{"ban":1,"events":{},"events_default":2,"invite":3,"kick":4,"redact":5,"state_default":6,"users":{"@a:b":7},"users_default":8}`},
			},
		},
		{"m.room.aliases", `{"aliases":["#a:b"],"x":1}`, []step{{"1", `{"aliases":["#a:b"]}`}, {"6", `{}`}}},
		{"m.room.history_visibility", `{"history_visibility":"joined","x":1}`, []step{{"1", `{"history_visibility":"joined"}`}}},
		{"m.room.redaction", `{"reason":"x","redacts":"$e"}`, []step{{"1", `{}`}, {"11", `{"redacts":"$e"}`}}},
	} {
		want := ""
		for _, v := range event.SupportedVersions() {
			for _, s := range c.steps {
				if s.from == v {
					want = s.want
				}
			}
			if got := rulesOf(t, v).RedactContent(c.typ, event.Value(c.content)); string(got) != want {
				t.Errorf("version %s: %s %s becomes %s, want %s", v, c.typ, c.content, got, want)
			}
		}
	}
}

// TestRedactFields: version 11 drops three historical fields.
func TestRedactFields(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		p := build(t, rules, message(rules))
		with := parse(t, rules, edit(t, p.JSON(), map[string]any{
			"membership": "x", "origin": "a.example", "prev_state": []any{}, "redacts": "$x", "anything": 1,
		}))
		value := event.Value(with.JSON())
		for field, kept := range map[string]bool{
			"membership": !rules.UpdatedRedaction, "origin": !rules.UpdatedRedaction, "prev_state": !rules.UpdatedRedaction,
			"redacts": false, "anything": false, "auth_events": true, "content": true, "depth": true,
			"event_id": rules.EventIDInBody, "hashes": true, "origin_server_ts": true, "prev_events": true,
			"room_id": true, "sender": true, "signatures": true, "type": true,
		} {
			if got := value.Get(field) != nil; got != kept {
				t.Errorf("%s: kept is %v, want %v", field, got, kept)
			}
		}
	})
}

func TestRedactIsIdempotentAndKeepsIdentity(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		for _, d := range []*event.Draft{
			message(rules),
			member(rules, "@alice:a.example", `{"membership":"join","displayname":"Alice"}`),
		} {
			p := build(t, rules, d)
			redacted := p.Redact()
			if p.Redacted() || !redacted.Redacted() || redacted.Redact() != redacted {
				t.Error("the flag is wrong")
			}
			if string(redacted.SignedBytes()) != string(p.SignedBytes()) || redacted.ID() != p.ID() {
				t.Error("redaction changes what is signed")
			}
			same(t, parse(t, rules, redacted.JSON()), redacted)
		}
	})
}

// TestRedacts finds the target where the version puts it.
func TestRedacts(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		d := message(rules)
		d.Type, d.Redacts, d.Content = "m.room.redaction", "$target", json.RawMessage(`{"reason":"x","redacts":"$other"}`)
		p := build(t, rules, d)
		outside, inside := `{"reason":"x","redacts":"$other"}`, `{"reason":"x","redacts":"$target"}`
		top, _ := event.Value(p.JSON()).Get("redacts").Str()
		switch content := string(p.Content()); {
		case p.Redacts() != "$target":
			t.Errorf("redacts %s", p.Redacts())
		case rules.UpdatedRedaction && (content != inside || top != ""):
			t.Errorf("content %s, beside it %q", content, top)
		case !rules.UpdatedRedaction && (content != outside || top != "$target"):
			t.Errorf("content %s, beside it %q", content, top)
		}
		d.Type = "m.room.message"
		if got := build(t, rules, d).Redacts(); got != "" {
			t.Errorf("a message redacts %s", got)
		}
	})
}
