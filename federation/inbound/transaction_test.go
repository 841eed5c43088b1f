package inbound_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"entente/federation/inbound"
	"entente/federation/keys"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// meeting is an agency with a room, and a peer whose user has joined it.
type meeting struct {
	*agency
	peer *peer
	room id.RoomID
	user id.UserID
	join *event.PDU
}

func meet(w *world, version event.Version, change func(*inbound.Options), state ...roomserver.StateDraft) *meeting {
	w.Helper()
	m := &meeting{agency: w.agency("a.test", change), peer: w.peer("peer.test"), user: "@mallory:peer.test"}
	m.room = m.create(version, state...)
	m.join = m.peer.join(m.agency, m.room, m.user)
	return m
}

// says builds messages of the peer's user, each on top of the one before.
func (m *meeting) says(texts ...string) []*event.PDU {
	m.Helper()
	var out []*event.PDU
	last := m.join.Ref()
	for _, text := range texts {
		pdu := m.peer.message(m.agency, m.room, m.user, text, last)
		last = pdu.Ref()
		out = append(out, pdu)
	}
	return out
}

func raws(pdus ...*event.PDU) []json.RawMessage {
	out := make([]json.RawMessage, len(pdus))
	for i, p := range pdus {
		out[i] = p.JSON()
	}
	return out
}

// errorOf is what the answer to a transaction says of an event; ok is false
// when it says nothing.
func errorOf(r reply, eventID id.EventID) (text string, ok bool) {
	results := r.Get("pdus").Map()
	result, ok := results[string(eventID)]
	return result.Get("error").Str, ok
}

// What a transaction may not be is refused as a whole, and nothing of it is
// kept.
func TestBadTransactions(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	p, pdu := m.peer, m.says("hello")[0]
	many := func(n int, each string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(each+",", n), ",") + "]"
	}
	for _, c := range []struct {
		name, body string
		status     int
		errcode    string
	}{
		{"no JSON, so that it cannot have been signed", `{"pdus":`, 401, "M_UNAUTHORIZED"},
		{"an array", `[]`, 400, "M_BAD_JSON"},
		{"events that are no list", `{"origin":"peer.test","pdus":{}}`, 400, "M_BAD_JSON"},
		{"51 events", `{"origin":"peer.test","pdus":` + many(51, string(pdu.JSON())) + `}`, 400, "M_BAD_JSON"},
		{"101 EDUs", `{"origin":"peer.test","pdus":[],"edus":` + many(101, `{"edu_type":"x","content":{}}`) + `}`, 400, "M_BAD_JSON"},
		{"another server's", `{"origin":"other.test","pdus":[` + string(pdu.JSON()) + `]}`, 403, "M_FORBIDDEN"},
		{"too deep", `{"origin":"peer.test","pdus":[` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `]}`, 400, "M_BAD_JSON"},
	} {
		if r := p.call(m.agency, http.MethodPut, "/_matrix/federation/v1/send/t", []byte(c.body)); r.status != c.status || r.Get("errcode").Str != c.errcode {
			t.Errorf("%s: answered %d %s", c.name, r.status, r.Raw)
		}
	}
	if m.stored(m.room, pdu.ID()) != nil {
		t.Error("An event of a transaction that was refused is kept.")
	}
	large := bytes.Repeat([]byte(" "), 13<<20)
	p.refused(p.call(m.agency, http.MethodPut, "/_matrix/federation/v1/send/t", large), 413, "M_TOO_LARGE")
}

// Requests that no peer signed for us do not get in.
func TestForgedRequests(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	p, uri := m.peer, "/_matrix/federation/v1/send/t"
	body := []byte(`{"edus":[],"origin":"peer.test","origin_server_ts":1,"pdus":[]}`)
	good := keys.SignRequest(p.own.Signer(), http.MethodPut, uri, m.name, body)
	if r := p.raw(m.agency, http.MethodPut, uri, body, good); r.status != http.StatusOK {
		t.Fatalf("a proper request is answered %d %s", r.status, r.Raw)
	}
	for name, authorization := range map[string]string{
		"no signature":        "",
		"another destination": keys.SignRequest(p.own.Signer(), http.MethodPut, uri, "other.test", body),
		"another path":        keys.SignRequest(p.own.Signer(), http.MethodPut, uri+"2", m.name, body),
		"another body":        keys.SignRequest(p.own.Signer(), http.MethodPut, uri, m.name, []byte(`{}`)),
		"another key":         keys.SignRequest(event.Signer{Server: p.name, KeyID: "ed25519:1", Key: w.own("x.test").Signer().Key}, http.MethodPut, uri, m.name, body),
		"another origin":      strings.Replace(good, "peer.test", "other.test", 1),
	} {
		if r := p.raw(m.agency, http.MethodPut, uri, body, authorization); r.status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d %s", name, r.status, r.Raw)
		}
	}
}

// Each event of a transaction is judged by itself: what is wrong with one has
// an error, and does not keep out the others.
func TestBadEvents(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	p := m.peer
	good := m.says("good")[0]
	forged := p.message(m.agency, m.room, m.agency.user("alice"), "not mine", m.join.Ref())
	unsigned := p.message(m.agency, m.room, m.user, "unsigned", m.join.Ref())
	broken := bytes.Replace(unsigned.JSON(), []byte(`"ed25519:1":"`), []byte(`"ed25519:1":"A`), 1)
	tampered := p.message(m.agency, m.room, m.user, "original", m.join.Ref())
	changed := bytes.Replace(tampered.JSON(), []byte("original"), []byte("tampered"), 1)
	outsider := p.message(m.agency, m.room, "@stranger:peer.test", "let me in", m.join.Ref())
	elsewhere := p.event(m.agency, m.room, m.user, event.Draft{Type: "m.room.message", Content: []byte(`{}`), Prev: []event.Ref{m.join.Ref()}})
	foreign := bytes.Replace(elsewhere.JSON(), []byte(m.room), []byte("!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 1)
	r := p.send(m.agency, "t", []json.RawMessage{
		forged.JSON(), broken, changed, outsider.JSON(), foreign, []byte(`{}`), []byte(`{"room_id":1}`), []byte(`"text"`), []byte(`null`),
		[]byte(`{"room_id":"` + string(m.room) + `","type":1.5}`), good.JSON(),
	})
	if r.status != http.StatusOK {
		t.Fatalf("answered %d %s", r.status, r.Raw)
	}
	if text, ok := errorOf(r, good.ID()); !ok || text != "" {
		t.Errorf("The good event is answered %q, %v", text, ok)
	}
	for name, eventID := range map[string]id.EventID{"forged": forged.ID(), "broken": unsigned.ID()} {
		if text, ok := errorOf(r, eventID); !ok || text == "" {
			t.Errorf("The %s event is answered %q, %v", name, text, ok)
		}
		if m.stored(m.room, eventID) != nil {
			t.Errorf("The %s event is kept.", name)
		}
	}
	if text, ok := errorOf(r, outsider.ID()); !ok || text != "" {
		t.Errorf("The outsider's event is answered %q, %v", text, ok)
	}
	if e := m.stored(m.room, outsider.ID()); e == nil || e.Status != storage.Rejected {
		t.Errorf("The outsider's event is not kept as rejected: %+v", e)
	}
	// A content hash that does not match costs an event its content, and the
	// ID is that of what the signature covers.
	if e := m.stored(m.room, tampered.ID()); e == nil || bytes.Contains(e.PDU.JSON(), []byte("tampered")) {
		t.Errorf("The tampered event is not redacted: %+v", e)
	}
	m.hears(m.room, good.ID())
}

// A transaction that comes again is answered as before, and not looked at.
func TestRepeatedTransactions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", nil)
		pdus := m.says("0", "1", "2")
		typing := map[string]any{"edu_type": "m.typing", "content": map[string]any{"room_id": m.room, "user_id": m.user, "typing": true}}
		first := m.peer.send(m.agency, "t1", raws(pdus[0]), typing)
		again := m.peer.send(m.agency, "t1", raws(pdus[1]), typing)
		if first.Raw != again.Raw || m.stored(m.room, pdus[1].ID()) != nil {
			t.Errorf("The same transaction is answered %s and then %s", first.Raw, again.Raw)
		}
		other := m.peer.send(m.agency, "t2", raws(pdus[0])) // a replay of the event alone
		if text, ok := errorOf(other, pdus[0].ID()); !ok || text != "" {
			t.Errorf("An event that comes again is answered %q, %v", text, ok)
		}
		m.agency.mu.Lock()
		if len(m.agency.edus) != 1 {
			t.Errorf("the EDU of a repeated transaction was taken: %q", m.agency.edus)
		}
		m.agency.mu.Unlock()
		m.until("keeping the answer", func() bool {
			stored, err := m.db.Latest().ReceivedTransaction(t.Context(), m.peer.name, "t1")
			return err == nil && string(stored) == first.Raw
		})
		router, err := web.New(web.Options{Peers: m.keys.Authenticate}, // after a restart
			inbound.New(inbound.Options{DB: m.db, Rooms: m.rooms, Keys: m.keys}).Routes()...)
		if err != nil {
			t.Fatal(err)
		}
		w.listen(m.name, router)
		if r := m.peer.send(m.agency, "t1", raws(pdus[1])); r.Raw != first.Raw {
			t.Errorf("after a restart the transaction is answered %s", r.Raw)
		}
		var wg sync.WaitGroup
		for range 5 { // at the same time
			wg.Go(func() {
				if r := m.peer.send(m.agency, "t3", raws(pdus[2])); r.status != http.StatusOK || !r.Get("pdus").Exists() {
					t.Errorf("answered %d %s", r.status, r.Raw)
				}
			})
		}
		wg.Wait()
	})
}

// A room's access control list keeps a server out of everything that is about
// the room, and of nothing else.
func TestServerACLs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", nil)
		before, after := m.says("before", "after")[0], m.says("after")[0]
		m.peer.send(m.agency, "t1", raws(before))
		empty := ""
		_, err := m.rooms.Send(t.Context(), roomserver.SendRequest{Room: m.room, Draft: roomserver.Draft{
			Type: "m.room.server_acl", StateKey: &empty, Sender: m.agency.user("alice"), Content: []byte(`{"allow":["*"],"deny":["peer.*"]}`),
		}})
		if err != nil {
			t.Fatal(err)
		}
		typing := map[string]any{"edu_type": "m.typing", "content": map[string]any{"room_id": m.room, "user_id": m.user, "typing": true}}
		receipt := map[string]any{"edu_type": "m.receipt", "content": map[id.RoomID]any{m.room: map[string]any{"m.read": map[id.UserID]any{
			m.user: map[string]any{"event_ids": []id.EventID{before.ID()}, "data": map[string]any{"ts": 1}},
		}}}}
		r := m.peer.send(m.agency, "t2", raws(after), typing, receipt)
		if text, ok := errorOf(r, after.ID()); r.status != http.StatusOK || !ok || text == "" {
			t.Errorf("An event of a denied server is answered %d %s", r.status, r.Raw)
		}
		if len(m.agency.edus) != 0 {
			t.Errorf("ephemeral data of a denied server was taken: %q", m.agency.edus)
		}
		room, named := string(m.room), string(before.ID())
		for _, c := range []struct{ method, uri string }{
			{"GET", "/v1/make_join/" + room + "/" + string(m.user) + "?ver=12"}, {"GET", "/v1/make_leave/" + room + "/" + string(m.user)},
			{"GET", "/v1/make_knock/" + room + "/" + string(m.user) + "?ver=12"}, {"PUT", "/v2/send_join/" + room + "/" + named},
			{"PUT", "/v2/send_leave/" + room + "/" + named}, {"PUT", "/v1/send_knock/" + room + "/" + named},
			{"PUT", "/v2/invite/" + room + "/" + named}, {"PUT", "/v1/invite/" + room + "/" + named},
			{"GET", "/v1/state/" + room + "?event_id=" + named}, {"GET", "/v1/state_ids/" + room + "?event_id=" + named},
			{"GET", "/v1/event_auth/" + room + "/" + named}, {"GET", "/v1/backfill/" + room + "?limit=1&v=" + named},
			{"POST", "/v1/get_missing_events/" + room},
		} {
			var body any
			if c.method != "GET" {
				body = map[string]any{}
			}
			if r := m.peer.call(m.agency, c.method, "/_matrix/federation"+c.uri, body); r.status != 403 || r.Get("errcode").Str != "M_FORBIDDEN" {
				t.Errorf("%s %s is answered %d %s", c.method, c.uri, r.status, r.Raw)
			}
		}
		if r := m.peer.call(m.agency, "GET", "/_matrix/federation/v1/publicRooms", nil); r.status != http.StatusOK {
			t.Errorf("the directory is answered %d %s", r.status, r.Raw)
		}
	})
}

// Ephemeral data counts when its user is the peer's and in the room; the rest
// is passed over, whatever it looks like.
func TestEDUs(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", func(o *inbound.Options) {
		o.Policy = &inbound.Policy{EDU: func(_, kind string) error {
			if kind == "m.presence" {
				return fault.New(fault.Forbidden, "no presence")
			}
			return nil
		}}
	})
	edu := func(kind string, content any) any { return map[string]any{"edu_type": kind, "content": content} }
	typing := func(room id.RoomID, user id.UserID) any {
		return edu("m.typing", map[string]any{"room_id": room, "user_id": user, "typing": true})
	}
	read := func(user id.UserID, receipt any) any {
		return edu("m.receipt", map[id.RoomID]any{m.room: map[string]any{"m.read": map[id.UserID]any{user: receipt}}})
	}
	receipt := map[string]any{"event_ids": []string{"$event"}, "data": map[string]any{"ts": 1}}
	r := m.peer.send(m.agency, "t", nil,
		typing(m.room, m.user),
		typing(m.room, m.agency.user("alice")), // another server's user
		typing(m.room, "@stranger:peer.test"),  // who is not in the room
		typing("!unknown:a.test", m.user), edu("m.typing", "text"), edu("m.typing", nil), edu("m.typing", map[string]any{"room_id": 1}),
		read(m.user, receipt),
		read(m.agency.user("alice"), receipt), read(m.user, map[string]any{"event_ids": []string{}}), read(m.user, "text"),
		read(m.user, map[string]any{"event_ids": []string{"event"}, "data": map[string]any{"ts": 1}}),
		read(m.user, map[string]any{"event_ids": []string{"$event"}, "data": map[string]any{"ts": 1, "thread_id": "thread"}}),
		edu("m.presence", map[string]any{"push": []any{map[string]any{"user_id": m.user, "presence": "online", "last_active_ago": 1}}}),
		edu("m.unknown", map[string]any{}), "text", nil, 1, []any{},
	)
	if r.status != http.StatusOK {
		t.Fatalf("answered %d %s", r.status, r.Raw)
	}
	m.agency.mu.Lock()
	defer m.agency.mu.Unlock()
	if got := fmt.Sprint(m.agency.edus); got != "[typing @mallory:peer.test read @mallory:peer.test $event ]" {
		t.Errorf("taken is %s", got)
	}
}

// A server that policy does not accept is refused everything but what anyone
// may ask.
func TestPolicyRefuses(t *testing.T) {
	w := newWorld(t, sqlite(t))
	a, p := w.agency("a.test", func(o *inbound.Options) {
		o.Policy = &inbound.Policy{Accept: func(server string) error { return fault.New(fault.Forbidden, "no agreement with %s", server) }}
	}), w.peer("peer.test")
	p.refused(p.send(a, "t", nil), 403, "M_FORBIDDEN")
	p.refused(p.call(a, "GET", "/_matrix/federation/v1/publicRooms", nil), 403, "M_FORBIDDEN")
	if r := p.call(a, "GET", "/_matrix/key/v2/server", nil); r.status != http.StatusOK || r.Get("server_name").Str != a.name {
		t.Errorf("the keys are answered %d %s", r.status, r.Raw)
	}
}
