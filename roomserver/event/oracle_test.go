package event_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"entente/roomserver/event"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"maunium.net/go/mautrix/id"
)

// The tests of this file hold this package to gomatrixserverlib over generated
// events. The generator avoids four things that the library gets wrong, which
// other tests hold to the specification: keys that need escapes, which it
// writes without (appendices/#canonical-json); negative fractions, which lose
// their sign; keys named twice, which it writes twice; and third_party_invite,
// whose key signed it redacts from version 11 on (rooms/v11/#redactions).

// generator makes random events of a room version.
type generator struct {
	*rand.Rand
	rules *event.Rules
}

var protectedTypes = []string{
	"m.room.member", "m.room.create", "m.room.join_rules", "m.room.power_levels",
	"m.room.aliases", "m.room.history_visibility", "m.room.redaction",
}

var protectedKeys = []string{
	"membership", "creator", "join_rule", "allow", "ban", "events", "events_default", "invite", "kick",
	"redact", "state_default", "users", "users_default", "aliases", "history_visibility", "redacts",
	"join_authorised_via_users_server", "displayname", "notifications", "m.federate", "room_version",
}

func (g generator) pick(list []string) string { return list[g.IntN(len(list))] }

// text makes a string of plain, escaped and non-ASCII characters.
func (g generator) text(n int) string {
	runes := []rune("abcXYZ012 -_.<>&'/\"\\\n\t\r\b\f\u0001\u001f\u007f\u00e9\u672c\u2028\ufffd\U0001f600")
	var b strings.Builder
	for range g.IntN(n + 1) {
		b.WriteRune(runes[g.IntN(len(runes))])
	}
	return b.String()
}

// key makes an object's key, without anything that needs an escape.
func (g generator) key() string {
	if g.IntN(3) == 0 {
		return g.pick(protectedKeys)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == '\\' {
			return 'k'
		}
		return r
	}, g.text(12))
}

func (g generator) value(depth int) any {
	switch n := g.IntN(8); {
	case n == 0 && depth > 0:
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.value(depth - 1)
		}
		return list
	case n <= 2 && depth > 0:
		return g.object(depth - 1)
	case n == 3:
		return g.Int64N(2*event.MaxInteger+1) - event.MaxInteger
	case n == 4:
		return g.IntN(200) - 100
	case n == 5:
		return []any{true, false, nil}[g.IntN(3)]
	default:
		return g.text(20)
	}
}

func (g generator) object(depth int) map[string]any {
	object := map[string]any{}
	for range g.IntN(7) {
		object[g.key()] = g.value(depth)
	}
	return object
}

func (g generator) refs(n int) []event.Ref {
	refs := make([]event.Ref, n)
	for i := range refs {
		opaque := fmt.Sprintf("%043d", g.Uint64())
		refs[i] = event.Ref{ID: id.EventID("$" + opaque), SHA256: opaque}
		if g.rules.EventIDInBody {
			refs[i].ID += ":b.example"
		}
	}
	return refs
}

func (g generator) draft() *event.Draft {
	content, err := json.Marshal(g.object(3))
	if err != nil {
		panic(err)
	}
	d := message(g.rules)
	d.Content, d.Type = content, g.text(20)+"t"
	d.Prev, d.Auth = g.refs(g.IntN(event.MaxPrevEvents+1)), g.refs(g.IntN(event.MaxAuthEvents+1))
	d.Depth, d.Timestamp = g.Int64N(event.MaxInteger), g.Int64N(event.MaxInteger)
	if g.IntN(2) == 0 {
		d.Type = g.pick(protectedTypes)
	}
	if g.IntN(2) == 0 {
		key := g.text(20)
		if g.IntN(2) == 0 {
			key = ""
		}
		d.StateKey = &key
	}
	if g.IntN(2) == 0 {
		d.Origin = "a.example"
	}
	if d.Type == "m.room.redaction" {
		d.Redacts = g.refs(1)[0].ID
	}
	if d.Type == "m.room.create" && g.rules.RoomIDIsCreateHash {
		key := ""
		d.StateKey, d.Room = &key, ""
	}
	return d
}

func libraryVersion(t *testing.T, rules *event.Rules) gomatrixserverlib.IRoomVersion {
	t.Helper()
	v, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(rules.Version))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func each(t *testing.T, n int, run func(t *testing.T, g generator, library gomatrixserverlib.IRoomVersion)) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		library := libraryVersion(t, rules)
		for seed := range uint64(n) {
			g := generator{rand.New(rand.NewPCG(seed, 1)), rules}
			run(t, g, library)
			if t.Failed() {
				t.Fatalf("with seed %d", seed)
			}
		}
	})
}

// TestBuildAgainstLibrary: what we build is the same event to the library,
// intact, signed, and redacted alike.
func TestBuildAgainstLibrary(t *testing.T) {
	each(t, 300, func(t *testing.T, g generator, library gomatrixserverlib.IRoomVersion) {
		signer := signerOf("a.example")
		ours := build(t, g.rules, g.draft())
		theirs, err := library.NewEventFromUntrustedJSON(ours.JSON())
		if err != nil {
			t.Fatalf("the library refuses %s: %v", ours.JSON(), err)
		}
		if theirs.Redacted() {
			t.Errorf("the library computes another content hash for %s", ours.JSON())
		}
		if got := string(ours.ID()); got != theirs.EventID() {
			t.Errorf("event ID %s, the library says %s", got, theirs.EventID())
		}
		if string(theirs.JSON()) != string(ours.JSON()) {
			t.Errorf("canonical JSON is\n%s, the library says\n%s", ours.JSON(), theirs.JSON())
		}
		redacted, err := library.RedactEventJSON(ours.JSON())
		if err != nil {
			t.Fatal(err)
		}
		if err := gomatrixserverlib.VerifyJSON("a.example", gomatrixserverlib.KeyID(signer.KeyID), publicKey(signer), redacted); err != nil {
			t.Errorf("the library does not accept the signature of %s: %v", ours.JSON(), err)
		}
		redacted = gomatrixserverlib.CanonicalJSONAssumeValid(redacted)
		if got := ours.Redact().JSON(); string(got) != string(redacted) {
			t.Errorf("redacted form is\n%s, the library says\n%s", got, redacted)
		}
		same(t, parse(t, g.rules, ours.JSON()), ours)
	})
}

// TestParseAgainstLibrary: what the library builds, we read alike, and what
// was tampered with, we redact alike.
func TestParseAgainstLibrary(t *testing.T) {
	each(t, 200, func(t *testing.T, g generator, library gomatrixserverlib.IRoomVersion) {
		d, signer := g.draft(), signerOf("a.example")
		builder := library.NewEventBuilderFromProtoEvent(&gomatrixserverlib.ProtoEvent{
			SenderID: string(d.Sender), RoomID: string(d.Room), Type: d.Type, StateKey: d.StateKey,
			PrevEvents: libraryRefs(d.Prev), AuthEvents: libraryRefs(d.Auth), Depth: d.Depth,
			Content: spec.RawJSON(d.Content),
		})
		if !g.rules.UpdatedRedaction {
			builder.Redacts = string(d.Redacts)
		}
		theirs, err := builder.Build(time.UnixMilli(d.Timestamp/1000), "a.example", gomatrixserverlib.KeyID(signer.KeyID), signer.Key)
		if err != nil {
			t.Fatalf("the library does not build: %v", err)
		}
		ours := parse(t, g.rules, edit(t, theirs.JSON(), map[string]any{"unsigned": g.object(2)}))
		if ours.Redacted() {
			t.Errorf("we compute another content hash for %s", theirs.JSON())
		}
		compareWithLibrary(t, ours, theirs)
		for s := range ours.Signatures() {
			if !s.Verify(ours.SignedBytes(), publicKey(signer)) {
				t.Errorf("the library's signature of %s does not verify", theirs.JSON())
			}
		}

		forged := edit(t, theirs.JSON(), map[string]any{"origin_server_ts": 5, "tampered": true})
		ours = parse(t, g.rules, forged)
		if theirs, err = library.NewEventFromUntrustedJSON(forged); err != nil {
			t.Fatal(err)
		}
		if !ours.Redacted() || !theirs.Redacted() {
			t.Errorf("a changed event passes for whole: %s", forged)
		}
		compareWithLibrary(t, ours, theirs)
	})
}

// libraryRefs are references as the library reads them from JSON.
func libraryRefs(refs []event.Ref) any {
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = string(ref.ID)
	}
	return ids
}

func compareWithLibrary(t *testing.T, ours *event.PDU, theirs gomatrixserverlib.PDU) {
	t.Helper()
	if string(ours.ID()) != theirs.EventID() {
		t.Errorf("event ID %s, the library says %s", ours.ID(), theirs.EventID())
	}
	if string(ours.JSON()) != string(theirs.JSON()) {
		t.Errorf("JSON is\n%s, the library says\n%s", ours.JSON(), theirs.JSON())
	}
	auth := theirs.AuthEventIDs()
	if ours.Rules().RoomIDIsCreateHash {
		auth = nil // the library adds the create event, or has none for it
		for _, a := range ours.AuthEvents() {
			auth = append(auth, string(a))
		}
	}
	if fmt.Sprint(ours.AuthEvents()) != fmt.Sprint(auth) || fmt.Sprint(ours.PrevEvents()) != fmt.Sprint(theirs.PrevEventIDs()) {
		t.Errorf("references are %v %v, the library says %v %v", ours.AuthEvents(), ours.PrevEvents(), auth, theirs.PrevEventIDs())
	}
	if room := theirs.RoomID(); string(ours.RoomID()) != room.String() {
		t.Errorf("room ID is %s, the library says %s", ours.RoomID(), room.String())
	}
}
