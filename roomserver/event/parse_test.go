package event_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

func TestParseKeepsWhatWasBuilt(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		built := build(t, rules, member(rules, "@alice:a.example", `{"membership":"join"}`))
		parsed := parse(t, rules, built.JSON())
		same(t, parsed, built)
		if parsed.Redacted() || parsed.Membership() != "join" || !parsed.IsState("m.room.member", "@alice:a.example") {
			t.Errorf("parsed as %s %v", parsed.Membership(), parsed.Redacted())
		}
		trusted, err := event.Trusted(rules, built.ID(), built.JSON())
		if err != nil {
			t.Fatal(err)
		}
		same(t, trusted, built)
		if size := trusted.Size(); size < len(built.JSON()) || size > len(built.JSON())+600 {
			t.Errorf("size %d for %d bytes", size, len(built.JSON()))
		}
	})
}

// TestParseIgnores: unsigned is nobody's word, and event IDs of version 3 and
// later come from the hash, whatever the event claims.
func TestParseIgnores(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		built := build(t, rules, message(rules))
		changes := map[string]any{"unsigned": map[string]any{"age": 1, "deep": strings.Repeat("x", event.MaxSize)}}
		if !rules.EventIDInBody {
			changes["event_id"] = "$forged:evil.example"
		}
		same(t, parse(t, rules, edit(t, built.JSON(), changes)), built)
	})
}

// TestParseRedactsOnHashMismatch. Spec:
// server-server-api/#validating-hashes-and-signatures-on-received-events
func TestParseRedactsOnHashMismatch(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		built := build(t, rules, message(rules))
		for name, changes := range map[string]map[string]any{
			"other content": {"content": map[string]any{"body": "forged"}},
			"new field":     {"extra": true},
		} {
			parsed := parse(t, rules, edit(t, built.JSON(), changes))
			if !parsed.Redacted() || parsed.ID() != built.ID() || string(parsed.Content()) != `{}` {
				t.Errorf("%s: redacted %v, ID %s, content %s", name, parsed.Redacted(), parsed.ID(), parsed.Content())
			}
			same(t, parsed, built.Redact())
		}
		for name, hash := range map[string]string{
			"another hash": strings.Repeat("A", 43), "no base64": "***", "too short": "AAAA", "empty": "",
		} {
			parsed := parse(t, rules, edit(t, built.JSON(), map[string]any{"hashes": map[string]any{"sha256": hash}}))
			if !parsed.Redacted() {
				t.Errorf("%s: passes for whole", name)
			}
		}
		redacted := parse(t, rules, built.Redact().JSON())
		same(t, redacted, built.Redact())
	})
}

// TestParseAcceptsPaddedHash. Spec: appendices/#unpadded-base64
func TestParseAcceptsPaddedHash(t *testing.T) {
	rules := rulesOf(t, "11")
	built := build(t, rules, message(rules))
	hash, _ := event.Value(built.JSON()).Get("hashes").Get("sha256").Str()
	if parse(t, rules, edit(t, built.JSON(), map[string]any{"hashes": map[string]any{"sha256": hash + "="}})).Redacted() {
		t.Error("a padded hash is not accepted")
	}
}

// TestParseRefuses tries every field in every wrong way, in every version.
func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	ids := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("$%043d", i)
		}
		return list
	}
	for _, c := range []struct {
		name    string
		changes map[string]any
		kind    fault.Kind
		only    func(*event.Rules) bool
	}{
		{"no sender", map[string]any{"sender": nil}, fault.BadJSON, nil},
		{"no type", map[string]any{"type": nil}, fault.BadJSON, nil},
		{"no room", map[string]any{"room_id": nil}, fault.BadJSON, nil},
		{"no content", map[string]any{"content": nil}, fault.BadJSON, nil},
		{"no depth", map[string]any{"depth": nil}, fault.BadJSON, nil},
		{"no hashes", map[string]any{"hashes": nil}, fault.BadJSON, nil},
		{"no signatures", map[string]any{"signatures": nil}, fault.BadJSON, nil},
		{"no timestamp", map[string]any{"origin_server_ts": nil}, fault.BadJSON, nil},
		{"no auth events", map[string]any{"auth_events": nil}, fault.BadJSON, nil},
		{"no prev events", map[string]any{"prev_events": nil}, fault.BadJSON, nil},
		{"no event ID", map[string]any{"event_id": nil}, fault.BadJSON, inBody},
		{"type is a number", map[string]any{"type": 5}, fault.BadJSON, nil},
		{"state key is null", map[string]any{"state_key": json.RawMessage("null")}, fault.BadJSON, nil},
		{"content is a list", map[string]any{"content": []int{}}, fault.BadJSON, nil},
		{"content is null", map[string]any{"content": json.RawMessage("null")}, fault.BadJSON, nil},
		{"depth is a string", map[string]any{"depth": "7"}, fault.BadJSON, nil},
		{"depth is negative", map[string]any{"depth": -1}, fault.BadJSON, nil},
		{"depth is a fraction", map[string]any{"depth": 1.5}, fault.BadJSON, nil},
		{"depth beyond 2^63", map[string]any{"depth": json.RawMessage("9223372036854775808")}, fault.BadJSON, nil},
		{"depth beyond 2^53", map[string]any{"depth": json.RawMessage("9007199254740992")}, fault.BadJSON, strict},
		{"timestamp is a string", map[string]any{"origin_server_ts": "1"}, fault.BadJSON, nil},
		{"hashes is a string", map[string]any{"hashes": "x"}, fault.BadJSON, nil},
		{"no SHA-256", map[string]any{"hashes": map[string]any{"sha1": "x"}}, fault.BadJSON, nil},
		{"signatures is a list", map[string]any{"signatures": []int{}}, fault.BadJSON, nil},
		{"signatures of strings", map[string]any{"signatures": map[string]any{"a.example": "x"}}, fault.BadJSON, nil},
		{"signatures of numbers", map[string]any{"signatures": map[string]any{"a.example": map[string]int{"ed25519:1": 1}}}, fault.BadJSON, nil},
		{"prev events is an object", map[string]any{"prev_events": map[string]any{}}, fault.BadJSON, nil},
		{"prev events of numbers", map[string]any{"prev_events": []int{1}}, fault.BadJSON, nil},
		{"21 prev events", map[string]any{"prev_events": ids(21)}, fault.BadJSON, hashed},
		{"11 auth events", map[string]any{"auth_events": ids(11)}, fault.BadJSON, hashed},
		{"prev events of no events", map[string]any{"prev_events": []string{"x"}}, fault.InvalidParam, hashed},
		{"prev events in the old form", map[string]any{"prev_events": [][]any{{"$x", map[string]any{}}}}, fault.BadJSON, hashed},
		{"prev events in the new form", map[string]any{"prev_events": []string{"$x:a.example"}}, fault.BadJSON, inBody},
		{"prev events without hashes", map[string]any{"prev_events": [][]any{{"$x:a.example"}}}, fault.BadJSON, inBody},
		{"prev events of triples", map[string]any{"prev_events": [][]any{{"$x:a.example", map[string]any{}, 1}}}, fault.BadJSON, inBody},
		{"sender without sigil", map[string]any{"sender": "alice:a.example"}, fault.InvalidParam, nil},
		{"sender without server", map[string]any{"sender": "@alice"}, fault.InvalidParam, nil},
		{"sender of a bad server", map[string]any{"sender": "@alice:a example"}, fault.InvalidParam, nil},
		{"sender too long", map[string]any{"sender": "@" + long + ":a.example"}, fault.TooLarge, nil},
		{"room without sigil", map[string]any{"room_id": "room:a.example"}, fault.InvalidParam, nil},
		{"room without server", map[string]any{"room_id": "!room"}, fault.InvalidParam, nil},
		{"room with server", map[string]any{"room_id": "!room:a.example"}, fault.InvalidParam, domainless},
		{"room is a hash", map[string]any{"room_id": "!" + long[:43]}, fault.InvalidParam, func(r *event.Rules) bool { return !domainless(r) }},
		{"room too long", map[string]any{"room_id": "!" + long + ":a.example"}, fault.TooLarge, nil},
		{"type too long", map[string]any{"type": long}, fault.TooLarge, nil},
		{"state key too long", map[string]any{"state_key": long}, fault.TooLarge, nil},
		{"state key too long in bytes", map[string]any{"state_key": strings.Repeat("é", 128)}, fault.TooLarge, nil},
		{"NUL in the type", map[string]any{"type": "a\x00b"}, fault.BadJSON, nil},
		{"NUL in the state key", map[string]any{"state_key": "a\x00b"}, fault.BadJSON, nil},
		{"event ID without server", map[string]any{"event_id": "$x"}, fault.InvalidParam, inBody},
		{"event ID too long", map[string]any{"event_id": "$" + long + ":a.example"}, fault.TooLarge, inBody},
		{"too large", map[string]any{"content": map[string]any{"body": strings.Repeat("x", event.MaxSize)}}, fault.TooLarge, nil},
		{"a float", map[string]any{"content": map[string]any{"x": 1.5}}, fault.BadJSON, strict},
		{"a big integer", map[string]any{"content": map[string]any{"x": json.RawMessage("9007199254740992")}}, fault.BadJSON, strict},
		{"an exponent", map[string]any{"content": json.RawMessage(`{"x":1e3}`)}, fault.BadJSON, strict},
		{"a key twice", map[string]any{"content": json.RawMessage(`{"x":1,"y":2,"x":3}`)}, fault.BadJSON, nil},
		{"half a surrogate", map[string]any{"content": json.RawMessage(`{"x":"\ud800"}`)}, fault.BadJSON, nil},
		{"not UTF-8", map[string]any{"content": json.RawMessage("{\"x\":\"\xff\"}")}, fault.BadJSON, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, rules *event.Rules) {
				if c.only != nil && !c.only(rules) {
					t.Skip("not of this version")
				}
				changes := c.changes
				_, err := event.Parse(rules, edit(t, build(t, rules, message(rules)).JSON(), changes))
				wantKind(t, err, c.kind)
			})
		})
	}
}

func inBody(r *event.Rules) bool     { return r.EventIDInBody }
func hashed(r *event.Rules) bool     { return !r.EventIDInBody }
func strict(r *event.Rules) bool     { return r.StrictCanonicalJSON }
func domainless(r *event.Rules) bool { return r.RoomIDIsCreateHash }

func TestParseRefusesWhatIsNoEvent(t *testing.T) {
	rules := rulesOf(t, "10")
	for _, raw := range []string{``, `null`, `[]`, `"x"`, `1`, `{}`, `{"type":"m.room.message"`, `{}{}`} {
		_, err := event.Parse(rules, []byte(raw))
		wantKind(t, err, fault.BadJSON)
	}
	_, err := event.Parse(rules, make([]byte, 65*event.MaxSize))
	wantKind(t, err, fault.TooLarge)
}

// TestSizeLimitIsExact. Spec: client-server-api/#size-limits
func TestSizeLimitIsExact(t *testing.T) {
	rules, d := rulesOf(t, "11"), message(rulesOf(t, "11"))
	d.Content = json.RawMessage(`{"body":""}`)
	room := event.MaxSize - len(build(t, rules, d).JSON())
	d.Content = json.RawMessage(`{"body":"` + strings.Repeat("x", room) + `"}`)
	largest := build(t, rules, d)
	if len(largest.JSON()) != event.MaxSize {
		t.Fatalf("%d bytes", len(largest.JSON()))
	}
	same(t, parse(t, rules, largest.JSON()), largest)
	d.Content = json.RawMessage(`{"body":"` + strings.Repeat("x", room+1) + `"}`)
	_, err := d.Build(rules, signerOf("a.example"))
	wantKind(t, err, fault.TooLarge)
}

// TestHistoricalSender: any characters but ':' and NUL, or none at all.
//
// Spec: appendices/#historical-user-ids
func TestHistoricalSender(t *testing.T) {
	rules := rulesOf(t, "12")
	for _, sender := range []id.UserID{"@:a.example", "@Ålice Ünbound\n\"x\"\\:a.example", "@A!:a.example"} {
		d := message(rules)
		d.Sender = sender
		if p := parse(t, rules, build(t, rules, d).JSON()); p.Sender() != sender || p.Redacted() {
			t.Errorf("sender is %q, want %q", p.Sender(), sender)
		}
	}
}

// TestCreateOfVersion12: the room is named after its create event, which says
// nothing of it. Spec: rooms/v12/#event-format
func TestCreateOfVersion12(t *testing.T) {
	rules, key := rulesOf(t, "12"), ""
	d := &event.Draft{
		Type: "m.room.create", StateKey: &key, Sender: "@alice:a.example",
		Content: json.RawMessage(`{"room_version":"12"}`), Depth: 1, Timestamp: 1,
	}
	create := build(t, rules, d)
	if want := "!" + string(create.ID()[1:]); string(create.RoomID()) != want || !rules.ValidRoomID(create.RoomID()) {
		t.Errorf("room ID %s, want %s", create.RoomID(), want)
	}
	same(t, parse(t, rules, create.JSON()), create)
	same(t, create.Redact(), create)
	_, err := event.Parse(rules, edit(t, create.JSON(), map[string]any{"room_id": string(create.RoomID())}))
	wantKind(t, err, fault.BadJSON)
	d.Room = create.RoomID()
	_, err = d.Build(rules, signerOf("a.example"))
	wantKind(t, err, fault.InvalidParam)
}

// TestParseKeepsNothingOfItsInput: the caller may reuse the bytes.
func TestParseKeepsNothingOfItsInput(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		built := build(t, rules, message(rules))
		raw := append([]byte(nil), built.JSON()...)
		parsed := parse(t, rules, raw)
		for i := range raw {
			raw[i] = 'x'
		}
		same(t, parsed, built)
	})
}

func TestTrustedRefusesDamage(t *testing.T) {
	rules := rulesOf(t, "11")
	whole := build(t, rules, message(rules)).JSON()
	for _, raw := range []string{``, `{}`, `null`, `{"type":"x"}`, string(whole[:len(whole)/3])} {
		if _, err := event.Trusted(rules, "$x", []byte(raw)); !fault.Is(err, fault.Internal) {
			t.Errorf("%q gives %v", raw, err)
		}
	}
}
