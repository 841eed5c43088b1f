package event_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// TestBuildVector builds the specification's smallest event by way of a draft.
//
// Spec: appendices/#event-signing
func TestBuildVector(t *testing.T) {
	d := event.Draft{
		Room: "!x:domain", Type: "X", Sender: "@a:domain", Content: json.RawMessage(`{}`),
		Depth: 3, Timestamp: 1_000_000, Origin: "domain",
	}
	want := `{"auth_events":[],"content":{},"depth":3,"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},` +
		`"origin":"domain","origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain",` +
		`"signatures":{"domain":{"ed25519:1":"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"}},"type":"X"}`
	for _, v := range []event.Version{"3", "4", "5", "6", "7", "8", "9", "10"} {
		p, err := d.Build(rulesOf(t, v), vectorSigner(t))
		if err != nil || string(p.JSON()) != want {
			t.Errorf("version %s: %s (%v)", v, p.JSON(), err)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	long := strings.Repeat("x", event.MaxIDSize+1)
	for _, c := range []struct {
		name   string
		change func(*event.Draft)
		kind   fault.Kind
		only   func(*event.Rules) bool
	}{
		{"no content", func(d *event.Draft) { d.Content = nil }, fault.BadJSON, nil},
		{"content is a list", func(d *event.Draft) { d.Content = json.RawMessage(`[]`) }, fault.BadJSON, nil},
		{"content is broken", func(d *event.Draft) { d.Content = json.RawMessage(`{"a":}`) }, fault.BadJSON, nil},
		{"content with a float", func(d *event.Draft) { d.Content = json.RawMessage(`{"a":1.5}`) }, fault.BadJSON, strict},
		{"content too large", func(d *event.Draft) {
			d.Content = json.RawMessage(`{"a":"` + strings.Repeat("x", event.MaxSize) + `"}`)
		}, fault.TooLarge, nil},
		{"no room", func(d *event.Draft) { d.Room = "" }, fault.InvalidParam, nil},
		{"no sender", func(d *event.Draft) { d.Sender = "" }, fault.InvalidParam, nil},
		{"no type", func(d *event.Draft) { d.Type = "" }, fault.InvalidParam, nil},
		{"type too long", func(d *event.Draft) { d.Type = long }, fault.TooLarge, nil},
		{"state key too long", func(d *event.Draft) { d.StateKey = &long }, fault.TooLarge, nil},
		{"NUL in the state key", func(d *event.Draft) { nul := "\x00"; d.StateKey = &nul }, fault.InvalidParam, nil},
		{"too many previous events", func(d *event.Draft) { d.Prev = make([]event.Ref, 21) }, fault.InvalidParam, nil},
		{"too many auth events", func(d *event.Draft) { d.Auth = make([]event.Ref, 11) }, fault.InvalidParam, nil},
		{"negative depth", func(d *event.Draft) { d.Depth = -1 }, fault.InvalidParam, nil},
		{"the far future", func(d *event.Draft) { d.Timestamp = math.MaxInt64 }, fault.InvalidParam, strict},
		{"no event ID", func(d *event.Draft) { d.EventID = "" }, fault.InvalidParam, inBody},
		{"event ID without server", func(d *event.Draft) { d.EventID = "$x" }, fault.InvalidParam, inBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, rules *event.Rules) {
				if c.only != nil && !c.only(rules) {
					t.Skip("not of this version")
				}
				d := message(rules)
				c.change(d)
				_, err := d.Build(rules, signerOf("a.example"))
				wantKind(t, err, c.kind)
			})
		})
	}
}

// TestDepthStopsAtTheLimit. Spec: rooms/v6/#event-format
func TestDepthStopsAtTheLimit(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		d := message(rules)
		d.Depth = math.MaxInt64
		p := build(t, rules, d)
		if p.Depth() != rules.MaxDepth() {
			t.Errorf("depth %d", p.Depth())
		}
		same(t, parse(t, rules, p.JSON()), p)
	})
}

// TestRefs: versions 1 and 2 refer to an event by its ID and its hash.
func TestRefs(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		first := build(t, rules, message(rules))
		if hashes := first.Ref().SHA256 != ""; hashes != rules.EventIDInBody {
			t.Errorf("reference %v", first.Ref())
		}
		d := message(rules)
		d.Prev = []event.Ref{first.Ref()}
		p := build(t, rules, d)
		if !equalIDs(p.PrevEvents(), []id.EventID{first.ID()}) || len(p.AuthEvents()) != 3 {
			t.Errorf("follows %v by %v", p.PrevEvents(), p.AuthEvents())
		}
		d.Prev, d.Auth = nil, nil
		if p = build(t, rules, d); len(p.PrevEvents())+len(p.AuthEvents()) != 0 {
			t.Errorf("follows %v by %v", p.PrevEvents(), p.AuthEvents())
		}
	})
}

// TestAccessorsDoNotShareCapacity: views end where they end.
func TestAccessorsDoNotShareCapacity(t *testing.T) {
	rules := rulesOf(t, "12")
	p := build(t, rules, message(rules))
	prev := p.PrevEvents()[0]
	_ = append(p.AuthEvents(), "$overwritten")
	_ = append(p.Content(), "overwritten"...)
	if p.PrevEvents()[0] != prev || p.Depth() != 7 {
		t.Error("appending to a view changes the event")
	}
}
