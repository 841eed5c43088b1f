package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// pdu builds a message of a user on a signer's server.
func pdu(t testing.TB, version event.Version, s event.Signer, at time.Time, change ...func(*event.Draft)) *event.PDU {
	t.Helper()
	rules, ok := event.RulesOf(version)
	if !ok {
		t.Fatalf("no room version %s", version)
	}
	room := id.RoomID("!room:us.example")
	if rules.RoomIDIsCreateHash {
		room = "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	}
	prev := event.Ref{ID: "$prev:us.example", SHA256: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}
	d := &event.Draft{
		Room: room, Type: "m.room.message", Sender: id.UserID("@user:" + s.Server), Content: json.RawMessage(`{"body":"hi","msgtype":"m.text"}`),
		Prev: []event.Ref{prev}, Auth: []event.Ref{prev}, Depth: 7, Timestamp: at.UnixMilli(),
	}
	if rules.EventIDInBody {
		d.EventID = id.EventID("$event:" + s.Server)
	}
	for _, f := range change {
		f(d)
	}
	p, err := d.Build(rules, s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEventsOfEveryRoomVersionAreVerified(t *testing.T) {
	c := newClock()
	one, two := mustOwn(t, "one.example", c), mustOwn(t, "two.example", c)
	n := newNetwork(one, two)
	r := newRing(t, c, n)
	var pdus []*event.PDU
	var want []bool
	for _, version := range event.SupportedVersions() {
		forged := one.Signer()
		forged.Key = private(20)
		pdus = append(pdus, pdu(t, version, one.Signer(), c.now()), pdu(t, version, two.Signer(), c.now()), pdu(t, version, forged, c.now()))
		want = append(want, true, true, false)
	}
	for i, err := range r.VerifyPDUs(context.Background(), pdus) {
		if (err == nil) != want[i] || err != nil && !fault.Is(err, fault.Forbidden) {
			t.Errorf("event %d of version %s: %v, want good %v", i, pdus[i].Rules().Version, err, want[i])
		}
	}
	if n.count("one.example") != 1 || n.count("two.example") != 1 {
		t.Errorf("the peers were asked %d and %d times", n.count("one.example"), n.count("two.example"))
	}
	if errs := r.VerifyPDUs(context.Background(), nil); len(errs) != 0 {
		t.Errorf("no events give %v", errs)
	}
}

func TestAKeyMustBeValidAtTheTimeOfTheEvent(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	r := newRing(t, c, n)
	for _, test := range []struct {
		version event.Version
		after   time.Duration
		good    bool
	}{
		{"4", 0, true}, {"5", 0, true},
		{"4", -1000 * time.Hour, true}, {"5", -1000 * time.Hour, true},
		{"4", 1000 * time.Hour, true}, {"5", 1000 * time.Hour, false},
		{"4", 23 * time.Hour, true}, {"5", 23 * time.Hour, true},
		{"4", 25 * time.Hour, true}, {"5", 25 * time.Hour, false},
	} {
		err := r.VerifyPDU(context.Background(), pdu(t, test.version, peer.Signer(), c.now().Add(test.after)))
		if (err == nil) != test.good {
			t.Errorf("version %s, %v from now: %v, want good %v", test.version, test.after, err, test.good)
		}
	}
}

func TestExpiredKeysCountForWhatTheySignedInTheirTime(t *testing.T) {
	c := newClock()
	expired := c.now().Add(-time.Hour)
	old := event.Signer{Server: "peer.example", KeyID: "ed25519:old", Key: private(3)}
	peer := mustOwn(t, "peer.example", c, OwnKey{ID: "ed25519:a", Private: private(4)},
		OwnKey{ID: old.KeyID, Private: old.Key, Until: expired})
	r := newRing(t, c, newNetwork(peer))
	for _, version := range []event.Version{"1", "5", "12"} {
		if err := r.VerifyPDU(context.Background(), pdu(t, version, old, expired.Add(-time.Minute))); err != nil {
			t.Errorf("version %s, before: %v", version, err)
		}
		wantKind(t, r.VerifyPDU(context.Background(), pdu(t, version, old, expired.Add(time.Minute))), fault.Forbidden)
	}
}

func TestEverySigningServerMustHaveSigned(t *testing.T) {
	c := newClock()
	one, two := mustOwn(t, "one.example", c), mustOwn(t, "two.example", c)
	r := newRing(t, c, newNetwork(one, two))
	verify := func(p *event.PDU) error { return r.VerifyPDU(context.Background(), p) }

	// A restricted join needs the server of the user who let it in.
	join := pdu(t, "9", one.Signer(), c.now(), func(d *event.Draft) {
		key := "@user:one.example"
		d.Type, d.StateKey = "m.room.member", &key
		d.Content = json.RawMessage(`{"membership":"join","join_authorised_via_users_server":"@boss:two.example"}`)
	})
	wantKind(t, verify(join), fault.Forbidden)
	if err := verify(join.WithSignature(two.Signer())); err != nil {
		t.Error(err)
	}
	// Early room versions need the server of the event ID.
	moved := pdu(t, "2", one.Signer(), c.now(), func(d *event.Draft) { d.EventID = "$event:two.example" })
	wantKind(t, verify(moved), fault.Forbidden)
	if err := verify(moved.WithSignature(two.Signer())); err != nil {
		t.Error(err)
	}
	// Others may sign as they like, as policy servers do, also wrongly.
	for _, s := range []event.Signer{
		{Server: "one.example", KeyID: "ed25519:policy_server", Key: private(9)},
		{Server: "one.example", KeyID: "ed25519:unknown", Key: private(9)},
		{Server: "three.example", KeyID: "ed25519:a", Key: private(9)},
	} {
		if err := verify(pdu(t, "10", one.Signer(), c.now()).WithSignature(s)); err != nil {
			t.Errorf("with a signature of %s by %s: %v", s.Server, s.KeyID, err)
		}
	}
	// But every known key of the server must have signed rightly.
	two2 := mustOwn(t, "two.example", c, OwnKey{ID: "ed25519:a", Private: private(5)}, OwnKey{ID: "ed25519:b", Private: private(6)})
	r = newRing(t, c, newNetwork(two2))
	half := pdu(t, "10", two2.Signer(), c.now()).WithSignature(event.Signer{Server: "two.example", KeyID: "ed25519:a", Key: private(9)})
	wantKind(t, verify(half), fault.Forbidden)
}

func TestAnUnreachablePeerIsToldFromAForgery(t *testing.T) {
	c := newClock()
	one, two := mustOwn(t, "one.example", c), mustOwn(t, "two.example", c)
	r := newRing(t, c, newNetwork(one))
	errs := r.VerifyPDUs(context.Background(), []*event.PDU{
		pdu(t, "11", one.Signer(), c.now()), pdu(t, "11", two.Signer(), c.now()),
	})
	if errs[0] != nil {
		t.Error(errs[0])
	}
	wantKind(t, errs[1], fault.Unreachable)
}

func TestOurOwnSignaturesNeedNoFetch(t *testing.T) {
	c := newClock()
	n := newNetwork()
	r := newRing(t, c, n)
	if err := r.VerifyPDU(context.Background(), pdu(t, "12", r.Own().Signer(), c.now())); err != nil {
		t.Error(err)
	}
	forged := r.Own().Signer()
	forged.KeyID = "ed25519:other"
	wantKind(t, r.VerifyPDU(context.Background(), pdu(t, "12", forged, c.now())), fault.Forbidden)
	if n.count("us.example") != 0 {
		t.Error("we asked ourselves")
	}
}

func TestOurOldKeysCountForTheirTimeOnly(t *testing.T) {
	c := newClock()
	expired := c.now().Add(-time.Hour)
	leaked := event.Signer{Server: "us.example", KeyID: "ed25519:old", Key: private(3)}
	r := newRing(t, c, newNetwork(), func(o *Options) {
		o.Own = mustOwn(t, "us.example", c, OwnKey{ID: "ed25519:a", Private: private(1)},
			OwnKey{ID: leaked.KeyID, Public: leaked.Key.Public().(ed25519.PublicKey), Until: expired})
	})
	if err := r.VerifyPDU(context.Background(), pdu(t, "12", leaked, expired.Add(-time.Minute))); err != nil {
		t.Error(err)
	}
	wantKind(t, r.VerifyPDU(context.Background(), pdu(t, "12", leaked, c.now())), fault.Forbidden)
	_, err := r.Authenticate(signedRequest(leaked, "GET", "/x", "us.example", "", ""), nil)
	wantKind(t, err, fault.Unauthorized)
}

func BenchmarkVerifyPDUs(b *testing.B) {
	c := newClock()
	peer := mustOwn(b, "peer.example", c)
	r := newRing(b, c, newNetwork(peer))
	var pdus []*event.PDU
	for i := range 50 {
		pdus = append(pdus, pdu(b, "12", peer.Signer(), c.now(), func(d *event.Draft) { d.Depth = int64(i) }))
	}
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d events", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range r.VerifyPDUs(context.Background(), pdus[:n]) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	b.Run("ed25519 alone", func(b *testing.B) {
		signed := pdus[0].SignedBytes()
		sig := ed25519.Sign(peer.Signer().Key, signed)
		public := peer.Signer().Key.Public().(ed25519.PublicKey)
		for b.Loop() {
			if !ed25519.Verify(public, signed, sig) {
				b.Fatal("wrong")
			}
		}
	})
}
