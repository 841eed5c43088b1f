package inbound_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"entente/federation/client"
	"entente/federation/sender"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Two agencies share a room of every version that peers speak: they join,
// talk, invite, kick, knock and leave.
func TestTwoAgencies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		for _, version := range []event.Version{"1", "3", "6", "10", "11", "12"} {
			room := a.create(version)
			b.join("bob", room, a)
			b.hears(room, a.say("alice", room, "from a"))
			a.hears(room, b.say("bob", room, "from b"))

			invited := roomserver.MemberRequest{Room: room, Sender: a.user("alice"), Target: b.user("ben")}
			if err := a.rooms.Invite(t.Context(), invited); err != nil {
				t.Fatalf("version %s: invite: %v", version, err)
			}
			b.until("an invite", func() bool { return b.membership(room, b.user("ben")) == "invite" })
			b.join("ben", room, a)
			a.until("a join", func() bool { return a.membership(room, b.user("ben")) == "join" })

			kicked := roomserver.MemberRequest{Room: room, Sender: a.user("alice"), Target: b.user("ben"), Reason: "off you go"}
			if err := a.rooms.Kick(t.Context(), kicked); err != nil {
				t.Fatalf("version %s: kick: %v", version, err)
			}
			b.until("a kick", func() bool { return b.membership(room, b.user("ben")) == "leave" })
			if err := b.rooms.Leave(t.Context(), roomserver.MemberRequest{Room: room, Sender: b.user("bob"), Target: b.user("bob")}); err != nil {
				t.Fatalf("version %s: leave: %v", version, err)
			}
			a.until("a leave", func() bool { return a.membership(room, b.user("bob")) == "leave" })
		}
	})
}

// An invite to a room that the agency is not in can be refused, and a knock
// reaches the room.
func TestInvitesAndKnocks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		room, err := a.rooms.Create(t.Context(), roomserver.CreateRequest{Creator: a.user("alice"), Preset: "private_chat", Name: "Secret",
			InitialState: []roomserver.StateDraft{{Type: "m.room.join_rules", Content: []byte(`{"join_rule":"knock"}`)}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.rooms.Invite(t.Context(), roomserver.MemberRequest{Room: room, Sender: a.user("alice"), Target: b.user("bob")}); err != nil {
			t.Fatal(err)
		}
		b.until("an invite", func() bool { return b.membership(room, b.user("bob")) == "invite" })
		if err := b.rooms.Leave(t.Context(), roomserver.MemberRequest{Room: room, Sender: b.user("bob"), Target: b.user("bob")}); err != nil {
			t.Fatal(err)
		}
		a.until("the refusal", func() bool { return a.membership(room, b.user("bob")) == "leave" })
		if err := b.rooms.Knock(t.Context(), roomserver.MemberRequest{Room: room, Sender: b.user("ben"), Target: b.user("ben"), Via: []string{a.name}}); err != nil {
			t.Fatal(err)
		}
		a.until("the knock", func() bool { return a.membership(room, b.user("ben")) == "knock" })
	})
}

// The peer is down, its last user is kicked, more is said, the peer returns: it
// hears of the kick, and of nothing after.
func TestKickWhileDown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.agency("a.test", nil), w.agency("b.test", nil), w.agency("c.test", nil)
		room := a.create("12")
		b.join("bob", room, a)
		c.join("carol", room, a)
		a.until("carol", func() bool { return a.membership(room, c.user("carol")) == "join" })
		b.until("carol", func() bool { return b.membership(room, c.user("carol")) == "join" })
		b.peers.Close()
		a.peers.Forget(b.name)
		w.setDown(b.name, true)
		before := a.say("alice", room, "before the kick")
		if err := a.rooms.Kick(t.Context(), roomserver.MemberRequest{Room: room, Sender: a.user("alice"), Target: b.user("bob")}); err != nil {
			t.Fatal(err)
		}
		after := a.say("alice", room, "after the kick")
		c.hears(room, after)
		w.setDown(b.name, false)
		b.hears(room, before)
		b.until("the kick", func() bool { return b.membership(room, b.user("bob")) == "leave" })
		last := a.say("alice", room, "still after the kick")
		c.hears(room, last)
		if b.stored(room, after) != nil || b.stored(room, last) != nil {
			t.Error("The peer got what was said after its last user was kicked.")
		}
	})
}

// After an outage everything arrives, in the order in which it was sent.
func TestOutage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		room := a.create("12")
		b.join("bob", room, a)
		a.peers.Forget(b.name)
		w.setDown(b.name, true)
		var said []id.EventID
		for i := range 130 {
			said = append(said, a.say("alice", room, fmt.Sprint(i)))
		}
		w.setDown(b.name, false)
		b.hears(room, said[len(said)-1])
		var heard []storage.Position
		for _, eventID := range said {
			e := b.stored(room, eventID)
			if e == nil || e.Pos == 0 {
				t.Fatalf("%s did not arrive", eventID)
			}
			heard = append(heard, e.Pos)
		}
		if !slices.IsSorted(heard) {
			t.Error("The events arrived out of order.")
		}
	})
}

// A third agency learns of a join that it was not told of by the joining one,
// and relays nothing twice.
func TestThreeAgencies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.agency("a.test", nil), w.agency("b.test", nil), w.agency("c.test", nil)
		room := a.create("11")
		b.join("bob", room, a)
		c.join("carol", room, b)
		a.until("carol at a", func() bool { return a.membership(room, c.user("carol")) == "join" })
		b.until("carol at b", func() bool { return b.membership(room, c.user("carol")) == "join" })
		for i, from := range []*agency{a, b, c} {
			user := []string{"alice", "bob", "carol"}[i]
			said := from.say(user, room, "hello")
			for _, to := range []*agency{a, b, c} {
				to.hears(room, said)
			}
		}
	})
}

// Ephemeral data of one agency's users reaches the other's hooks.
func TestEphemeral(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		room := a.create("12")
		b.join("bob", room, a)
		info, err := b.rooms.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		to, err := b.sender.InRoom(t.Context(), info.NID)
		if err != nil || to != "a.test" {
			t.Fatalf("the servers are %q, %v", to, err)
		}
		said := a.say("alice", room, "hello")
		b.sender.Typing(to, room, b.user("bob"), true)
		b.sender.Receipt(to, sender.Receipt{Room: room, User: b.user("bob"), EventID: said, Timestamp: 1, Thread: "main"})
		b.sender.Presence(to, sender.Presence{User: b.user("bob"), Presence: "online"})
		b.sender.Typing(to, room, b.user("nobody"), true) // who is not in the room
		want := []string{"typing @bob:b.test", "online @bob:b.test", "read @bob:b.test " + string(said) + " main"}
		a.until("three EDUs", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.edus) >= 3 })
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, edu := range want {
			if !slices.Contains(a.edus, edu) {
				t.Errorf("%q is not among %q", edu, a.edus)
			}
		}
		if len(a.edus) != len(want) {
			t.Errorf("the hooks were given %q", a.edus)
		}
	})
}

// Directory, profile, keys and version answer peers, with what there is and
// what there is not.
func TestQueries(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		room, err := a.rooms.Create(t.Context(), roomserver.CreateRequest{Creator: a.user("alice"), Preset: "public_chat", AliasName: "hall", Visibility: "public", Name: "Hall"})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := b.peers.QueryDirectory(t.Context(), a.name, "#hall:a.test")
		if err != nil || answer.RoomID != room || !slices.Equal(answer.Servers, []string{a.name}) {
			t.Errorf("the alias stands for %+v, %v", answer, err)
		}
		if _, err := b.peers.QueryDirectory(t.Context(), a.name, "#none:a.test"); err == nil {
			t.Error("An alias that does not exist was found.")
		}
		for _, filter := range []string{``, `{"generic_search_term":"hall"}`} {
			page, err := b.peers.PublicRooms(t.Context(), a.name, client.PublicRoomsRequest{Limit: 10, Filter: []byte(filter)})
			if err != nil || len(page.Chunk) != 1 {
				t.Errorf("with the filter %q the directory is %+v, %v", filter, page, err)
			}
		}
		if _, err := b.peers.QueryProfile(t.Context(), a.name, a.user("nobody"), ""); err == nil {
			t.Error("A profile that does not exist was found.")
		}
		if name, version, err := b.peers.Version(t.Context(), a.name); err != nil || name != "Entente" || version != "1" {
			t.Errorf("the version is %s %s, %v", name, version, err)
		}
		documents, err := b.peers.QueryKeys(t.Context(), a.name, b.name, 0)
		if err != nil || len(documents) != 1 {
			t.Errorf("the notary answers %d documents, %v", len(documents), err)
		}
	})
}

// What the calls about a room's past answer holds together: the state before
// an event, its auth chain, what came before, and what lies between.
func TestHistoryCalls(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		room := a.create("12")
		first := a.say("alice", room, "before the join")
		b.join("bob", room, a)
		var said []id.EventID
		for i := range 5 {
			said = append(said, a.say("alice", room, fmt.Sprint(i)))
		}
		ctx, last := t.Context(), said[4]
		state, auth, err := b.peers.StateIDs(ctx, a.name, room, last)
		if err != nil || len(state) == 0 {
			t.Fatalf("state_ids: %d and %d, %v", len(state), len(auth), err)
		}
		parts := map[client.Part]int{}
		if err := b.peers.State(ctx, a.name, room, last, func(part client.Part, _ json.RawMessage) error { parts[part]++; return nil }); err != nil {
			t.Fatal(err)
		}
		if parts[client.StatePart] != len(state) || parts[client.AuthPart] != len(auth) {
			t.Errorf("state has %v, state_ids %d and %d", parts, len(state), len(auth))
		}
		chain, err := b.peers.EventAuth(ctx, a.name, room, last)
		if err != nil || len(chain) == 0 {
			t.Errorf("event_auth: %d, %v", len(chain), err)
		}
		if raw, err := b.peers.Event(ctx, a.name, last); err != nil || len(raw) == 0 {
			t.Errorf("event: %s, %v", raw, err)
		}
		back, err := b.peers.Backfill(ctx, a.name, room, []id.EventID{last}, 3)
		if err != nil || len(back) != 3 {
			t.Errorf("backfill: %d, %v", len(back), err)
		}
		between, err := b.peers.GetMissingEvents(ctx, a.name, room, client.MissingRequest{Earliest: said[:1], Latest: []id.EventID{last}, Limit: 10})
		if err != nil || len(between) != 3 {
			t.Errorf("get_missing_events: %d, %v", len(between), err)
		}
		c := w.agency("c.test", nil) // is not in the room
		if _, _, err := c.peers.StateIDs(ctx, a.name, room, last); err == nil {
			t.Error("A server that is not in the room was told its state.")
		}
		if _, err := c.peers.Event(ctx, a.name, first); err == nil {
			t.Error("A server that is not in the room was told an event.")
		}
	})
}
