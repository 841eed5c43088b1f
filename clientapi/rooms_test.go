package clientapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
)

// person is a user of the world with a session.
type person struct {
	*world
	user  id.UserID
	token string
}

func (w *world) person(name string) *person {
	w.Helper()
	user, token := w.register(name)
	return &person{w, user, token}
}

func (p *person) get(path string) answer {
	p.Helper()
	return p.call("GET", path, p.token, nil)
}

func (p *person) post(path string, body any) answer {
	p.Helper()
	return p.call("POST", path, p.token, body)
}

func (p *person) put(path string, body any) answer {
	p.Helper()
	return p.call("PUT", path, p.token, body)
}

// esc makes an ID a segment of a path.
func esc[S ~string](s S) string { return url.PathEscape(string(s)) }

// create makes a room.
func (p *person) create(body object) id.RoomID {
	p.Helper()
	return id.RoomID(p.post("/createRoom", body).ok().str("room_id"))
}

// room is the path of a room.
func room(roomID id.RoomID) string { return "/rooms/" + esc(roomID) }

// say sends a message with a transaction ID of its own.
func (p *person) say(roomID id.RoomID, body string) id.EventID {
	p.Helper()
	return p.send(roomID, "m.room.message", object{"msgtype": "m.text", "body": body})
}

func (p *person) send(roomID id.RoomID, typ string, content object) id.EventID {
	p.Helper()
	p.mu.Lock()
	p.sends++
	txn := fmt.Sprint("t", p.sends)
	p.mu.Unlock()
	return id.EventID(p.put(room(roomID)+"/send/"+typ+"/"+txn, content).ok().str("event_id"))
}

// events are the events of a list in the answer.
func (a answer) events(key string) (out []object) {
	a.Helper()
	list, ok := a.body[key].([]any)
	if !ok {
		a.Fatalf("the answer has no list %s: %s", key, a.raw)
	}
	for _, e := range list {
		out = append(out, e.(object))
	}
	return out
}

// ids are the event IDs of a list in the answer.
func (a answer) ids(key string) (out []id.EventID) {
	a.Helper()
	for _, e := range a.events(key) {
		out = append(out, id.EventID(e["event_id"].(string)))
	}
	return out
}

// bodies are the bodies of the messages of a list in the answer.
func (a answer) bodies(key string) string {
	a.Helper()
	var out []string
	for _, e := range a.events(key) {
		if body, ok := e["content"].(object)["body"].(string); ok {
			out = append(out, body)
		}
	}
	return strings.Join(out, " ")
}

// at is a value inside the answer.
func (a answer) at(keys ...string) any { return dig(a.body, keys...) }

func dig(v any, keys ...string) any {
	for _, key := range keys {
		o, _ := v.(object)
		v = o[key]
	}
	return v
}

// A room is made with all that its creator asks for, is joined by invitation
// and by alias, and changes its members as they ask.
func TestMemberships(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		bob.put("/profile/"+esc(bob.user)+"/displayname", object{"displayname": "Bob"}).ok()
		r := alice.create(object{
			"preset": "private_chat", "name": "Name", "topic": "Topic", "room_alias_name": "room", "invite": []id.UserID{bob.user}, "visibility": "public",
		})
		carol.post("/join/"+esc("#room:test"), object{}).refused(403, "M_FORBIDDEN")
		carol.post("/join/"+esc("#none:test"), object{}).refused(404, "M_NOT_FOUND")
		if got := bob.post(room(r)+"/join", object{"reason": "why not"}).ok().str("room_id"); got != string(r) {
			t.Errorf("joined %s, not %s", got, r)
		}
		joined := alice.get(room(r) + "/joined_members").ok()
		if joined.at("joined", string(bob.user), "display_name") != "Bob" {
			t.Errorf("the members are %s", joined.raw)
		}
		member := bob.get(room(r) + "/state/m.room.member/" + esc(bob.user)).ok()
		if member.str("membership") != "join" || member.str("reason") != "why not" {
			t.Errorf("bob's membership is %s", member.raw)
		}
		if rooms := bob.get("/joined_rooms").ok(); fmt.Sprint(rooms.at("joined_rooms")) != fmt.Sprint([]any{string(r)}) {
			t.Errorf("bob's rooms are %s", rooms.raw)
		}
		bob.post(room(r)+"/kick", object{"user_id": alice.user}).refused(403, "M_FORBIDDEN")
		alice.post(room(r)+"/invite", object{"user_id": carol.user}).ok()
		carol.post(room(r)+"/leave", object{}).ok()
		alice.post(room(r)+"/kick", object{"user_id": bob.user, "reason": "no"}).ok()
		alice.post(room(r)+"/kick", object{"user_id": bob.user}).refused(403, "M_FORBIDDEN")
		alice.post(room(r)+"/ban", object{"user_id": bob.user}).ok()
		bob.post(room(r)+"/join", object{}).refused(403, "M_FORBIDDEN")
		alice.post(room(r)+"/unban", object{"user_id": bob.user}).ok()
		alice.post(room(r)+"/unban", object{"user_id": bob.user}).refused(403, "M_BAD_STATE")
		bob.post(room(r)+"/forget", object{}).ok()
		bob.get(room(r)+"/messages?dir=b").refused(403, "M_FORBIDDEN")
		alice.post(room(r)+"/invite", object{}).refused(400, "M_MISSING_PARAM")
		alice.post(room(r)+"/invite", object{"user_id": "bob"}).refused(400, "M_INVALID_PARAM")
		alice.post(room(r)+"/invite", object{"medium": "email", "address": "a@b", "id_server": "x", "id_access_token": "y"}).refused(400, "M_INVALID_PARAM")
	})
}

// Knocking waits for an invitation.
func TestKnock(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"initial_state": []object{{"type": "m.room.join_rules", "state_key": "", "content": object{"join_rule": "knock"}}}})
		bob.post(room(r)+"/join", object{}).refused(403, "M_FORBIDDEN")
		bob.post("/knock/"+esc(r)+"?via=test", object{"reason": "let me in"}).ok()
		if list := alice.get(room(r) + "/members?membership=knock").ok().events("chunk"); len(list) != 1 || list[0]["state_key"] != string(bob.user) {
			t.Errorf("those who knock are %v", list)
		}
		alice.post(room(r)+"/invite", object{"user_id": bob.user}).ok()
		bob.post(room(r)+"/join", object{}).ok()
		bob.post("/knock/"+esc(r), object{}).refused(403, "M_FORBIDDEN")
		bob.post("/join/"+esc("nonsense"), object{}).refused(400, "M_INVALID_PARAM")
		bob.post("/join/"+esc(r)+"?via=no_server", object{}).refused(400, "M_INVALID_PARAM")
	})
}

// Memberships can be set as state, with the same meaning.
func TestMembershipAsState(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{})
		path := func(user id.UserID) string { return room(r) + "/state/m.room.member/" + esc(user) }
		set := func(p *person, target *person, membership string) answer {
			return p.put(path(target.user), object{"membership": membership, "org.example.more": true})
		}
		set(bob, bob, "join").refused(403, "M_FORBIDDEN")
		set(alice, bob, "invite").ok()
		set(alice, bob, "join").refused(403, "M_FORBIDDEN")
		if joined := set(bob, bob, "join").ok(); joined.str("event_id") == "" {
			t.Errorf("a join answers %s", joined.raw)
		}
		if got := bob.get(path(bob.user)).ok(); got.at("org.example.more") != true || got.str("membership") != "join" {
			t.Errorf("the membership is %s", got.raw)
		}
		set(alice, bob, "leave").ok()
		set(alice, bob, "ban").ok()
		set(alice, bob, "leave").ok()
		set(alice, bob, "guest").refused(400, "M_BAD_JSON")
		alice.put(path(bob.user), object{}).refused(400, "M_BAD_JSON")
		alice.put(path("bob"), object{"membership": "invite"}).refused(400, "M_INVALID_PARAM")
	})
}

// A transaction ID makes one event, also when the request is repeated after
// its sender may send no more, and is shown to the device that used it.
func TestTransactions(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat"})
		bob.post(room(r)+"/join", object{}).ok()
		path := room(r) + "/send/m.room.message/one"
		body := object{"msgtype": "m.text", "body": "once"}
		first := bob.put(path, body).ok().str("event_id")
		if again := bob.put(path, body).ok().str("event_id"); again != first {
			t.Errorf("a repetition made %s beside %s", again, first)
		}
		if others := alice.put(path, body).ok().str("event_id"); others == first {
			t.Error("another user's transaction ID made the same event")
		}
		get := room(r) + "/event/" + esc(first)
		if got := bob.get(get).ok(); got.at("unsigned", "transaction_id") != "one" {
			t.Errorf("the sender is shown %s", got.raw)
		}
		if got := alice.get(get).ok(); got.at("unsigned", "transaction_id") != nil {
			t.Errorf("another user is shown %s", got.raw)
		}
		alice.post(room(r)+"/kick", object{"user_id": bob.user}).ok()
		if again := bob.put(path, body).ok().str("event_id"); again != first {
			t.Errorf("a repetition made %s beside %s", again, first)
		}
		bob.put(room(r)+"/send/m.room.message/two", body).refused(403, "M_FORBIDDEN")
		alice.put(room(r)+"/send/m.room.message/three", `{"a":`).refused(400, "M_NOT_JSON")
		alice.put(room(r)+"/send/m.room.message/three", `[]`).refused(400, "M_BAD_JSON")
		alice.put(room(r)+"/send/m.room.create/three", `{}`).refused(403, "M_FORBIDDEN")
		alice.put(room(r)+"/send/m.room.message/three", " \n{\"body\": \"space\"}").ok()
	})
}

// Redactions remove content, name their reason, and are refused for what is
// not the sender's to redact.
func TestRedact(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		for _, version := range []string{"1", "10", "12"} {
			r := alice.create(object{"preset": "public_chat", "room_version": version})
			bob.post(room(r)+"/join", object{}).ok()
			said := alice.say(r, "secret")
			redact := func(p *person, txn string) answer {
				return p.put(room(r)+"/redact/"+esc(said)+"/"+txn, object{"reason": "oops"})
			}
			redact(bob, "x").refused(403, "M_FORBIDDEN")
			by := redact(alice, "x").ok().str("event_id")
			got := bob.get(room(r) + "/event/" + esc(said)).ok()
			if got.at("content", "body") != nil || got.at("unsigned", "redacted_because", "event_id") != by {
				t.Errorf("version %s: the redacted event is %s", version, got.raw)
			}
			if got.at("unsigned", "redacted_because", "content", "reason") != "oops" {
				t.Errorf("version %s: the reason is not shown: %s", version, got.raw)
			}
			sent := alice.say(r, "again")
			alice.send(r, "m.room.redaction", object{"redacts": sent})
			if got := bob.get(room(r) + "/event/" + esc(sent)).ok(); got.at("content", "body") != nil {
				t.Errorf("version %s: a redaction sent as an event did nothing: %s", version, got.raw)
			}
			alice.put(room(r)+"/redact/"+esc("$none")+"/y", object{}).refused(404, "M_NOT_FOUND")
			alice.put(room(r)+"/redact/none/y", object{}).refused(400, "M_INVALID_PARAM")
		}
	})
}

// State is read whole and by key, as content and as an event, by members as it
// is and by those who left as it was.
func TestState(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		r := alice.create(object{"preset": "public_chat", "topic": "one"})
		bob.post(room(r)+"/join", object{}).ok()
		alice.put(room(r)+"/state/org.example.thing/a%2Fb", object{"n": 1}).ok()
		if got := bob.get(room(r) + "/state/org.example.thing/a%2Fb").ok(); got.at("n") != 1.0 {
			t.Errorf("the state is %s", got.raw)
		}
		bob.post(room(r)+"/leave", object{}).ok()
		second := alice.put(room(r)+"/state/m.room.topic/", object{"topic": "two"}).ok().str("event_id")
		if same := alice.put(room(r)+"/state/m.room.topic", object{"topic": "two"}).ok().str("event_id"); same != second {
			t.Errorf("setting what is set made %s beside %s", same, second)
		}
		whole := alice.get(room(r) + "/state/m.room.topic?format=event").ok()
		if whole.str("event_id") != second || whole.at("unsigned", "prev_content", "topic") != "one" {
			t.Errorf("the whole event is %s", whole.raw)
		}
		for p, topic := range map[*person]string{alice: "two", bob: "one"} {
			if got := p.get(room(r) + "/state/m.room.topic").ok().str("topic"); got != topic {
				t.Errorf("%s reads the topic %q, not %q", p.user, got, topic)
			}
			i := slices.IndexFunc(p.get(room(r)+"/state").ok().list, func(e object) bool { return e["type"] == "m.room.topic" })
			if got := p.get(room(r) + "/state").ok().list[i]; dig(got, "content", "topic") != topic {
				t.Errorf("%s reads the state %v", p.user, got)
			}
		}
		alice.get(room(r)+"/state/m.room.nothing/").refused(404, "M_NOT_FOUND")
		alice.get(room(r)+"/state/m.room.topic?format=yaml").refused(400, "M_INVALID_PARAM")
		carol.get(room(r)+"/state").refused(403, "M_FORBIDDEN")
		carol.get(room("!none")+"/state").refused(403, "M_FORBIDDEN")
		bob.put(room(r)+"/state/m.room.topic", object{"topic": "three"}).refused(403, "M_FORBIDDEN")
	})
}

// What one may not look at answers exactly as what does not exist: no caller
// learns from an ID whether there is such a room or event, nor reaches an event
// through another room.
func TestUnseenIsNotFound(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		secret := alice.create(object{"preset": "private_chat"})
		said := alice.say(secret, "secret")
		own := bob.create(object{})
		reply := bob.send(own, "m.room.message", object{"body": "x", "m.relates_to": object{"rel_type": "m.thread", "event_id": said}})
		for _, path := range []string{
			"/_matrix/client/v3/rooms/%s/event/%s", "/_matrix/client/v3/rooms/%s/context/%s",
			"/_matrix/client/v1/rooms/%s/relations/%s", "/_matrix/client/v1/rooms/%s/relations/%s/m.thread",
		} {
			want := bob.get(fmt.Sprintf(path, esc(own), esc("$none"))).refused(404, "M_NOT_FOUND").raw
			for name, got := range map[string]answer{
				"in the room that one is not in":     bob.get(fmt.Sprintf(path, esc(secret), esc(said))),
				"through a room that one is in":      bob.get(fmt.Sprintf(path, esc(own), esc(said))),
				"unknown in a room one is not in":    bob.get(fmt.Sprintf(path, esc(secret), esc("$none"))),
				"in a room that there is not":        bob.get(fmt.Sprintf(path, esc("!none"), esc(said))),
				"of one's own, through another room": bob.get(fmt.Sprintf(path, esc(secret), esc(reply))),
			} {
				if got.status != 404 || got.raw != want {
					t.Errorf("%s, %s: answered %d %s, not %s", path, name, got.status, got.raw, want)
				}
			}
		}
		for _, call := range []struct {
			method, path string
			body         any
		}{
			{"GET", "/messages?dir=b", nil}, {"GET", "/state", nil}, {"GET", "/state/m.room.create", nil}, {"GET", "/members", nil},
			{"GET", "/joined_members", nil}, {"GET", "/aliases", nil}, {"POST", "/leave", object{}}, {"POST", "/forget", object{}},
			{"POST", "/invite", object{"user_id": bob.user}}, {"POST", "/kick", object{"user_id": alice.user}}, {"POST", "/ban", object{"user_id": alice.user}},
			{"POST", "/unban", object{"user_id": alice.user}}, {"PUT", "/send/m.room.message/1", object{}}, {"PUT", "/state/m.room.topic", object{}},
			{"PUT", "/state/m.room.canonical_alias", object{"alias": "#a:test"}}, {"PUT", "/redact/" + esc(said) + "/2", object{}},
			{"POST", "/upgrade", object{"new_version": "11"}},
		} {
			there := bob.call(call.method, room(secret)+call.path, bob.token, call.body)
			absent := bob.call(call.method, room("!none")+call.path, bob.token, call.body)
			if there.status != absent.status || there.raw != absent.raw || there.status < 400 {
				t.Errorf("%s %s: %d %s for a room that there is, %d %s for one that there is not", call.method, call.path,
					there.status, there.raw, absent.status, absent.raw)
			}
		}
		if there, absent := bob.get("/directory/list/room/"+esc(secret)), bob.get("/directory/list/room/"+esc("!none")); there.raw != absent.raw {
			t.Errorf("the directory answers %s and %s", there.raw, absent.raw)
		}
	})
}

// Every kind of call needs a session, but for what is public.
func TestRoomsNeedSession(t *testing.T) {
	each(t, func(w *world) {
		w.call("POST", "/createRoom", "", object{}).refused(http.StatusUnauthorized, "M_MISSING_TOKEN")
		w.call("GET", "/rooms/"+esc("!r")+"/messages?dir=b", "", nil).refused(http.StatusUnauthorized, "M_MISSING_TOKEN")
		w.call("GET", "/publicRooms", "", nil).ok()
		w.call("GET", "/publicRooms?server=elsewhere", "", nil).refused(http.StatusUnauthorized, "M_MISSING_TOKEN")
		w.call("GET", "/directory/room/"+esc("#a:elsewhere"), "", nil).refused(http.StatusNotFound, "M_NOT_FOUND")
	})
}
