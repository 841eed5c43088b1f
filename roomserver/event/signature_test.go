package event_test

import (
	"fmt"
	"slices"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
	"github.com/matrix-org/gomatrixserverlib"
	"maunium.net/go/mautrix/id"
)

// TestSignJSONVectors. Spec: appendices/#json-signing
func TestSignJSONVectors(t *testing.T) {
	signer := vectorSigner(t)
	for in, want := range map[string]string{
		`{}`:                       `{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}`,
		`{"two": "Two", "one": 1}`: `{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}`,
	} {
		got, err := event.SignJSON([]byte(in), signer)
		if err != nil || string(got) != want {
			t.Errorf("%s becomes %s (%v), want %s", in, got, err, want)
		}
		if err := event.VerifyJSON(got, "domain", "ed25519:1", publicKey(signer)); err != nil {
			t.Errorf("verifying: %v", err)
		}
	}
}

// TestSignJSONKeepsOthers: unsigned and the signatures of others stay, are not
// covered, and ours replaces an older one of the same key.
func TestSignJSONKeepsOthers(t *testing.T) {
	a, b := signerOf("a.example"), signerOf("b.example")
	second := b
	second.KeyID = "ed25519:zwei"
	obj := []byte(`{"x":[1.5,123456789012345678901],"unsigned":{"age":1},"signatures":{"b.example":{"ed25519:auto":"old"}}}`)
	for _, s := range []event.Signer{b, a, second, b} {
		var err error
		if obj, err = event.SignJSON(obj, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []event.Signer{a, b, second} {
		if err := event.VerifyJSON(obj, s.Server, s.KeyID, publicKey(s)); err != nil {
			t.Errorf("%s %s: %v", s.Server, s.KeyID, err)
		}
		if err := gomatrixserverlib.VerifyJSON(s.Server, gomatrixserverlib.KeyID(s.KeyID), publicKey(s), obj); err != nil {
			t.Errorf("the library: %s %s: %v", s.Server, s.KeyID, err)
		}
	}
	if age, ok := event.Value(obj).Get("unsigned").Get("age").Int(); !ok || age != 1 {
		t.Errorf("unsigned is gone: %s", obj)
	}
}

func TestVerifyJSONRefuses(t *testing.T) {
	signer := signerOf("a.example")
	signed, err := event.SignJSON([]byte(`{"x":1}`), signer)
	if err != nil {
		t.Fatal(err)
	}
	key, other := publicKey(signer), publicKey(signerOf("b.example"))
	check := func(name string, got error, kind fault.Kind) {
		if !fault.Is(got, kind) {
			t.Errorf("%s: %v", name, got)
		}
	}
	check("another server", event.VerifyJSON(signed, "b.example", signer.KeyID, key), fault.Unauthorized)
	check("another key ID", event.VerifyJSON(signed, "a.example", "ed25519:x", key), fault.Unauthorized)
	check("another key", event.VerifyJSON(signed, "a.example", signer.KeyID, other), fault.Unauthorized)
	check("a short key", event.VerifyJSON(signed, "a.example", signer.KeyID, key[:31]), fault.Unauthorized)
	check("no object", event.VerifyJSON([]byte(`[]`), "a.example", signer.KeyID, key), fault.BadJSON)
	check("no JSON", event.VerifyJSON([]byte(`{`), "a.example", signer.KeyID, key), fault.BadJSON)
	check("changed", event.VerifyJSON(edit(t, signed, map[string]any{"x": 2}), "a.example", signer.KeyID, key), fault.Unauthorized)
	check("added", event.VerifyJSON(edit(t, signed, map[string]any{"y": 2}), "a.example", signer.KeyID, key), fault.Unauthorized)
	for _, signatures := range []any{
		"x", []int{}, map[string]any{"a.example": "x"}, map[string]any{"a.example": map[string]any{"ed25519:auto": 1}},
		map[string]any{"a.example": map[string]any{"ed25519:auto": ""}}, map[string]any{"a.example": map[string]any{"ed25519:auto": "AAAA"}},
	} {
		bad := edit(t, signed, map[string]any{"signatures": signatures})
		check(string(bad), event.VerifyJSON(bad, "a.example", signer.KeyID, key), fault.Unauthorized)
	}
}

// TestUnsignedIsNotCovered: anyone may add it. Spec: appendices/#signing-details
func TestUnsignedIsNotCovered(t *testing.T) {
	signer := signerOf("a.example")
	signed, err := event.SignJSON([]byte(`{"x":1}`), signer)
	if err != nil {
		t.Fatal(err)
	}
	with := edit(t, signed, map[string]any{"unsigned": map[string]any{"age": 2}})
	if err := event.VerifyJSON(with, "a.example", signer.KeyID, publicKey(signer)); err != nil {
		t.Error(err)
	}
}

// TestCountersign adds the invited server's signature to an invite.
func TestCountersign(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		invite := build(t, rules, member(rules, "@bob:b.example", `{"membership":"invite"}`))
		signed := invite.WithSignature(signerOf("b.example")).WithSignature(signerOf("Z.example")).WithSignature(signerOf("b.example"))
		var servers []string
		for s := range signed.Signatures() {
			servers = append(servers, s.Server)
			if !s.Verify(signed.SignedBytes(), publicKey(signerOf(s.Server))) {
				t.Errorf("the signature of %s is not valid", s.Server)
			}
			if s.Verify(append(signed.SignedBytes(), ' '), publicKey(signerOf(s.Server))) {
				t.Errorf("the signature of %s is always valid", s.Server)
			}
		}
		if !slices.Equal(servers, []string{"Z.example", "a.example", "b.example"}) {
			t.Errorf("signed by %v", servers)
		}
		if signed.ID() != invite.ID() || string(signed.SignedBytes()) != string(invite.SignedBytes()) {
			t.Error("signing changes the event")
		}
		same(t, parse(t, rules, signed.JSON()), signed)
		if canonical, err := event.Canonical(signed.JSON()); err != nil || string(canonical) != string(signed.JSON()) {
			t.Errorf("not canonical: %s", signed.JSON())
		}
	})
}

// TestSigningServers. Spec:
// server-server-api/#validating-hashes-and-signatures-on-received-events
func TestSigningServers(t *testing.T) {
	const thirdParty = `{"membership":"invite","third_party_invite":{"signed":{"token":"t"}}}`
	const authorised = `{"join_authorised_via_users_server":"@admin:c.example","membership":"join"}`
	for _, c := range []struct {
		name    string
		content string
		version event.Version
		eventID id.EventID
		want    []string
	}{
		{"a message", "", "12", "", []string{"a.example"}},
		{"an old message", "", "1", "$x:a.example", []string{"a.example"}},
		{"an old message of another server", "", "2", "$x:b.example", []string{"a.example", "b.example"}},
		{"an invite", `{"membership":"invite"}`, "10", "", []string{"a.example"}},
		{"a third-party invite", thirdParty, "10", "", nil},
		{"an old third-party invite", thirdParty, "1", "$x:b.example", []string{"b.example"}},
		{"a join that once was invited", `{"membership":"join","third_party_invite":{}}`, "10", "", []string{"a.example"}},
		{"a restricted join", authorised, "8", "", []string{"a.example", "c.example"}},
		{"before restricted joins", authorised, "7", "", []string{"a.example"}},
		{"authorised by its own server", `{"join_authorised_via_users_server":"@admin:a.example","membership":"join"}`, "12", "", []string{"a.example"}},
		{"authorised by nobody", `{"join_authorised_via_users_server":5,"membership":"join"}`, "12", "", []string{"a.example", ""}},
	} {
		rules := rulesOf(t, c.version)
		d := message(rules)
		if c.content != "" {
			d = member(rules, "@alice:a.example", c.content)
		}
		if c.eventID != "" {
			d.EventID = c.eventID
		}
		if got := build(t, rules, d).SigningServers(); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
