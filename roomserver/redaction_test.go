package roomserver

import (
	"strings"
	"testing"

	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// say sends an event of an agency's user.
func (a *agency) say(t *testing.T, room id.RoomID, d Draft) *event.PDU {
	t.Helper()
	sent, err := a.Send(t.Context(), SendRequest{Room: room, Draft: d})
	if err != nil {
		t.Fatal(err)
	}
	return a.has(t, room, sent.EventID).PDU
}

func (a *agency) has(t *testing.T, room id.RoomID, eventID id.EventID) *storage.Event {
	t.Helper()
	info, err := a.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	found, err := a.db.Latest().EventsByID(t.Context(), info, []id.EventID{eventID})
	if err != nil || len(found) != 1 {
		t.Fatalf("%s has %d events %s, %v", a.name, len(found), eventID, err)
	}
	return found[0]
}

// History that comes after its redaction is redacted like what was there
// before it, and a redaction that comes as history redacts what is there.
func TestHistoryIsRedacted(t *testing.T) {
	for _, redactionFirst := range []bool{true, false} {
		w := newWorld(t, func() storage.Options { return storagetest.SQLite(t) }, "a", "b")
		a, b := w.agencies["a"], w.agencies["b"]
		room, err := a.Create(t.Context(), CreateRequest{Creator: "@1:a", Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		var before []*event.PDU
		secret := a.say(t, room, Draft{Type: "m.room.message", Sender: "@1:a", Content: []byte(`{"body":"secret"}`)})
		redact := func() *event.PDU {
			return a.say(t, room, Draft{Type: "m.room.redaction", Sender: "@1:a", Content: []byte(`{"redacts":"` + string(secret.ID()) + `"}`), Redacts: secret.ID()})
		}
		if !redactionFirst {
			before = append(before, redact())
		}
		w.join("@1:b", room, a)
		b.inbox = nil
		if redactionFirst {
			w.post(a, room)
			b.inbox = append(b.inbox, redact())
			if err := b.Receive(t.Context(), "a", b.inbox[len(b.inbox)-1]); err != nil {
				t.Fatal(err)
			}
		}
		info, err := b.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.room(info)
		if err != nil {
			t.Fatal(err)
		}
		// The state before what is fetched is that of the join's predecessors.
		h := a.has(t, room, secret.ID())
		var chain []*event.PDU
		for _, nid := range h.Prev {
			aInfo, _ := a.Info(t.Context(), room)
			chain = append(chain, history(t, a, aInfo, nid)...)
		}
		for _, pdu := range append(append(chain, secret), before...) {
			if err := b.take(t.Context(), r, "a", pdu, 0, true); err != nil {
				t.Fatal(err)
			}
		}
		if e := b.has(t, room, secret.ID()); e.RedactedBy == 0 || strings.Contains(string(e.PDU.JSON()), "secret") {
			t.Errorf("redaction first %v: %s is stored", redactionFirst, e.PDU.JSON())
		}
		b.release(r)
	}
}

// history is an event and all before it, oldest first.
func history(t *testing.T, a *agency, info *storage.RoomInfo, nid event.NID) (out []*event.PDU) {
	t.Helper()
	e, err := a.eventOf(t.Context(), info, nid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range e.Prev {
		out = append(out, history(t, a, info, p)...)
	}
	return append(out, e.PDU)
}
