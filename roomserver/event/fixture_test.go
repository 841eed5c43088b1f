package event_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// vectorSigner is the key of the specification's test vectors.
//
// Spec: appendices/#cryptographic-test-vectors
func vectorSigner(t testing.TB) event.Signer {
	t.Helper()
	seed, err := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	return event.Signer{Server: "domain", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}
}

// signerOf is a signer of the server, with a key made from its name.
func signerOf(server string) event.Signer {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, server)
	return event.Signer{Server: server, KeyID: "ed25519:auto", Key: ed25519.NewKeyFromSeed(seed)}
}

func publicKey(s event.Signer) ed25519.PublicKey { return s.Key.Public().(ed25519.PublicKey) }

func rulesOf(t testing.TB, v event.Version) *event.Rules {
	t.Helper()
	rules, ok := event.RulesOf(v)
	if !ok {
		t.Fatalf("room version %s is unknown", v)
	}
	return rules
}

// eachVersion runs a test for every room version.
func eachVersion(t *testing.T, run func(t *testing.T, rules *event.Rules)) {
	for _, v := range event.SupportedVersions() {
		t.Run("v"+string(v), func(t *testing.T) { run(t, rulesOf(t, v)) })
	}
}

// message is a draft of an ordinary message that fits the room version.
func message(rules *event.Rules) *event.Draft {
	d := &event.Draft{
		Room: "!room:a.example", Type: "m.room.message", Sender: "@alice:a.example",
		Content: json.RawMessage(`{"body":"Good morning, everyone. Here is what happened.","msgtype":"m.text"}`),
		Prev:    []event.Ref{{ID: "$" + id.EventID(strings.Repeat("p", 43)), SHA256: strings.Repeat("A", 43)}},
		Auth: []event.Ref{
			{ID: "$" + id.EventID(strings.Repeat("a", 43)), SHA256: strings.Repeat("A", 43)},
			{ID: "$" + id.EventID(strings.Repeat("b", 43)), SHA256: strings.Repeat("A", 43)},
			{ID: "$" + id.EventID(strings.Repeat("c", 43)), SHA256: strings.Repeat("A", 43)},
		},
		Depth: 7, Timestamp: 1_700_000_000_000,
	}
	if rules.EventIDInBody {
		d.EventID = "$message:a.example"
	}
	if rules.RoomIDIsCreateHash {
		d.Room = "!" + id.RoomID(strings.Repeat("R", 43))
	}
	return d
}

// member is a draft of a membership event.
func member(rules *event.Rules, user id.UserID, content string) *event.Draft {
	d := message(rules)
	d.Type, d.Content = "m.room.member", json.RawMessage(content)
	key := string(user)
	d.StateKey = &key
	return d
}

func build(t testing.TB, rules *event.Rules, d *event.Draft) *event.PDU {
	t.Helper()
	p, err := d.Build(rules, signerOf(event.ServerOf(d.Sender)))
	if err != nil {
		t.Fatalf("building: %v", err)
	}
	return p
}

func parse(t testing.TB, rules *event.Rules, raw []byte) *event.PDU {
	t.Helper()
	p, err := event.Parse(rules, raw)
	if err != nil {
		t.Fatalf("parsing %s: %v", raw, err)
	}
	return p
}

// edit changes top-level fields of an event; nil removes one.
func edit(t testing.TB, raw []byte, changes map[string]any) []byte {
	t.Helper()
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if value == nil {
			delete(fields, name)
			continue
		}
		text, ok := value.(json.RawMessage)
		if !ok {
			var err error
			if text, err = json.Marshal(value); err != nil {
				t.Fatal(err)
			}
		}
		fields[name] = text
	}
	out := []byte{'{'}
	for name, value := range fields { // any order, and spelled as given
		if len(out) > 1 {
			out = append(out, ',')
		}
		key, _ := json.Marshal(name)
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}')
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if !fault.Is(err, kind) {
		t.Fatalf("error %q is of kind %d, want %d", err, fault.KindOf(err), kind)
	}
}

// same reports where two events differ in what their accessors say.
func same(t testing.TB, got, want *event.PDU) {
	t.Helper()
	gotKey, gotState := got.StateKey()
	wantKey, wantState := want.StateKey()
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"id", got.ID(), want.ID()},
		{"room", got.RoomID(), want.RoomID()},
		{"type", got.Type(), want.Type()},
		{"state key", gotKey, wantKey},
		{"is state", gotState, wantState},
		{"sender", got.Sender(), want.Sender()},
		{"depth", got.Depth(), want.Depth()},
		{"timestamp", got.Timestamp(), want.Timestamp()},
		{"content", string(got.Content()), string(want.Content())},
		{"redacts", got.Redacts(), want.Redacts()},
		{"JSON", string(got.JSON()), string(want.JSON())},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
		}
	}
	if !equalIDs(got.PrevEvents(), want.PrevEvents()) || !equalIDs(got.AuthEvents(), want.AuthEvents()) {
		t.Errorf("references are %v %v, want %v %v", got.PrevEvents(), got.AuthEvents(), want.PrevEvents(), want.AuthEvents())
	}
}

func equalIDs(a, b []id.EventID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
