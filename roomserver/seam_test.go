package roomserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// A member who left, while much was said elsewhere, and came back pages back
// from where their timeline begins through all that there is: no gap, no
// duplicate, however large the pages are and whenever others are asked for
// what is missing.
func TestSeam(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		used := false
		options := func() storage.Options {
			if used && o.SQLite != "" {
				return storagetest.SQLite(t)
			} else if used {
				return storagetest.Postgres(t)
			}
			used = true
			return o
		}
		w := newWorld(t, options, "a", "b", "c")
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				w.t = t
				seam(t, w, rand.New(rand.NewPCG(seed, 7)), map[bool]int{true: 200, false: 40}[seed == 0])
			})
		}
	})
}

func seam(t *testing.T, w *world, r *rand.Rand, elsewhere int) {
	const alice, bob id.UserID = "@alice:a", "@bob:b"
	a, b := w.agencies["a"], w.agencies["b"]
	room, err := a.Create(t.Context(), CreateRequest{Creator: alice, Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	say := func(from *agency, user id.UserID, n int) {
		for i := range n {
			draft := Draft{Type: "m.room.message", Sender: user, Content: json.RawMessage(fmt.Sprintf(`{"body":"%d"}`, i))}
			if from == a && r.IntN(8) == 0 {
				draft = Draft{Type: "m.room.topic", StateKey: new(string), Sender: user, Content: json.RawMessage(fmt.Sprintf(`{"topic":"%d"}`, r.Int()))}
			}
			if _, err := from.Send(t.Context(), SendRequest{Room: room, Draft: draft}); err != nil {
				t.Fatal(err)
			}
		}
		w.settle(room, r)
	}
	say(a, alice, r.IntN(10))
	w.join(bob, room, a)
	w.settle(room, r)
	for range 3 {
		say(a, alice, r.IntN(5))
		say(b, bob, r.IntN(5))
	}
	if err := b.Leave(t.Context(), MemberRequest{Room: room, Sender: bob, Target: bob}); err != nil {
		t.Fatal(err)
	}
	w.settle(room, r)
	say(a, alice, elsewhere)
	w.join(bob, room, a)
	w.settle(room, r)
	say(a, alice, r.IntN(5))
	say(b, bob, r.IntN(5))

	live := liveSince(t, b, room, bob)
	given := pageBack(t, w, room, bob, Seam(live[0]), r)
	for _, e := range live {
		given = append(given, e.PDU.ID())
	}
	slices.Sort(given)
	if n := len(given); n != len(slices.Compact(slices.Clone(given))) {
		t.Errorf("of %d events some were given twice", n)
	}
	want := everyEvent(t, a, room)
	slices.Sort(want)
	if missing := without(want, given); len(missing) > 0 {
		t.Errorf("%d of %d events were never given, %s first", len(missing), len(want), missing[0])
	}
	if extra := without(given, want); len(extra) > 0 {
		t.Errorf("events were given that are not in the room: %d of them", len(extra))
	}
}

// liveSince is the live timeline of a room since the user joined it last.
func liveSince(t *testing.T, of *agency, room id.RoomID, user id.UserID) []*storage.Event {
	t.Helper()
	info, err := of.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	m, err := of.db.Latest().Member(t.Context(), info.NID, user)
	if err != nil || m == nil || m.Membership != storage.Join {
		t.Fatalf("%s is no member: %+v, %v", user, m, err)
	}
	live, err := of.db.Latest().Live(t.Context(), info, m.Pos, of.db.Applied(), 1000)
	if err != nil || len(live) == 0 || live[0].NID != m.Event {
		t.Fatalf("the timeline since the join is %v, %v", live, err)
	}
	return live
}

// everyEvent lists all of a room's history.
func everyEvent(t *testing.T, of *agency, room id.RoomID) (out []id.EventID) {
	t.Helper()
	info, err := of.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	all, err := of.db.Latest().HistoryBack(t.Context(), info, everything(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		out = append(out, e.PDU.ID())
	}
	return out
}

// pageBack reads pages of any size back from a point to the beginning of the
// room, asking the other agency for what is missing before a page is taken.
func pageBack(t *testing.T, w *world, room id.RoomID, user id.UserID, from Point, r *rand.Rand) (out []id.EventID) {
	t.Helper()
	a, b := w.agencies["a"], w.agencies["b"]
	info, err := b.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	v, err := b.Viewer(t.Context(), info, user)
	if err != nil {
		t.Fatal(err)
	}
	limit := 1 + r.IntN(30)
	for range 5000 {
		p := &pager{server: b.Server, ctx: t.Context(), info: info, viewer: v, req: HistoryRequest{From: from, Limit: limit}}
		page, err := p.page()
		if err != nil {
			t.Fatal(err)
		}
		gaps, err := p.gaps(page)
		if err != nil {
			t.Fatal(err)
		}
		if len(gaps) > 0 {
			fetch(t, a, b, info, gaps)
			continue
		}
		for _, e := range page.Events {
			out = append(out, e.PDU.ID())
		}
		if !page.More {
			return out
		}
		from, limit = page.End, 1+r.IntN(30)
	}
	t.Fatal("paging back does not end")
	return nil
}

// fetch gives b what a has behind gaps, as far as to what b knows: without a
// network b cannot ask for the state before the first of it.
func fetch(t *testing.T, a, b *agency, info *storage.RoomInfo, gaps []storage.Gap) {
	t.Helper()
	var missing []id.EventID
	for _, g := range gaps {
		missing = append(missing, g.Missing)
	}
	got := map[id.EventID]*event.PDU{}
	for len(missing) > 0 {
		pdus, err := a.BackfillFor(t.Context(), b.name, info.ID, missing, 50)
		if err != nil || len(pdus) == 0 {
			t.Fatalf("there is nothing behind %v: %v", missing, err)
		}
		var cited []id.EventID
		for _, pdu := range pdus {
			got[pdu.ID()] = pdu
			cited = append(cited, pdu.PrevEvents()...)
		}
		known, err := b.eventsByID(t.Context(), info, cited)
		if err != nil {
			t.Fatal(err)
		}
		missing = slices.DeleteFunc(cited, func(e id.EventID) bool {
			return got[e] != nil || known[e] != nil && known[e].Status != storage.Outlier
		})
	}
	room, err := b.room(info)
	if err != nil {
		t.Fatal(err)
	}
	defer b.release(room)
	if err := b.takeHistory(t.Context(), room, a.name, slices.Collect(maps.Values(got))); err != nil {
		t.Fatal(err)
	}
}

func without(all, some []id.EventID) []id.EventID {
	return slices.DeleteFunc(slices.Clone(all), func(e id.EventID) bool { return slices.Contains(some, e) })
}
