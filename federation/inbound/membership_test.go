package inbound_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"entente/roomserver"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// What a peer may not have a template for, or may not ask at all, has the
// specification's error.
func TestRefusedQuestions(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	room, user, v1 := string(m.room), "@new:peer.test", "/_matrix/federation/v1"
	private, err := m.rooms.Create(t.Context(), roomserver.CreateRequest{Creator: m.agency.user("alice"), Preset: "private_chat"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, uri string
		status            int
		errcode           string
	}{
		{"a version that the peer does not speak", "GET", v1 + "/make_join/" + room + "/" + user + "?ver=11", 400, "M_INCOMPATIBLE_ROOM_VERSION"},
		{"another server's user", "GET", v1 + "/make_join/" + room + "/@alice:a.test?ver=12", 403, "M_FORBIDDEN"},
		{"a room that is not known", "GET", v1 + "/make_join/!unknown:a.test/" + user + "?ver=12", 404, "M_NOT_FOUND"},
		{"a room without an invite", "GET", v1 + "/make_join/" + string(private) + "/" + user + "?ver=12", 403, "M_FORBIDDEN"},
		{"a leave of who is not there", "GET", v1 + "/make_leave/" + room + "/" + user, 403, "M_FORBIDDEN"},
		{"a knock on an open door", "GET", v1 + "/make_knock/" + room + "/" + user + "?ver=12", 403, "M_FORBIDDEN"},
		{"no room ID", "GET", v1 + "/make_join/room/" + user, 400, "M_INVALID_PARAM"},
		{"no user ID", "GET", v1 + "/make_join/" + room + "/user", 400, "M_INVALID_PARAM"},
		{"no event ID", "GET", v1 + "/event/event", 400, "M_INVALID_PARAM"},
		{"an event that does not exist", "GET", v1 + "/event/$none", 404, "M_NOT_FOUND"},
		{"no place to see the state at", "GET", v1 + "/state/" + room, 400, "M_MISSING_PARAM"},
		{"a place that is none", "GET", v1 + "/state_ids/" + room + "?event_id=x", 400, "M_INVALID_PARAM"},
		{"a place that does not exist", "GET", v1 + "/state_ids/" + room + "?event_id=$none", 404, "M_NOT_FOUND"},
		{"an auth chain of nothing", "GET", v1 + "/event_auth/" + room + "/$none", 404, "M_NOT_FOUND"},
		{"backfill from nowhere", "GET", v1 + "/backfill/" + room + "?limit=1", 400, "M_MISSING_PARAM"},
		{"backfill from what is no event", "GET", v1 + "/backfill/" + room + "?limit=1&v=x", 400, "M_INVALID_PARAM"},
		{"backfill of nothing", "GET", v1 + "/backfill/" + room + "?limit=0&v=$x", 400, "M_INVALID_PARAM"},
		{"the past of a room that the peer is not in", "GET", v1 + "/backfill/" + string(private) + "?limit=1&v=$x", 403, "M_FORBIDDEN"},
		{"no alias", "GET", v1 + "/query/directory", 400, "M_MISSING_PARAM"},
		{"what is no alias", "GET", v1 + "/query/directory?room_alias=x", 400, "M_INVALID_PARAM"},
		{"no user", "GET", v1 + "/query/profile", 400, "M_MISSING_PARAM"},
		{"what is no user", "GET", v1 + "/query/profile?user_id=x", 400, "M_INVALID_PARAM"},
		{"another server's profile", "GET", v1 + "/query/profile?user_id=" + string(m.user), 404, "M_NOT_FOUND"},
		{"a call that does not exist", "GET", v1 + "/nothing", 404, "M_UNRECOGNIZED"},
		{"another method", "POST", v1 + "/version", 405, "M_UNRECOGNIZED"},
	} {
		if r := m.peer.call(m.agency, c.method, c.uri, nil); r.status != c.status || r.Get("errcode").Str != c.errcode {
			t.Errorf("%s: answered %d %s, and not %d %s", c.name, r.status, r.Raw, c.status, c.errcode)
		}
	}
	for body, status := range map[string]int{
		`{"latest_events":["$x"],"limit":-1}`: 400, `{"latest_events":["x"]}`: 400, `{"latest_events":"$x"}`: 400, `{}`: 200,
		`{"latest_events":["$x"],"limit":9007199254740991}`: 200,
	} {
		if r := m.peer.call(m.agency, "POST", v1+"/get_missing_events/"+room, []byte(body)); r.status != status {
			t.Errorf("get_missing_events %s: answered %d %s", body, r.status, r.Raw)
		}
	}
}

// A join that is not what its path says, or not the peer's to send, changes
// nothing.
func TestRefusedJoins(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	user := id.UserID("@new:peer.test")
	rules, _ := event.RulesOf("12")
	build := func(user id.UserID, membership string) *event.PDU {
		t.Helper()
		made := m.peer.call(m.agency, http.MethodGet, "/_matrix/federation/v1/make_join/"+string(m.room)+"/@new:peer.test?ver=12", nil)
		draft, err := event.ParseTemplate(rules, []byte(made.Get("event").Raw), event.Expected{Room: m.room, User: "@new:peer.test", Membership: "join"})
		if err != nil {
			t.Fatal(err)
		}
		key := string(user)
		draft.Sender, draft.StateKey, draft.Timestamp = user, &key, time.Now().UnixMilli()
		draft.Content = json.RawMessage(`{"membership":"` + membership + `"}`)
		pdu, err := draft.Build(rules, m.peer.own.Signer())
		if err != nil {
			t.Fatal(err)
		}
		return pdu
	}
	good := build(user, "join")
	path := func(room id.RoomID, eventID id.EventID) string {
		return "/_matrix/federation/v2/send_join/" + string(room) + "/" + string(eventID)
	}
	other := m.create("12")
	leave, foreign := build(user, "leave"), build("@alice:a.test", "join")
	for name, c := range map[string]struct {
		uri  string
		body []byte
	}{
		"another ID in the path":   {path(m.room, leave.ID()), good.JSON()},
		"another room in the path": {path(other, good.ID()), good.JSON()},
		"a leave":                  {path(m.room, leave.ID()), leave.JSON()},
		"another server's user":    {path(m.room, foreign.ID()), foreign.JSON()},
		"a wrong signature":        {path(m.room, good.ID()), bytes.Replace(good.JSON(), []byte(`"ed25519:1":"`), []byte(`"ed25519:1":"A`), 1)},
		"no event":                 {path(m.room, good.ID()), []byte(`{}`)},
	} {
		if r := m.peer.call(m.agency, http.MethodPut, c.uri, c.body); r.status < 400 || r.status >= 500 {
			t.Errorf("%s: answered %d %s", name, r.status, r.Raw)
		}
	}
	if is := m.membership(m.room, user); is != "" {
		t.Errorf("the user's membership is %q", is)
	}
	r := m.peer.call(m.agency, http.MethodPut, path(m.room, good.ID()), []byte(good.JSON()))
	if r.status != http.StatusOK || m.membership(m.room, user) != "join" {
		t.Errorf("the proper join is answered %d %s", r.status, r.Raw)
	}
}

// An invite is signed only when it is one, by the peer's user, of ours.
func TestSignedInvites(t *testing.T) {
	w := newWorld(t, sqlite(t))
	a, p := w.agency("a.test", nil), w.peer("peer.test")
	rules, _ := event.RulesOf("10")
	room := id.RoomID("!theirs:peer.test")
	build := func(sender, target id.UserID, membership string) *event.PDU {
		t.Helper()
		key := string(target)
		pdu, err := (&event.Draft{
			Room: room, Type: "m.room.member", StateKey: &key, Sender: sender, Content: json.RawMessage(`{"membership":"` + membership + `"}`),
			Prev: []event.Ref{{ID: "$prev"}}, Auth: []event.Ref{{ID: "$auth"}}, Depth: 5, Timestamp: time.Now().UnixMilli(),
		}).Build(rules, p.own.Signer())
		if err != nil {
			t.Fatal(err)
		}
		return pdu
	}
	invite := func(pdu *event.PDU, eventID id.EventID, version string) reply {
		body := map[string]any{"event": json.RawMessage(pdu.JSON()), "room_version": version, "invite_room_state": []any{}}
		return p.call(a, http.MethodPut, "/_matrix/federation/v2/invite/"+string(room)+"/"+string(eventID), body)
	}
	good := build("@mallory:peer.test", a.user("alice"), "invite")
	leave := build("@mallory:peer.test", a.user("alice"), "leave")
	foreign := build("@mallory:peer.test", "@bob:b.test", "invite")
	forged := build("@bob:b.test", a.user("alice"), "invite")
	for name, r := range map[string]reply{
		"another ID": invite(good, leave.ID(), "10"), "a leave": invite(leave, leave.ID(), "10"), "another server's user": invite(foreign, foreign.ID(), "10"),
		"an invite that is not the peer's": invite(forged, forged.ID(), "10"),
	} {
		if r.status < 400 || r.status >= 500 || r.Get("event").Exists() {
			t.Errorf("%s: answered %d %s", name, r.status, r.Raw)
		}
	}
	p.refused(invite(good, good.ID(), "99"), 400, "M_INCOMPATIBLE_ROOM_VERSION")
	p.refused(invite(good, good.ID(), ""), 400, "M_MISSING_PARAM")
	if is := a.membership(room, a.user("alice")); is != "" {
		t.Errorf("the user's membership is %q", is)
	}
	r := invite(good, good.ID(), "10")
	if r.status != http.StatusOK || !r.Get(`event.signatures.a\.test`).Exists() || a.membership(room, a.user("alice")) != "invite" {
		t.Errorf("the invite is answered %d %s", r.status, r.Raw)
	}
}

// Servers that know room versions 1 and 2 only invite in their own way.
func TestOldInvites(t *testing.T) {
	w := newWorld(t, sqlite(t))
	a, p := w.agency("a.test", nil), w.peer("peer.test")
	rules, _ := event.RulesOf("1")
	key := string(a.user("alice"))
	pdu, err := (&event.Draft{
		EventID: "$invite:peer.test", Room: "!old:peer.test", Type: "m.room.member", StateKey: &key, Sender: "@mallory:peer.test",
		Content: json.RawMessage(`{"membership":"invite"}`), Prev: []event.Ref{{ID: "$prev:peer.test", SHA256: "x"}}, Auth: []event.Ref{{ID: "$auth:peer.test", SHA256: "x"}},
		Depth: 5, Timestamp: time.Now().UnixMilli(),
	}).Build(rules, p.own.Signer())
	if err != nil {
		t.Fatal(err)
	}
	body := append(bytes.TrimSuffix(pdu.JSON(), []byte("}")),
		`,"unsigned":{"invite_room_state":[{"type":"m.room.name","state_key":"","sender":"@mallory:peer.test","content":{"name":"Old"}}]}}`...)
	r := p.call(a, http.MethodPut, "/_matrix/federation/v1/invite/!old:peer.test/$invite:peer.test", body)
	if r.status != http.StatusOK || r.Get("0").Int() != 200 || !r.Get(`1.event.signatures.a\.test`).Exists() {
		t.Errorf("the invite is answered %d %s", r.status, r.Raw)
	}
	if is := a.membership("!old:peer.test", a.user("alice")); is != "invite" {
		t.Errorf("the user's membership is %q", is)
	}
}
