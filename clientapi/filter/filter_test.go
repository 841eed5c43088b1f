package filter_test

import (
	"path"
	"strings"
	"testing"

	"entente/clientapi/filter"
	"entente/internal/fault"
	"entente/roomserver/event"
)

func pdu(t *testing.T, raw string) *event.PDU {
	t.Helper()
	rules, _ := event.RulesOf("11")
	p, err := event.Trusted(rules, "$e", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Each field of a filter leaves out what it should, and a list that is there
// but empty admits nothing.
func TestAdmits(t *testing.T) {
	message := pdu(t, `{"content":{"body":"b"},"room_id":"!r:x","sender":"@a:x","type":"m.room.message"}`)
	image := pdu(t, `{"content":{"url":"mxc://x/y"},"room_id":"!r:x","sender":"@b:x","type":"m.room.message"}`)
	topic := pdu(t, `{"content":{},"room_id":"!r:x","sender":"@a:x","state_key":"","type":"m.room.topic"}`)
	for _, tt := range []struct{ filter, admits string }{
		{``, "mit"}, {`{}`, "mit"},
		{`{"types":["m.room.message"]}`, "mi"}, {`{"types":[]}`, ""}, {`{"types":["m.room.*"]}`, "mit"}, {`{"types":["*topic"]}`, "t"},
		{`{"not_types":["m.room.message"]}`, "t"}, {`{"types":["*"],"not_types":["m.*.message"]}`, "t"}, {`{"not_types":[]}`, "mit"},
		{`{"senders":["@a:x"]}`, "mt"}, {`{"not_senders":["@a:x"]}`, "i"}, {`{"senders":["@a:x"],"not_senders":["@a:x"]}`, ""}, {`{"senders":[]}`, ""},
		{`{"contains_url":true}`, "i"}, {`{"contains_url":false}`, "mt"},
		{`{"contains_url":false,"types":["m.room.message"]}`, "m"},
	} {
		f, err := filter.ParseRoom(tt.filter)
		if err != nil {
			t.Fatalf("%s: %v", tt.filter, err)
		}
		var got strings.Builder
		for _, e := range []struct {
			name string
			pdu  *event.PDU
		}{{"m", message}, {"i", image}, {"t", topic}} {
			if f.Admits(e.pdu) {
				got.WriteString(e.name)
			}
		}
		if got.String() != tt.admits {
			t.Errorf("%s admits %q, want %q", tt.filter, got.String(), tt.admits)
		}
		if f.Everything() && tt.admits != "mit" {
			t.Errorf("%s says that it admits everything", tt.filter)
		}
	}
}

// Rooms are chosen by two lists, of which the one that excludes wins.
func TestAdmitsRoom(t *testing.T) {
	for text, want := range map[string]bool{
		``: true, `{}`: true, `{"rooms":["!r:x"]}`: true, `{"rooms":["!s:x"]}`: false, `{"rooms":[]}`: false,
		`{"not_rooms":["!r:x"]}`: false, `{"rooms":["!r:x"],"not_rooms":["!r:x"]}`: false, `{"not_rooms":["!s:x"]}`: true,
	} {
		f, err := filter.ParseRoom(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.AdmitsRoom("!r:x"); got != want {
			t.Errorf("%s admits the room: %v, want %v", text, got, want)
		}
	}
}

// What is not a filter is the caller's mistake.
func TestMalformedFilters(t *testing.T) {
	for _, text := range []string{`[]`, `"x"`, `{`, `{"types":"m.room.message"}`, `{"limit":"many"}`, `{"contains_url":1}`} {
		if _, err := filter.ParseRoom(text); !fault.Is(err, fault.BadJSON) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Wildcards agree with path.Match where that can be asked: on texts without
// slashes, and patterns that hold no other wildcard of its.
func FuzzMatch(f *testing.F) {
	f.Add("m.room.*", "m.room.message")
	f.Add("*a*b*", "xaybz")
	f.Add("a*a", "a")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		got := filter.Match(pattern, text)
		if strings.ContainsAny(pattern, `?[]\/`) || strings.Contains(text, "/") || len(pattern) > 20 || len(text) > 40 {
			return
		}
		want, err := path.Match(pattern, text)
		if err == nil && got != want {
			t.Errorf("Match(%q, %q) = %v", pattern, text, got)
		}
	})
}
