package clientapi_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"
)

// device is a client that syncs: it keeps what it was told as clients do.
type device struct {
	*person
	filter     string
	stateAfter bool
	since      string
	rooms      map[id.RoomID]*roomCopy
	last       answer
}

// roomCopy is what a client knows of a room.
type roomCopy struct {
	state    map[string]string // event ID by type and state key
	timeline []id.EventID
	bodies   []string
	prev     string
	limited  bool
}

func (p *person) device() *device { return &device{person: p, rooms: map[id.RoomID]*roomCopy{}} }

// sync asks once, without waiting, and applies the answer.
func (d *device) sync(more ...string) answer {
	d.Helper()
	q := url.Values{}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if d.filter != "" {
		q.Set("filter", d.filter)
	}
	if d.stateAfter {
		q.Set("use_state_after", "true")
	}
	if d.since != "" {
		q.Set("since", d.since)
	}
	d.last = d.get("/sync?" + q.Encode()).ok()
	d.since = d.last.str("next_batch")
	d.apply()
	return d.last
}

func (d *device) apply() {
	d.Helper()
	join, _ := d.last.at("rooms", "join").(object)
	for roomID, r := range join {
		d.applyRoom(id.RoomID(roomID), r.(object))
	}
	left, _ := d.last.at("rooms", "leave").(object)
	for roomID := range left {
		delete(d.rooms, id.RoomID(roomID))
	}
}

func (d *device) applyRoom(roomID id.RoomID, r object) {
	d.Helper()
	c := d.rooms[roomID]
	if c == nil {
		c = &roomCopy{state: map[string]string{}}
		d.rooms[roomID] = c
	}
	set := func(e object) {
		if key, ok := e["state_key"].(string); ok {
			c.state[e["type"].(string)+"|"+key] = e["event_id"].(string)
		}
	}
	name := "state"
	if d.stateAfter {
		name = "state_after"
	}
	for _, e := range list(r, name, "events") {
		set(e)
	}
	c.limited, _ = dig(r, "timeline", "limited").(bool)
	c.prev, _ = dig(r, "timeline", "prev_batch").(string)
	for _, e := range list(r, "timeline", "events") {
		if !d.stateAfter {
			set(e)
		}
		c.timeline = append(c.timeline, id.EventID(e["event_id"].(string)))
		if body, ok := dig(e, "content", "body").(string); ok {
			c.bodies = append(c.bodies, body)
		}
	}
}

// list is a list of objects inside an object.
func list(v any, keys ...string) (out []object) {
	found, _ := dig(v, keys...).([]any)
	for _, e := range found {
		out = append(out, e.(object))
	}
	return out
}

// joined is what the last answer says of a joined room.
func (d *device) joined(roomID id.RoomID) object {
	r, _ := d.last.at("rooms", "join", string(roomID)).(object)
	return r
}

// types are the event types of a list in a room of the last answer, in order.
func types(events []object) string {
	var out []string
	for _, e := range events {
		out = append(out, strings.TrimPrefix(e["type"].(string), "m.room."))
	}
	return strings.Join(out, " ")
}

// A first sync tells everything, later ones what came since, and one without
// news only where it stands.
func TestSync(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		roomID := alice.create(object{"preset": "public_chat", "name": "Garden"})
		alice.say(roomID, "one")
		d := alice.device()
		d.sync()
		if got := types(list(d.joined(roomID), "timeline", "events")); !strings.HasSuffix(got, "message") {
			t.Errorf("the timeline is %s", got)
		}
		if d.last.at("rooms", "join", string(roomID), "summary", "m.joined_member_count") != 1.0 {
			t.Errorf("the summary is %v", dig(d.joined(roomID), "summary"))
		}
		if events := list(d.last.body, "account_data", "events"); len(events) != 1 || events[0]["type"] != "m.push_rules" {
			t.Errorf("the account data is %v", events)
		}
		if d.sync(); d.last.at("rooms") != nil || d.last.at("account_data") != nil {
			t.Errorf("nothing happened, but the answer is %s", d.last.raw)
		}
		bob.post("/join/"+esc(roomID), object{}).ok()
		bob.say(roomID, "two")
		d.sync()
		r := d.joined(roomID)
		if got := types(list(r, "timeline", "events")); got != "member message" || dig(r, "timeline", "limited") != false {
			t.Errorf("the timeline is %s, limited %v", got, dig(r, "timeline", "limited"))
		}
		if dig(r, "state") != nil || dig(r, "summary", "m.joined_member_count") != 2.0 || dig(r, "unread_notifications", "notification_count") != 1.0 {
			t.Errorf("state %v, summary %v, unread %v", dig(r, "state"), dig(r, "summary"), dig(r, "unread_notifications"))
		}
		d2 := bob.device()
		d2.sync()
		if got, want := d2.rooms[roomID].state, d.rooms[roomID].state; len(got) != len(want) {
			t.Errorf("who joined later knows %v, want %v", got, want)
		}
	})
}

// Invites, knocks and departures each have their part of the answer.
func TestSyncMemberships(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		d := bob.device()
		d.sync()
		roomID := alice.create(object{"name": "Cellar", "invite": []id.UserID{bob.user}})
		d.sync()
		invite := list(d.last.body, "rooms", "invite", string(roomID), "invite_state", "events")
		if got := types(invite); !strings.Contains(got, "create") || !strings.Contains(got, "name") || strings.Count(got, "member") != 2 {
			t.Errorf("the invite says %s", got)
		}
		bob.post(room(roomID)+"/join", object{}).ok()
		d.sync()
		if got := dig(d.joined(roomID), "timeline", "limited"); d.rooms[roomID] == nil || got == nil {
			t.Errorf("after joining the answer is %s", d.last.raw)
		}
		alice.say(roomID, "before")
		bob.post(room(roomID)+"/leave", object{}).ok()
		alice.say(roomID, "after")
		d.sync()
		left, _ := d.last.at("rooms", "leave", string(roomID)).(object)
		events := list(left, "timeline", "events")
		if got := types(events); got != "message member" {
			t.Errorf("who left sees %s: %s", got, d.last.raw)
		}
		if d.sync(); d.last.at("rooms") != nil {
			t.Errorf("nothing happened, but the answer is %s", d.last.raw)
		}
		fresh := bob.device()
		if fresh.sync(); fresh.last.at("rooms") != nil {
			t.Errorf("a room that was left appears in a first sync: %s", fresh.last.raw)
		}
		fresh = bob.device()
		fresh.filter = `{"room":{"include_leave":true}}`
		fresh.sync()
		left, _ = fresh.last.at("rooms", "leave", string(roomID)).(object)
		if got := types(list(left, "timeline", "events")); !strings.HasSuffix(got, "message member") {
			t.Errorf("with include_leave: %s", fresh.last.raw)
		}
		bob.post(room(roomID)+"/forget", object{}).ok()
		again := bob.device()
		again.filter = fresh.filter
		if again.sync(); again.last.at("rooms") != nil {
			t.Errorf("a forgotten room appears: %s", again.last.raw)
		}
		knocked := alice.create(object{"initial_state": []object{{"type": "m.room.join_rules", "content": object{"join_rule": "knock"}}}})
		bob.post("/knock/"+esc(knocked), object{}).ok()
		d.sync()
		if got := types(list(d.last.body, "rooms", "knock", string(knocked), "knock_state", "events")); !strings.Contains(got, "member") {
			t.Errorf("the knock says %s", d.last.raw)
		}
	})
}

// A limited timeline says so, gives the state before it, and pages back
// without gap or duplicate.
func TestSyncLimited(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		roomID := alice.create(object{})
		d := alice.device()
		d.filter = `{"room":{"timeline":{"limit":3}}}`
		d.sync()
		d.rooms[roomID].bodies, d.rooms[roomID].timeline = nil, nil
		var all []id.EventID
		for i := range 8 {
			if i == 2 {
				all = append(all, id.EventID(alice.put(room(roomID)+"/state/m.room.topic/", object{"topic": "new"}).ok().str("event_id")))
			}
			all = append(all, alice.say(roomID, string(rune('a'+i))))
		}
		d.sync()
		c := d.rooms[roomID]
		if strings.Join(c.bodies, "") != "fgh" || !c.limited {
			t.Fatalf("the timeline is %v, limited %v", c.bodies, c.limited)
		}
		if got := types(list(d.joined(roomID), "state", "events")); got != "topic" {
			t.Errorf("the state is %s", got)
		}
		var back []id.EventID
		for from := c.prev; len(back) < 6; {
			page := alice.get(room(roomID) + "/messages?dir=b&limit=2&from=" + from).ok()
			back = append(back, page.ids("chunk")...)
			from = page.str("end")
		}
		slices.Reverse(back)
		if got := append(back, c.timeline...); !slices.Equal(got, all) {
			t.Errorf("paging back gives %v, want %v", got, all)
		}
	})
}

// A client that waits is answered when something happens that concerns it, and
// when its time is over.
func TestSyncWaits(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		roomID := alice.create(object{"preset": "public_chat"})
		bob.post("/join/"+esc(roomID), object{}).ok()
		d := bob.device()
		d.sync()
		d.sync("timeout", "20")
		done := make(chan object, 1)
		go func() {
			d.sync("timeout", "60000")
			done <- d.joined(roomID)
		}()
		alice.say(roomID, "hello")
		if got := types(list(<-done, "timeline", "events")); got != "message" {
			t.Errorf("the wait ended with %s", got)
		}
		go func() {
			d.sync("timeout", "60000")
			done <- d.joined(roomID)
		}()
		alice.put(room(roomID)+"/typing/"+esc(alice.user), object{"typing": true, "timeout": 10000}).ok()
		got := list(<-done, "ephemeral", "events")
		if len(got) != 1 || got[0]["type"] != "m.typing" || dig(got[0], "content", "user_ids").([]any)[0] != string(alice.user) {
			t.Errorf("the wait ended with %v", got)
		}
	})
}

// A device is told which of its requests made an event, others are not.
func TestSyncTransactions(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		roomID := alice.create(object{})
		d := alice.device()
		d.sync()
		alice.put(room(roomID)+"/send/m.room.message/my-txn", object{"msgtype": "m.text", "body": "x"}).ok()
		unsigned := func() any {
			d.sync()
			return dig(list(d.joined(roomID), "timeline", "events")[0], "unsigned", "transaction_id")
		}
		if got := unsigned(); got != "my-txn" {
			t.Errorf("transaction_id is %v", got)
		}
		alice.put(room(roomID)+"/send/m.room.message/other", object{"msgtype": "m.text", "body": "y"}).ok()
		second := w.login("alice", password, object{"device_id": "SECOND"}).ok().str("access_token")
		since := d.since
		d2 := (&person{w, alice.user, second}).device()
		d2.since = since
		d2.sync()
		if got := dig(list(d2.joined(roomID), "timeline", "events")[0], "unsigned", "transaction_id"); got != nil {
			t.Errorf("another device is told %v", got)
		}
	})
}

// Events come with what is said of those that relate to them.
func TestSyncAggregations(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		roomID := alice.create(object{})
		early := alice.device()
		early.sync()
		root := alice.say(roomID, "root")
		alice.send(roomID, "m.room.message", object{
			"msgtype": "m.text", "body": "* edited", "m.new_content": object{"msgtype": "m.text", "body": "edited"},
			"m.relates_to": object{"rel_type": "m.replace", "event_id": root},
		})
		late := alice.device()
		late.sync()
		early.sync()
		for name, d := range map[string]*device{"told as it came": early, "told at first": late} {
			said := ""
			for _, e := range list(d.joined(roomID), "timeline", "events") {
				if e["event_id"] == string(root) {
					said, _ = dig(e, "unsigned", "m.relations", "m.replace", "content", "body").(string)
				}
			}
			if said != "* edited" {
				t.Errorf("%s: the edit is %q in %s", name, said, d.last.raw)
			}
		}
	})
}

// Nobody hears from those they ignore, but their changes of state.
func TestIgnoredUsers(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		roomID := alice.create(object{"preset": "public_chat"})
		bob.post("/join/"+esc(roomID), object{}).ok()
		d := alice.device()
		d.sync()
		alice.put("/user/"+esc(alice.user)+"/account_data/m.ignored_user_list", object{"ignored_users": object{string(bob.user): object{}}}).ok()
		bob.say(roomID, "hey")
		bob.put("/profile/"+esc(bob.user)+"/displayname", object{"displayname": "B"}).ok()
		bob.create(object{"invite": []id.UserID{alice.user}})
		bob.put(room(roomID)+"/typing/"+esc(bob.user), object{"typing": true}).ok()
		d.sync()
		if got := d.rooms[roomID].bodies; len(got) != 0 {
			t.Errorf("an ignored user is heard: %v", got)
		}
		if d.last.at("rooms", "invite") != nil {
			t.Errorf("an ignored user invites: %s", d.last.raw)
		}
		if dig(d.joined(roomID), "unread_notifications", "notification_count") == 1.0 {
			t.Error("an ignored user notifies")
		}
	})
}

// With lazy loading the state holds the members who speak, each once, unless
// the client wants them again and again.
func TestLazyLoading(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		roomID := alice.create(object{"preset": "public_chat", "name": "Named"})
		for _, p := range []*person{bob, carol} {
			p.post("/join/"+esc(roomID), object{}).ok()
		}
		for range 12 {
			alice.say(roomID, "filler")
		}
		members := func(d *device) string {
			var out []string
			for _, e := range list(d.joined(roomID), "state", "events") {
				if e["type"] == "m.room.member" {
					out = append(out, e["state_key"].(string)[1:6])
				}
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		lazy, redundant := carol.device(), carol.device()
		lazy.filter = `{"room":{"state":{"lazy_load_members":true}}}`
		redundant.filter = `{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true}}}`
		lazy.sync()
		redundant.sync()
		if got := members(lazy); got != "alice carol" {
			t.Errorf("a first lazy sync gives %s", got)
		}
		bob.say(roomID, "now me")
		lazy.sync()
		redundant.sync()
		if got := members(lazy) + "/" + members(redundant); got != "bob:t/bob:t" {
			t.Errorf("lazily: %s", got)
		}
		before := lazy.since
		bob.say(roomID, "again")
		lazy.sync()
		redundant.sync()
		if got := members(lazy) + "/" + members(redundant); got != "/bob:t" {
			t.Errorf("for the second time: %s", got)
		}
		if before == lazy.since {
			t.Error("the token stands still")
		}
		unnamed := alice.create(object{"preset": "public_chat"})
		for _, p := range []*person{bob, carol} {
			p.post("/join/"+esc(unnamed), object{}).ok()
		}
		fresh := carol.device()
		fresh.filter = lazy.filter
		fresh.sync()
		heroes, _ := dig(fresh.joined(unnamed), "summary", "m.heroes").([]any)
		if len(heroes) != 2 || heroes[0] != string(alice.user) || heroes[1] != string(bob.user) {
			t.Errorf("the heroes are %v", heroes)
		}
	})
}

// Filters leave out what they say, and what is not a filter or a token is
// refused.
func TestSyncFilters(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		roomID, other := alice.create(object{"name": "a"}), alice.create(object{})
		alice.say(roomID, "one")
		alice.put("/user/"+esc(alice.user)+"/account_data/org.example", object{"k": "v"}).ok()
		alice.put("/user/"+esc(alice.user)+"/rooms/"+esc(roomID)+"/account_data/org.example", object{"k": "v"}).ok()
		for filter, check := range map[string]func(d *device) bool{
			`{"room":{"rooms":["` + string(other) + `"]}}`:                        func(d *device) bool { return d.joined(roomID) == nil && d.joined(other) != nil },
			`{"room":{"not_rooms":["` + string(other) + `"]}}`:                    func(d *device) bool { return d.joined(roomID) != nil && d.joined(other) == nil },
			`{"room":{"timeline":{"types":["m.room.message"]}}}`:                  func(d *device) bool { return types(list(d.joined(roomID), "timeline", "events")) == "message" },
			`{"room":{"state":{"types":[]}}}`:                                     func(d *device) bool { return len(list(d.joined(roomID), "state", "events")) == 0 },
			`{"room":{"timeline":{"limit":1},"state":{"types":["m.room.name"]}}}`: func(d *device) bool { return types(list(d.joined(roomID), "state", "events")) == "name" },
			`{"account_data":{"not_types":["*"]},"room":{"account_data":{"types":[]}}}`: func(d *device) bool {
				return d.last.at("account_data") == nil && dig(d.joined(roomID), "account_data") == nil
			},
			`{"event_fields":["content.body"]}`: func(d *device) bool {
				events := list(d.joined(roomID), "timeline", "events")
				last := events[len(events)-1]
				return dig(last, "content", "body") == "one" && dig(last, "content", "msgtype") == nil
			},
		} {
			d := alice.device()
			d.filter = filter
			if d.sync(); !check(d) {
				t.Errorf("%s gives %s", filter, d.last.raw)
			}
			stored := alice.post("/user/"+esc(alice.user)+"/filter", filter).ok().str("filter_id")
			d = alice.device()
			d.filter = stored
			if d.sync(); !check(d) {
				t.Errorf("%s, stored, gives %s", filter, d.last.raw)
			}
		}
		alice.get("/sync?since=nonsense").refused(400, "M_INVALID_PARAM")
		alice.get("/sync?filter=none").refused(404, "M_NOT_FOUND")
		alice.get("/sync?filter="+url.QueryEscape(`{"room":7}`)).refused(400, "M_BAD_JSON")
		alice.get("/sync?timeout=x").refused(400, "M_INVALID_PARAM")
		alice.get("/sync?set_presence=maybe").refused(400, "M_INVALID_PARAM")
	})
}

// A client gets the whole state when it asks, and everything anew with a token
// of another time.
func TestFullStateAndForeignTokens(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		roomID := alice.create(object{})
		d := alice.device()
		d.sync()
		want := len(d.rooms[roomID].state)
		d.sync("full_state", "true", "timeout", "60000")
		if got := len(list(d.joined(roomID), "state", "events")); got != want {
			t.Errorf("full_state gives %d events, want %d", got, want)
		}
		epoch, rest, _ := strings.Cut(strings.TrimPrefix(d.since, "s1."), ".")
		for _, since := range []string{"s1.zz." + rest, "s1." + epoch + ".zzzzzzzz.b.0"} {
			d2 := alice.device()
			d2.since = since
			if d2.sync(); d2.rooms[roomID] == nil || len(d2.rooms[roomID].state) != want {
				t.Errorf("since %s: %s", since, d2.last.raw)
			}
		}
		alice.put(room(roomID)+"/typing/"+esc(alice.user), object{"typing": true}).ok()
		before := strings.Split(d.since, ".")
		before[3] = "otherboot"
		d.since = strings.Join(before, ".")
		d.sync()
		if got := list(d.joined(roomID), "ephemeral", "events"); len(got) != 1 {
			t.Errorf("from another node: %s", d.last.raw)
		}
	})
}

// What is seen through sync is bounded in time: nobody waits for ever.
func TestSyncEndsWithServer(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		alice.create(object{})
		d := alice.device()
		d.sync()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.sync.Run(ctx) }()
		done := make(chan struct{})
		go func() {
			d.sync("timeout", "200000")
			close(done)
		}()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("a client waits although the server ends")
		}
	})
}
