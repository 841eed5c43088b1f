package render_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"entente/clientapi/render"
	"entente/roomserver/event"
	"entente/storage"
)

func stored(t *testing.T, raw string) *storage.Event {
	t.Helper()
	rules, _ := event.RulesOf("11")
	pdu, err := event.Trusted(rules, "$x", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return &storage.Event{PDU: pdu}
}

// What unsigned says is what the extra holds, and no more.
func TestAppend(t *testing.T) {
	e := stored(t, `{"content":{"topic":"new"},"origin_server_ts":5,"room_id":"!r","sender":"@a:x","state_key":"","type":"m.room.topic"}`)
	old := stored(t, `{"content":{"topic":"old"},"origin_server_ts":4,"room_id":"!r","sender":"@a:x","state_key":"","type":"m.room.topic"}`)
	for _, tt := range []struct {
		name  string
		extra render.Extra
		want  string
	}{
		{"nothing", render.Extra{Age: -3}, `{"age":-3}`},
		{"the state before", render.Extra{Replaced: old}, `{"age":0,"prev_content":{"topic":"old"},"replaces_state":"$x"}`},
		{"the state before, which is hidden", render.Extra{Replaced: old, HidePrevious: true}, `{"age":0,"replaces_state":"$x"}`},
		{"a transaction of any name", render.Extra{Transaction: "a\"\u2028é", Membership: "join"}, `{"age":0,"membership":"join","transaction_id":"a\"\u2028é"}`},
		{"relations", render.Extra{Relations: json.RawMessage(`{"m.thread":{}}`)}, `{"age":0,"m.relations":{"m.thread":{}}}`},
	} {
		var got struct {
			Room     string          `json:"room_id"`
			Unsigned json.RawMessage `json:"unsigned"`
		}
		raw := render.Append(nil, e, &tt.extra, tt.name == "nothing")
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("%s: %s is no JSON: %v", tt.name, raw, err)
		}
		if string(got.Unsigned) != tt.want && !same(t, got.Unsigned, tt.want) {
			t.Errorf("%s: unsigned is %s, want %s", tt.name, got.Unsigned, tt.want)
		}
		if (got.Room == "") != (tt.name == "nothing") {
			t.Errorf("%s: the room is %q", tt.name, got.Room)
		}
	}
}

func same(t *testing.T, a []byte, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	ax, _ := json.Marshal(x)
	bx, _ := json.Marshal(y)
	return string(ax) == string(bx)
}

// A redaction shows at what it redacted, whole.
func TestAppendRedacted(t *testing.T) {
	e := stored(t, `{"content":{},"origin_server_ts":5,"room_id":"!r","sender":"@a:x","type":"m.room.message"}`)
	by := stored(t, `{"content":{"reason":"r","redacts":"$a"},"origin_server_ts":6,"room_id":"!r","sender":"@a:x","type":"m.room.redaction"}`)
	var got struct {
		Unsigned struct {
			Because struct {
				Type    string `json:"type"`
				Redacts string `json:"redacts"`
			} `json:"redacted_because"`
		} `json:"unsigned"`
	}
	if err := json.Unmarshal(render.Append(nil, e, &render.Extra{Because: by}, false), &got); err != nil {
		t.Fatal(err)
	}
	if got.Unsigned.Because.Type != "m.room.redaction" || got.Unsigned.Because.Redacts != "$a" {
		t.Errorf("it was redacted because of %+v", got.Unsigned.Because)
	}
}

// Any text becomes a JSON string that reads back as it was.
func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\n\x00\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		var got string
		if err := json.Unmarshal(render.AppendString(nil, text), &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if utf8.ValidString(text) && got != text {
			t.Errorf("%q reads back as %q", text, got)
		}
	})
}

// BenchmarkAppend renders a message for a client.
func BenchmarkAppend(b *testing.B) {
	rules, _ := event.RulesOf("11")
	pdu, err := event.Trusted(rules, "$x", []byte(`{"content":{"body":"hello","msgtype":"m.text"},"origin_server_ts":5,"room_id":"!r","sender":"@a:x","type":"m.room.message"}`))
	if err != nil {
		b.Fatal(err)
	}
	e, x := &storage.Event{PDU: pdu}, &render.Extra{Age: 5, Membership: "join"}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = render.Append(dst[:0], e, x, false)
	}
}
