package roomserver

import (
	"encoding/json"
	"fmt"
	"testing"

	"entente/federation/client"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// BenchmarkArrival joins a room of 5,000 state events over federation, without
// the network: everything that a resident server answered is parsed, verified,
// stored and made live. Beside it, what verifying the same events costs.
func BenchmarkArrival(b *testing.B) {
	w := newWorld(b, func() storage.Options { return storagetest.SQLite(b) }, "a", "b")
	a := w.agencies["a"]
	room, raws := crowd(b, a, 5000)
	rules, _ := event.RulesOf(event.DefaultVersion)
	b.Run("join", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			w := &world{t: b, agencies: map[string]*agency{"a": a}}
			w.add("b", storagetest.SQLite(b))
			own := w.agencies["b"]
			version, template, err := a.MakeMembership(b.Context(), "b", room, "@1:b", "join", event.SupportedVersions())
			if err != nil {
				b.Fatal(err)
			}
			request := MemberRequest{Room: room, Sender: "@1:b", Target: "@1:b"}
			h, err := own.makeMembership(b.Context(), request, "join", client.Template{Version: version, Event: template})
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			in := own.newIntake(b.Context(), h)
			for _, raw := range raws {
				if err := in.receive(client.StatePart, raw); err != nil {
					b.Fatal(err)
				}
			}
			in.finish()
			r, err := own.room(h.info)
			if err != nil {
				b.Fatal(err)
			}
			if err := own.enterRoom(b.Context(), r, &arrival{join: h.pdu, state: in.parts[client.StatePart]}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		pdus := make([]*event.PDU, len(raws))
		for i, raw := range raws {
			pdu, err := event.Parse(rules, raw)
			if err != nil {
				b.Fatal(err)
			}
			pdus[i] = pdu
		}
		for b.Loop() {
			for _, err := range a.keys.VerifyPDUs(b.Context(), pdus) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// crowd makes a room of so many state events, nearly all of them members, and
// answers its state as a peer would get it.
func crowd(t testing.TB, a *agency, events int) (id.RoomID, []json.RawMessage) {
	t.Helper()
	room, err := a.Create(t.Context(), CreateRequest{Creator: "@1:a", Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		user := id.UserID(fmt.Sprintf("@member-%d:a", i))
		if err := a.Join(t.Context(), MemberRequest{Room: room, Sender: user, Target: user, Profile: Profile{DisplayName: fmt.Sprint("Member ", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := a.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	h, err := a.db.Latest().Head(t.Context(), info.NID)
	if err != nil {
		t.Fatal(err)
	}
	state, auth, err := a.stateAndAuth(t.Context(), info, h.Root)
	if err != nil {
		t.Fatal(err)
	}
	var raws []json.RawMessage
	for _, pdu := range append(state, auth...) {
		raws = append(raws, pdu.JSON())
	}
	return room, raws
}
