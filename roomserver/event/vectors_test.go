package event

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"
)

// TestEventSigningVectors signs the specification's example events, which are
// too incomplete for the public surface.
//
// Spec: appendices/#event-signing
func TestEventSigningVectors(t *testing.T) {
	seed, err := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	signer := Signer{Server: "domain", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}
	rules, _ := RulesOf("1")
	for _, c := range []struct{ name, event, hash, signature string }{
		{
			"minimal",
			`{"room_id":"!x:domain","sender":"@a:domain","origin":"domain","origin_server_ts":1000000,` +
				`"signatures":{},"hashes":{},"type":"X","content":{},"prev_events":[],"auth_events":[],"depth":3,` +
				`"unsigned":{"age_ts":1000000}}`,
			"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
			"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
		},
		{
			"with redactable content",
			`{"content":{"body":"Here is the message content"},"event_id":"$0:domain","origin":"domain",` +
				`"origin_server_ts":1000000,"type":"m.room.message","room_id":"!r:domain","sender":"@u:domain",` +
				`"signatures":{},"unsigned":{"age_ts":1000000}}`,
			"onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
			"Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := encoder{in: []byte(c.event), numbers: rules.numbers(), dropUnsigned: true}
			if err := e.objectDocument(); err != nil {
				t.Fatal(err)
			}
			sum := contentHash(e.out, e.members)
			if got := base64.RawStdEncoding.EncodeToString(sum[:]); got != c.hash {
				t.Errorf("content hash %s, want %s", got, c.hash)
			}
			hashed := setMember(nil, e.out, "hashes", Value(`{"sha256":"`+c.hash+`"}`))
			if got := signer.sign(appendRedacted(nil, rules, hashed, withoutSignatures)); got.Value != c.signature {
				t.Errorf("signature %s, want %s", got.Value, c.signature)
			}
		})
	}
}
