package inbound_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"entente/roomserver"
	"entente/roomserver/event"
)

// The template of a restricted join is made for one user. That a peer puts
// another one into it, who is in none of the rooms that let people in, gains
// nothing: this server vouches for those only whom it would let in.
func TestRestrictedJoinOfAnother(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", nil)
		club := m.create("12", roomserver.StateDraft{
			Type: "m.room.join_rules", Content: []byte(`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"` + string(m.room) + `"}]}`),
		})
		made := m.peer.call(m.agency, http.MethodGet, "/_matrix/federation/v1/make_join/"+string(club)+"/"+string(m.user)+"?ver=12", nil)
		rules, _ := event.RulesOf("12")
		draft, err := event.ParseTemplate(rules, []byte(made.Get("event").Raw), event.Expected{Room: club, User: m.user, Membership: "join"})
		if err != nil {
			t.Fatalf("make_join: %v: %d %s", err, made.status, made.Raw)
		}
		stranger := "@stranger:peer.test"
		draft.Sender, draft.StateKey, draft.Timestamp = "@stranger:peer.test", &stranger, time.Now().UnixMilli()
		pdu, err := draft.Build(rules, m.peer.own.Signer())
		if err != nil {
			t.Fatal(err)
		}
		m.peer.refused(m.peer.call(m.agency, http.MethodPut, "/_matrix/federation/v2/send_join/"+string(club)+"/"+string(pdu.ID()), []byte(pdu.JSON())),
			http.StatusForbidden, "M_FORBIDDEN")
		m.peer.join(m.agency, club, m.user)
	})
}

// What version a room has is for those to say who are in it. A stranger's
// invite that names the wrong one must not keep a user out for good.
func TestInviteOfWrongVersion(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "11", nil)
		b := w.agency("b.test", nil)
		bob := string(b.user("bob"))
		rules, _ := event.RulesOf("10")
		draft := event.Draft{
			Room: m.room, Type: "m.room.member", StateKey: &bob, Sender: m.user, Content: []byte(`{"membership":"invite"}`), Depth: 9, Timestamp: 1,
		}
		pdu, err := draft.Build(rules, m.peer.own.Signer())
		if err != nil {
			t.Fatal(err)
		}
		invited := m.peer.call(b, http.MethodPut, "/_matrix/federation/v2/invite/"+string(m.room)+"/"+string(pdu.ID()),
			map[string]any{"event": json.RawMessage(pdu.JSON()), "room_version": "10", "invite_room_state": []any{}})
		if invited.status != http.StatusOK {
			t.Fatalf("answered %d %s", invited.status, invited.Raw)
		}
		b.join("bob", m.room, m.agency)
		m.hears(m.room, b.say("bob", m.room, "hello"))
	})
}
