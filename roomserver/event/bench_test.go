package event_test

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"entente/roomserver/event"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

// BenchmarkSign is the unit that the other benchmarks are read against: one
// Ed25519 signature over 500 bytes.
func BenchmarkSign(b *testing.B) {
	signer, message := signerOf("a.example"), make([]byte, 500)
	for b.Loop() {
		ed25519.Sign(signer.Key, message)
	}
}

func benchmarkEvent(b *testing.B) (*event.Rules, *event.PDU) {
	rules := rulesOf(b, event.DefaultVersion)
	return rules, build(b, rules, message(rules))
}

func BenchmarkBuild(b *testing.B) {
	rules, _ := benchmarkEvent(b)
	signer, draft := signerOf("a.example"), message(rules)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := draft.Build(rules, signer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse parses an event, checks its format and content hash and
// computes its ID.
func BenchmarkParse(b *testing.B) {
	rules, p := benchmarkEvent(b)
	b.SetBytes(int64(len(p.JSON())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Parse(rules, p.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseAndVerify checks the signature too.
func BenchmarkParseAndVerify(b *testing.B) {
	rules, p := benchmarkEvent(b)
	key := publicKey(signerOf("a.example"))
	b.ReportAllocs()
	for b.Loop() {
		parsed, err := event.Parse(rules, p.JSON())
		if err != nil {
			b.Fatal(err)
		}
		signed := parsed.SignedBytes()
		for s := range parsed.Signatures() {
			if !s.Verify(signed, key) {
				b.Fatal("not valid")
			}
		}
	}
}

func BenchmarkTrusted(b *testing.B) {
	rules, p := benchmarkEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Trusted(rules, p.ID(), p.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	_, p := benchmarkEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		p.Redact()
	}
}

func BenchmarkRedactContent(b *testing.B) {
	rules := rulesOf(b, event.DefaultVersion)
	content := event.Value(`{"avatar_url":"mxc://a.example/abc","displayname":"Alice","membership":"join"}`)
	b.ReportAllocs()
	for b.Loop() {
		rules.RedactContent("m.room.member", content)
	}
}

func BenchmarkClient(b *testing.B) {
	_, p := benchmarkEvent(b)
	buf := make([]byte, 0, 2048)
	fields := event.ClientFields{OmitRoomID: true, Unsigned: json.RawMessage(`{"age":12}`)}
	b.ReportAllocs()
	for b.Loop() {
		buf = p.AppendClient(buf[:0], fields)
	}
}

func BenchmarkMembership(b *testing.B) {
	rules := rulesOf(b, event.DefaultVersion)
	p := build(b, rules, member(rules, "@alice:a.example",
		`{"avatar_url":"mxc://a.example/abc","displayname":"Alice","membership":"join"}`))
	b.ReportAllocs()
	for b.Loop() {
		p.Membership()
	}
}

func BenchmarkSignJSON(b *testing.B) {
	_, p := benchmarkEvent(b)
	signer := signerOf("a.example")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.SignJSON(p.JSON(), signer); err != nil {
			b.Fatal(err)
		}
	}
}

// The library's own, for the decision record.

func BenchmarkLibraryBuild(b *testing.B) {
	rules, _ := benchmarkEvent(b)
	signer, d := signerOf("a.example"), message(rules)
	library, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(rules.Version))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		builder := library.NewEventBuilderFromProtoEvent(&gomatrixserverlib.ProtoEvent{
			SenderID: string(d.Sender), RoomID: string(d.Room), Type: d.Type,
			PrevEvents: libraryRefs(d.Prev), AuthEvents: libraryRefs(d.Auth), Depth: d.Depth, Content: spec.RawJSON(d.Content),
		})
		p, err := builder.Build(time.UnixMilli(d.Timestamp), "a.example", gomatrixserverlib.KeyID(signer.KeyID), signer.Key)
		if err != nil {
			b.Fatal(err)
		}
		p.EventID()
	}
}

func BenchmarkLibraryParse(b *testing.B) {
	rules, p := benchmarkEvent(b)
	library, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(rules.Version))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		theirs, err := library.NewEventFromUntrustedJSON(p.JSON())
		if err != nil {
			b.Fatal(err)
		}
		theirs.EventID()
	}
}
