package event_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"entente/roomserver/event"
)

// TestClientFormat compares the rendering with the event's own fields, over
// generated events. Spec: client-server-api/#room-event-format
func TestClientFormat(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		for seed := range uint64(200) {
			g := generator{rand.New(rand.NewPCG(seed, 2)), rules}
			p := build(t, rules, g.draft())
			want := map[string]any{
				"content": json.RawMessage(p.Content()), "event_id": p.ID(), "origin_server_ts": p.Timestamp(),
				"room_id": p.RoomID(), "sender": p.Sender(), "type": p.Type(), "unsigned": map[string]int{"age": 5},
			}
			if key, ok := p.StateKey(); ok {
				want["state_key"] = key
			}
			if r := p.Redacts(); r != "" {
				content := map[string]json.RawMessage{}
				if err := json.Unmarshal(p.Content(), &content); err != nil {
					t.Fatal(err)
				}
				content["redacts"], _ = json.Marshal(r)
				want["redacts"], want["content"] = r, content
			}
			dst := []byte("before")
			got := bytes.TrimPrefix(p.AppendClient(dst, event.ClientFields{Unsigned: json.RawMessage(`{"age":5}`)}), dst)
			compareJSON(t, got, want)
			if canonical, err := event.Canonical(got); rules.StrictCanonicalJSON && (err != nil || !bytes.Equal(canonical, got)) {
				t.Errorf("the rendering is not canonical: %s", got)
			}
			delete(want, "room_id")
			delete(want, "unsigned")
			compareJSON(t, p.AppendClient(nil, event.ClientFields{OmitRoomID: true}), want)
		}
	})
}

func compareJSON(t *testing.T, got []byte, want any) {
	t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = event.Canonical(text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, text) {
		t.Fatalf("got\n%s, want\n%s", got, text)
	}
}

// TestStripped. Spec: client-server-api/#stripped-state
func TestStripped(t *testing.T) {
	rules := rulesOf(t, "12")
	p := build(t, rules, member(rules, "@alice:a.example", `{"membership":"join"}`))
	want := `{"content":{"membership":"join"},"sender":"@alice:a.example","state_key":"@alice:a.example","type":"m.room.member"}`
	if got := p.AppendStripped(nil); string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestRedactedRedaction has no target any more before version 11.
func TestRedactedRedaction(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		d := message(rules)
		d.Type, d.Redacts = "m.room.redaction", "$target"
		got := event.Value(build(t, rules, d).Redact().AppendClient(nil, event.ClientFields{}))
		for _, v := range []event.Value{got.Get("redacts"), got.Get("content").Get("redacts")} {
			if (v != nil) != rules.UpdatedRedaction {
				t.Errorf("%s", got)
			}
		}
	})
}
