package event_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"entente/roomserver/event"
)

// FuzzCanonical: what comes out is a fixed point that means what went in.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"b":[1,-0,1e3,"\u00e9\ud83d\ude00\/"],"a":{"\n":null,"\"":true}}`, `[1.5]`, `"\ud800"`, `{"a":1,"a":2}`, `[[[[{}]]]]`, `"a`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := event.Canonical(raw)
		walk(event.Value(raw), 4)
		if err != nil {
			return
		}
		if !json.Valid(raw) || !json.Valid(got) {
			t.Fatalf("%q becomes %q, one of which is not JSON", raw, got)
		}
		again, err := event.Canonical(got)
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%q becomes %q, then %q (%v)", raw, got, again, err)
		}
		var before, after any
		if json.Unmarshal(raw, &before) != nil || json.Unmarshal(got, &after) != nil {
			t.Fatalf("%q cannot be read", raw)
		}
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if !bytes.Equal(bytes.ReplaceAll(a, []byte("-0"), []byte("0")), bytes.ReplaceAll(b, []byte("-0"), []byte("0"))) {
			t.Fatalf("%q means %s, its canonical form %s", raw, a, b)
		}
	})
}

// FuzzParse: an event that is taken can be taken again, redacted, stored and
// shown, and stays itself.
func FuzzParse(f *testing.F) {
	for i, v := range event.SupportedVersions() {
		rules := rulesOf(f, v)
		p := build(f, rules, member(rules, "@alice:a.example", `{"membership":"join","x":[1,{"y":"\u0001"}]}`))
		f.Add(uint8(i), []byte(p.JSON()))
		f.Add(uint8(i), []byte(p.Redact().JSON()))
		f.Add(uint8(i), edit(f, p.JSON(), map[string]any{"unsigned": map[string]any{}, "type": "m.room.redaction"}))
	}
	f.Fuzz(func(t *testing.T, version uint8, raw []byte) {
		versions := event.SupportedVersions()
		rules := rulesOf(t, versions[int(version)%len(versions)])
		p, err := event.Parse(rules, raw)
		if err != nil {
			return
		}
		again, err := event.Parse(rules, p.JSON())
		if err != nil {
			t.Fatalf("%s is not taken again: %v", p.JSON(), err)
		}
		same(t, again, p)
		trusted, err := event.Trusted(rules, p.ID(), p.JSON())
		if err != nil {
			t.Fatal(err)
		}
		same(t, trusted, p)
		redacted := p.Redact()
		if !bytes.Equal(redacted.SignedBytes(), p.SignedBytes()) || redacted.ID() != p.ID() {
			t.Fatalf("redaction changes what is signed of %s", p.JSON())
		}
		p.SigningServers()
		if !json.Valid(p.AppendClient(nil, event.ClientFields{})) || !json.Valid(p.AppendStripped(nil)) {
			t.Fatalf("%s is shown as no JSON", p.JSON())
		}
		same(t, parse(t, rules, p.WithSignature(signerOf("z.example")).JSON()), p.WithSignature(signerOf("z.example")))
	})
}

func FuzzVerifyJSON(f *testing.F) {
	signer := signerOf("a.example")
	signed, err := event.SignJSON([]byte(`{"x":1.5,"unsigned":{}}`), signer)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{signed, []byte(`{"signatures":{"a.example":{"ed25519:auto":"AAAA"}}}`), []byte(`{"signatures":[]}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_ = event.VerifyJSON(raw, "a.example", signer.KeyID, publicKey(signer))
		mine, err := event.SignJSON(raw, signer)
		if err != nil {
			return
		}
		if err := event.VerifyJSON(mine, "a.example", signer.KeyID, publicKey(signer)); err != nil {
			t.Fatalf("our own signature of %q fails in %q: %v", raw, mine, err)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for i, v := range event.SupportedVersions() {
		raw, _ := joinTemplate(f, rulesOf(f, v))
		f.Add(uint8(i), []byte(raw))
	}
	f.Fuzz(func(t *testing.T, version uint8, raw []byte) {
		versions := event.SupportedVersions()
		rules := rulesOf(t, versions[int(version)%len(versions)])
		want := expectJoin(message(rules))
		d, err := event.ParseTemplate(rules, raw, want)
		if err != nil {
			return
		}
		d.EventID = "$mine:a.example"
		p := build(t, rules, d)
		if p.RoomID() != want.Room || p.Sender() != want.User || p.Membership() != "join" || parse(t, rules, p.JSON()).Redacted() {
			t.Fatalf("%q makes %s", raw, p.JSON())
		}
	})
}
