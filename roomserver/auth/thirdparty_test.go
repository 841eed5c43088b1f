package auth_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// identity is an identity server with a key made from its name.
func identity(name string) event.Signer {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return event.Signer{Server: name, KeyID: "ed25519:0", Key: ed25519.NewKeyFromSeed(seed)}
}

func publicKey(s event.Signer, encoding *base64.Encoding) string {
	return encoding.EncodeToString(s.Key.Public().(ed25519.PublicKey))
}

// signed is the signed object of an invite, by the signers.
func signed(t testing.TB, object string, signers ...event.Signer) string {
	t.Helper()
	raw := []byte(object)
	for _, s := range signers {
		var err error
		if raw, err = event.SignJSON(raw, s); err != nil {
			t.Fatal(err)
		}
	}
	return string(raw)
}

func TestThirdPartyInvites(t *testing.T) {
	is, other := identity("is.example"), identity("other.example")
	good := `{"mxid":"` + stranger + `","token":"token"}`
	published := func(content string) func(*room) {
		return func(r *room) { r.set(state("m.room.third_party_invite", "token", alice, content)) }
	}
	one := published(`{"public_key":"` + publicKey(is, base64.RawStdEncoding) + `"}`)
	invite := func(sender, target, thirdParty string) func(*room) draft {
		return fixed(state("m.room.member", target, sender, fmt.Sprintf(`{"membership":"invite","third_party_invite":%s}`, thirdParty)))
	}
	by := func(signers ...event.Signer) string { return `{"signed":` + signed(t, good, signers...) + `}` }
	rule := func(n int) string {
		return strings.NewReplacer("N", fmt.Sprint(n)).Replace("5.3.1.N 5.3.1.N 4.3.1.N 4.3.1.N 4.4.1.N 4.4.1.N 4.4.1.N 5.4.1.N")
	}
	runCases(t, []ruleCase{
		{name: "A signed invite is allowed.", setup: one, event: invite(alice, stranger, by(is)), want: "ok"},
		{name: "One signature of several suffices.", setup: one, event: invite(alice, stranger, by(other, is)), want: "ok"},
		{name: "The key may be in the list.", want: "ok", event: invite(alice, stranger, by(is)),
			setup: published(`{"public_key":"` + publicKey(other, base64.RawStdEncoding) + `","public_keys":[{"public_key":"` + publicKey(is, base64.RawURLEncoding) + `"}]}`)},
		{name: "The key may be padded.", want: "ok", event: invite(alice, stranger, by(is)),
			setup: published(`{"public_key":"` + publicKey(is, base64.StdEncoding) + `"}`)},
		{name: "The banned are not invited.", setup: one, want: rule(1),
			event: invite(alice, outlaw, `{"signed":`+signed(t, `{"mxid":"`+outlaw+`","token":"token"}`, is)+`}`)},
		{name: "An invite without what was signed is refused.", setup: one, event: invite(alice, stranger, `{}`), want: rule(2)},
		{name: "A null third-party invite is one.", setup: one, event: invite(alice, stranger, `null`), want: rule(2)},
		{name: "The user must be signed.", setup: one, event: invite(alice, stranger, `{"signed":{"token":"token"}}`), want: rule(3)},
		{name: "The token must be signed.", setup: one, event: invite(alice, stranger, `{"signed":{"mxid":"`+stranger+`"}}`), want: rule(3)},
		{name: "The invite is for the signed user.", setup: one, event: invite(alice, former, by(is)), want: rule(4)},
		{name: "The token must be in the room.", event: invite(alice, stranger, by(is)), want: rule(5)},
		{name: "The invite is for its sender to follow up.", setup: one, event: invite(bob, stranger, by(is)), want: rule(6)},
		{name: "The key must be published.", setup: one, event: invite(alice, stranger, by(other)), want: rule(8)},
		{name: "There must be a signature.", setup: one, event: invite(alice, stranger, `{"signed":`+good+`}`), want: rule(8)},
		{name: "Something that is no key does not help.", setup: published(`{"public_key":"?","public_keys":[1,{"public_key":"AAAA"}]}`),
			event: invite(alice, stranger, by(is)), want: rule(8)},
		{name: "A forged signature is refused.", setup: one, want: rule(8),
			event: invite(alice, stranger, `{"signed":`+strings.Replace(signed(t, `{"mxid":"@x:c.example","token":"token"}`, is), "@x:c.example", stranger, 1)+`}`)},
		{name: "Signatures of another algorithm are none.", setup: one, want: rule(8),
			event: invite(alice, stranger, `{"signed":`+strings.Replace(by(is), "ed25519:0", "rsa:0", 1)[len(`{"signed":`):])},
	})
}

// An invite that pairs very many signatures with very many keys costs little.
func TestThirdPartyInviteIsBounded(t *testing.T) {
	rules := rulesOf(t, "12")
	r := newRoom(t, rules, "invite")
	is := identity("is.example")
	keys := strings.TrimSuffix(strings.Repeat(`{"public_key":"`+publicKey(identity("other.example"), base64.RawStdEncoding)+`"},`, 500), ",")
	r.set(state("m.room.third_party_invite", "token", alice, `{"public_keys":[`+keys+`,{"public_key":"`+publicKey(is, base64.RawStdEncoding)+`"}]}`))
	object := signed(t, `{"mxid":"`+stranger+`","token":"token"}`, is)
	content := `{"membership":"invite","third_party_invite":{"signed":` + object + `}}`
	if got := ruleOf(t, auth.Check(r.make(state("m.room.member", stranger, alice, content)), r.lookup)); got != "5.4.1.8" {
		t.Errorf("got %s", got)
	}
}

// Whatever the third-party invite is, it is allowed or refused.
func FuzzThirdPartyInvite(f *testing.F) {
	is := identity("is.example")
	f.Add([]byte(`{"signed":`+signed(f, `{"mxid":"`+stranger+`","token":"token"}`, is)+`}`), []byte(`{"public_key":"`+publicKey(is, base64.RawStdEncoding)+`"}`))
	f.Add([]byte(`{"signed":{"signatures":{"a":{"ed25519:0":1}}}}`), []byte(`{"public_keys":[[],{}]}`))
	f.Fuzz(func(t *testing.T, invite, published []byte) {
		invite, err := event.Canonical(invite)
		if err != nil {
			return
		}
		published, err = event.Canonical(published)
		if err != nil {
			return
		}
		r := newRoom(t, rulesOf(t, "12"), "invite")
		r.set(state("m.room.third_party_invite", "token", alice, string(published)))
		ev := r.make(state("m.room.member", stranger, alice, `{"membership":"invite","third_party_invite":`+string(invite)+`}`))
		ruleOf(t, auth.Check(ev, r.lookup))
		for _, k := range auth.Needed(ev.Rules(), ev.Type(), stranger, id.UserID(alice), ev.Content()) {
			if k.Type == "" {
				t.Fatal("a needed key has no type")
			}
		}
	})
}
