package event_test

import (
	"encoding/json"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// joinTemplate is what a resident server answers to make_join.
func joinTemplate(t testing.TB, rules *event.Rules) (json.RawMessage, *event.Draft) {
	t.Helper()
	d := member(rules, "@alice:a.example", `{"join_authorised_via_users_server":"@admin:c.example","membership":"join"}`)
	raw, err := d.Template(rules)
	if err != nil {
		t.Fatal(err)
	}
	return raw, d
}

func expectJoin(d *event.Draft) event.Expected {
	return event.Expected{Room: d.Room, User: "@alice:a.example", Membership: "join"}
}

// TestTemplate goes the way of a join: the resident server writes a template,
// the joining server checks, completes and signs it.
//
// Spec: server-server-api/#joining-rooms
func TestTemplate(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		raw, d := joinTemplate(t, rules)
		for _, absent := range []string{"event_id", "hashes", "signatures", "unsigned"} {
			if event.Value(raw).Get(absent) != nil {
				t.Errorf("the template has %s", absent)
			}
		}
		raw = edit(t, raw, map[string]any{
			"unsigned": map[string]any{"x": 1}, "event_id": 5, "hashes": 5, "signatures": 5, "origin": "c.example", "extra": true,
			"content": map[string]any{
				"membership": "join", "join_authorised_via_users_server": "@admin:c.example", "displayname": "Put into her mouth",
			},
		})
		got, err := event.ParseTemplate(rules, raw, expectJoin(d))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"join_authorised_via_users_server":"@admin:c.example","membership":"join"}`
		if !rules.RestrictedJoins {
			want = `{"membership":"join"}`
		}
		if string(got.Content) != want {
			t.Errorf("content %s, want %s", got.Content, want)
		}
		got.EventID, got.Timestamp = d.EventID, d.Timestamp
		d.Content = got.Content
		same(t, build(t, rules, got), build(t, rules, d))
	})
}

func TestTemplateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		kind    fault.Kind
	}{
		"another room":       {map[string]any{"room_id": "!other:a.example"}, fault.BadJSON},
		"another sender":     {map[string]any{"sender": "@mallory:a.example"}, fault.BadJSON},
		"another target":     {map[string]any{"state_key": "@bob:b.example"}, fault.BadJSON},
		"another type":       {map[string]any{"type": "m.room.power_levels"}, fault.BadJSON},
		"another membership": {map[string]any{"content": map[string]any{"membership": "leave"}}, fault.BadJSON},
		"no membership":      {map[string]any{"content": map[string]any{}}, fault.BadJSON},
		"no state key":       {map[string]any{"state_key": nil}, fault.BadJSON},
		"no content":         {map[string]any{"content": nil}, fault.BadJSON},
		"no depth":           {map[string]any{"depth": nil}, fault.BadJSON},
		"no auth events":     {map[string]any{"auth_events": nil}, fault.BadJSON},
		"bad depth":          {map[string]any{"depth": -1}, fault.BadJSON},
		"bad prev events":    {map[string]any{"prev_events": []int{1}}, fault.BadJSON},
		"a list":             {map[string]any{"content": []int{}}, fault.BadJSON},
		"an authoriser who is no user": {map[string]any{"content": map[string]any{
			"membership": "join", "join_authorised_via_users_server": "admin",
		}}, fault.InvalidParam},
	} {
		rules := rulesOf(t, "10")
		raw, d := joinTemplate(t, rules)
		_, err := event.ParseTemplate(rules, edit(t, raw, c.changes), expectJoin(d))
		if !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rules := rulesOf(t, "12")
	_, d := joinTemplate(t, rules)
	for _, raw := range []string{``, `[]`, `{}`, `{"type":1}`} {
		if _, err := event.ParseTemplate(rules, []byte(raw), expectJoin(d)); !fault.Is(err, fault.BadJSON) {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if _, err := event.ParseTemplate(rules, make([]byte, 65*event.MaxSize), expectJoin(d)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("far too large: %v", err)
	}
}

func TestTemplateOfABadDraft(t *testing.T) {
	rules := rulesOf(t, "12")
	d := message(rules)
	d.Sender = "alice"
	_, err := d.Template(rules)
	wantKind(t, err, fault.InvalidParam)
	d = message(rules)
	d.Content = json.RawMessage(`[]`)
	_, err = d.Template(rules)
	wantKind(t, err, fault.BadJSON)
}
