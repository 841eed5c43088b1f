package clientapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"
)

// numbered sends messages whose bodies are the numbers from 1 to n.
func (p *person) numbered(r id.RoomID, n int) (out []id.EventID) {
	p.Helper()
	for i := range n {
		out = append(out, p.say(r, fmt.Sprint(i+1)))
	}
	return out
}

// Pages in either direction are in order, do not overlap, leave nothing out,
// and end.
func TestMessages(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		r := alice.create(object{"preset": "public_chat"})
		alice.numbered(r, 25)
		for dir, want := range map[string]string{"b": numbers(25, 1), "f": numbers(1, 25)} {
			var got []string
			types := map[string]int{}
			from := ""
			for range 100 {
				page := alice.get(room(r) + "/messages?limit=4&dir=" + dir + from).ok()
				if bodies := page.bodies("chunk"); bodies != "" {
					got = append(got, bodies)
				}
				for _, e := range page.events("chunk") {
					types[e["type"].(string)]++
				}
				if page.str("end") == "" {
					break
				}
				from = "&from=" + url.QueryEscape(page.str("end"))
			}
			if all := strings.Join(got, " "); all != want {
				t.Errorf("going %s gives %s", dir, all)
			}
			if types["m.room.create"] != 1 || types["m.room.message"] != 25 {
				t.Errorf("going %s gives %v", dir, types)
			}
		}
		first := alice.get(room(r) + "/messages?limit=3&dir=b").ok()
		again := alice.get(room(r) + "/messages?limit=3&dir=b&from=" + first.str("start")).ok()
		if first.bodies("chunk") != again.bodies("chunk") || first.bodies("chunk") != "25 24 23" {
			t.Errorf("from the start of a page one gets %s, not %s", again.bodies("chunk"), first.bodies("chunk"))
		}
		forth := alice.get(room(r) + "/messages?limit=3&dir=f&from=" + first.str("end")).ok()
		if forth.bodies("chunk") != "23 24 25" {
			t.Errorf("forth from the end of a page one gets %s", forth.bodies("chunk"))
		}
		alice.say(r, "26")
		if later := alice.get(room(r) + "/messages?dir=f&from=" + first.str("start")).ok(); later.bodies("chunk") != "26" {
			t.Errorf("forth from where the timeline ended one gets %s", later.bodies("chunk"))
		}
		between := alice.get(room(r) + "/messages?limit=100&dir=b&from=" + first.str("start") + "&to=" + first.str("end")).ok()
		if between.bodies("chunk") != "25 24 23" {
			t.Errorf("between two tokens there is %s", between.bodies("chunk"))
		}
		for _, query := range []string{"", "?dir=x", "?dir=b&limit=x", "?dir=b&limit=-1", "?dir=b&from=x", "?dir=b&to=x", "?dir=b&from=t1.1.2.3"} {
			if got := alice.get(room(r) + "/messages" + query); got.status != 400 {
				t.Errorf("%q answered %d %s", query, got.status, got.raw)
			}
		}
	})
}

func numbers(from, to int) string {
	step := 1
	if to < from {
		step = -1
	}
	var out []string
	for i := from; i != to+step; i += step {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, " ")
}

// A filter chooses among all events, page after page, and loads the members
// that matter.
func TestMessagesFilter(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat"})
		bob.post(room(r)+"/join", object{}).ok()
		for i := range 30 {
			alice.say(r, fmt.Sprint("a", i))
			if i%10 == 0 {
				bob.send(r, "m.room.message", object{"body": fmt.Sprint("b", i), "url": "mxc://x/y"})
			}
		}
		get := func(filter string) answer {
			return alice.get(room(r) + "/messages?dir=b&filter=" + url.QueryEscape(filter)).ok()
		}
		if got := get(`{"senders":["@bob:test"],"types":["m.room.message"]}`); got.bodies("chunk") != "b20 b10 b0" || got.at("state") != nil {
			t.Errorf("bob said %s", got.raw)
		}
		if got := get(`{"contains_url":true}`); got.bodies("chunk") != "b20 b10 b0" {
			t.Errorf("with a URL: %s", got.bodies("chunk"))
		}
		if got := get(`{"types":["m.room.member"],"limit":1}`); len(got.events("chunk")) != 1 || got.str("end") == "" {
			t.Errorf("the last membership is %s", got.raw)
		}
		if got := get(`{"not_rooms":["` + string(r) + `"]}`); len(got.events("chunk")) != 0 {
			t.Errorf("events of a room that is left out: %s", got.raw)
		}
		if got := get(`{"lazy_load_members":true,"senders":["@bob:test"]}`); len(got.events("state")) != 1 || got.events("state")[0]["state_key"] != "@bob:test" {
			t.Errorf("the members that matter are %s", got.raw)
		}
		alice.get(room(r)+"/messages?dir=b&filter=nonsense").refused(400, "M_BAD_JSON")
	})
}

// Whoever left pages through what was said until then, and not further.
func TestMessagesAfterLeaving(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat"})
		bob.post(room(r)+"/join", object{}).ok()
		start := alice.get(room(r) + "/messages?dir=b&limit=1").ok().str("start")
		before := alice.numbered(r, 3)
		bob.post(room(r)+"/leave", object{}).ok()
		after := alice.say(r, "after")
		now := alice.get(room(r) + "/messages?dir=b&limit=1").ok().str("start")
		for _, from := range []string{"", "&from=" + now} {
			if got := bob.get(room(r) + "/messages?dir=b&limit=4" + from).ok(); got.bodies("chunk") != "3 2 1" || len(got.events("chunk")) != 4 {
				t.Errorf("bob reads %s", got.raw)
			}
		}
		if got := bob.get(room(r) + "/messages?dir=f&from=" + start).ok(); got.bodies("chunk") != "1 2 3" {
			t.Errorf("going forth bob reads %s", got.bodies("chunk"))
		}
		bob.get(room(r) + "/event/" + esc(before[2])).ok()
		bob.get(room(r)+"/event/"+esc(after)).refused(404, "M_NOT_FOUND")
		bob.get(room(r)+"/context/"+esc(after)).refused(404, "M_NOT_FOUND")
		around := bob.get(room(r) + "/context/" + esc(before[1])).ok()
		if around.bodies("events_after") != "3" || slices.Contains(around.ids("events_after"), after) {
			t.Errorf("bob sees around it %s", around.raw)
		}
		if got := bob.get(room(r) + "/members").ok(); len(got.events("chunk")) != 2 {
			t.Errorf("bob sees the members %s", got.raw)
		}
		bob.get(room(r)+"/joined_members").refused(403, "M_FORBIDDEN")
	})
}

// What everybody may read, everybody reads.
func TestWorldReadable(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"initial_state": []object{
			{"type": "m.room.history_visibility", "state_key": "", "content": object{"history_visibility": "world_readable"}},
		}})
		said := alice.say(r, "open")
		if got := bob.get(room(r) + "/messages?dir=b&limit=1").ok(); got.bodies("chunk") != "open" {
			t.Errorf("a stranger reads %s", got.raw)
		}
		bob.get(room(r) + "/event/" + esc(said)).ok()
		bob.get(room(r) + "/state").ok()
		bob.get(room(r) + "/aliases").ok()
		bob.get(room(r)+"/joined_members").refused(403, "M_FORBIDDEN")
		bob.put(room(r)+"/send/m.room.message/1", object{}).refused(403, "M_FORBIDDEN")
	})
}

// What surrounds an event is given on both sides, with the state there and
// tokens that go on from it.
func TestContext(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat", "topic": "before"})
		bob.post(room(r)+"/join", object{}).ok()
		said := alice.numbered(r, 10)
		alice.put(room(r)+"/state/m.room.topic", object{"topic": "after"}).ok()
		got := alice.get(room(r) + "/context/" + esc(said[4]) + "?limit=4").ok()
		if got.bodies("events_before") != "4 3" || got.bodies("events_after") != "6 7" || got.at("event", "content", "body") != "5" {
			t.Errorf("the context is %s", got.raw)
		}
		topic := slices.IndexFunc(got.events("state"), func(e object) bool { return e["type"] == "m.room.topic" })
		if dig(got.events("state")[topic], "content", "topic") != "before" {
			t.Errorf("the state there is %s", got.raw)
		}
		back := alice.get(room(r) + "/messages?dir=b&limit=2&from=" + got.str("start")).ok()
		forth := alice.get(room(r) + "/messages?dir=f&limit=3&from=" + got.str("end")).ok()
		if back.bodies("chunk") != "2 1" || forth.bodies("chunk") != "8 9 10" {
			t.Errorf("going on from it one gets %s and %s", back.bodies("chunk"), forth.bodies("chunk"))
		}
		alone := alice.get(room(r) + "/context/" + esc(said[4]) + "?limit=0").ok()
		if len(alone.events("events_before"))+len(alone.events("events_after")) != 0 {
			t.Errorf("of no context there is %s", alone.raw)
		}
		lazy := alice.get(room(r) + "/context/" + esc(said[4]) + "?limit=4&filter=" + url.QueryEscape(`{"lazy_load_members":true,"types":["m.room.member","m.room.message"]}`)).ok()
		if state := lazy.events("state"); len(state) != 1 || state[0]["state_key"] != "@alice:test" {
			t.Errorf("the members that matter are %v", state)
		}
		alice.get(room(r)+"/context/"+esc(said[4])+"?limit=x").refused(400, "M_INVALID_PARAM")
	})
}

// Members are listed by membership, now and at an earlier point.
func TestMembers(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		r := alice.create(object{"preset": "public_chat", "invite": []id.UserID{carol.user}})
		page := alice.get(room(r) + "/messages?dir=b&limit=1").ok()
		bob.post(room(r)+"/join", object{}).ok()
		list := func(query string) string {
			var out []string
			for _, e := range alice.get(room(r) + "/members" + query).ok().events("chunk") {
				out = append(out, strings.TrimSuffix(e["state_key"].(string)[1:], ":test"))
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		for query, want := range map[string]string{
			"": "alice bob carol", "?membership=join": "alice bob", "?not_membership=join": "carol", "?membership=ban": "",
			"?at=" + page.str("start"):                       "alice carol",
			"?at=" + page.str("end") + "&membership=join":    "alice",
			"?membership=invite&at=" + page.str("start"):     "carol",
			"?not_membership=invite&at=" + page.str("start"): "alice",
		} {
			if got := list(query); got != want {
				t.Errorf("%q lists %q, want %q", query, got, want)
			}
		}
		alice.get(room(r)+"/members?membership=guest").refused(400, "M_INVALID_PARAM")
		alice.get(room(r)+"/members?at=nonsense").refused(400, "M_INVALID_PARAM")
	})
}

// The event nearest to a time is found on either side of it.
func TestTimestampToEvent(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat"})
		var sent []id.EventID
		var at []int64
		for i := range 20 {
			w.pass(time.Minute)
			sent = append(sent, alice.say(r, fmt.Sprint(i)))
			at = append(at, int64(alice.get(room(r)+"/event/"+esc(sent[i])).ok().at("origin_server_ts").(float64)))
		}
		near := func(p *person, ts int64, dir string) answer {
			return p.get(fmt.Sprintf("/_matrix/client/v1/rooms/%s/timestamp_to_event?ts=%d&dir=%s", esc(r), ts, dir))
		}
		for i := range sent {
			for _, tt := range []struct {
				ts  int64
				dir string
			}{{at[i], "f"}, {at[i], "b"}, {at[i] - 10_000, "f"}, {at[i] + 10_000, "b"}} {
				if got := near(alice, tt.ts, tt.dir).ok(); got.str("event_id") != string(sent[i]) {
					t.Errorf("%s of %d (event %d at %d) there is %s", tt.dir, tt.ts, i, at[i], got.raw)
				}
			}
		}
		near(alice, at[19]+1, "f").refused(404, "M_NOT_FOUND")
		near(alice, 1, "b").refused(404, "M_NOT_FOUND")
		near(bob, at[3], "f").refused(403, "M_FORBIDDEN")
		alice.get("/_matrix/client/v1"+room(r)+"/timestamp_to_event?dir=f").refused(400, "M_MISSING_PARAM")
		near(alice, -1, "f").refused(400, "M_INVALID_PARAM")
	})
}
