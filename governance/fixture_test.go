package governance_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"entente/governance"
	"entente/internal/fault"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

const (
	ours   = "dhs.example"
	theirs = "dla.example"
	third  = "fema.example"
)

// noon is when tests decide, unless they say otherwise.
func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicKey(name string) ed25519.PublicKey { return key(name).Public().(ed25519.PublicKey) }

// newPolicy is a policy of our server.
func newPolicy(t testing.TB, mode governance.Mode, listed []string, agreements ...governance.Agreement) *governance.Policy {
	t.Helper()
	p, err := governance.NewPolicy(governance.Settings{ServerName: ours, Mode: mode, Listed: listed}, 1, agreements)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newEvent is an event of room version 11.
func newEvent(t testing.TB, sender id.UserID, typ string, stateKey *string, content any) *event.PDU {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := event.RulesOf("11")
	d := event.Draft{
		Room: "!room:" + ours, Type: typ, StateKey: stateKey, Sender: sender, Content: raw, Depth: 5,
		Timestamp: noon().UnixMilli(), Prev: []event.Ref{{ID: "$before"}}, Auth: []event.Ref{{ID: "$allows"}},
	}
	server := event.ServerOf(sender)
	pdu, err := d.Build(rules, event.Signer{Server: server, KeyID: "ed25519:1", Key: key(server)})
	if err != nil {
		t.Fatal(err)
	}
	return pdu
}

func state(key string) *string { return &key }

type object = map[string]any

// ruleOf is the rule of a refusal; empty for a permission.
func ruleOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var refusal *governance.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("the error is no refusal: %v", err)
	}
	kind := fault.Forbidden
	if refusal.Rule == governance.RuleStale {
		kind = fault.Unavailable
	}
	if !fault.Is(err, kind) || refusal.Explanation == "" {
		t.Errorf("a refusal that callers cannot read: %#v", refusal)
	}
	return refusal.Rule
}

func contains(body []byte, text string) bool { return bytes.Contains(body, []byte(text)) }
