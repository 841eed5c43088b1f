package inbound_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// A user who left their agency's only seat in a room, and comes back after much
// was said, pages back through all of it: what the agency does not have it
// fetches, and nothing is left out or given twice. A newcomer pages back to the
// room's beginning in the same way.
func TestPagingBackOverAbsence(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agency("a.test", nil), w.agency("b.test", nil)
		for i, version := range []event.Version{"6", "12"} {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			away, limit := []int{200, 550}[i], []int{60, 1000}[i] // the second is more than one request fetches
			room := a.create(version)
			say := func(n int, what string) (last id.EventID) {
				for i := range n {
					last = a.say("alice", room, fmt.Sprint(what, i))
				}
				return last
			}
			say(70, "before")
			b.join("bob", room, a)
			a.until("a join", func() bool { return a.membership(room, b.user("bob")) == "join" })
			b.hears(room, say(3, "together"))
			if err := b.rooms.Leave(t.Context(), roomserver.MemberRequest{Room: room, Sender: b.user("bob"), Target: b.user("bob")}); err != nil {
				t.Fatal(err)
			}
			a.until("a leave", func() bool { return a.membership(room, b.user("bob")) == "leave" })
			say(away, "away")
			b.join("bob", room, a)
			a.until("a join", func() bool { return a.membership(room, b.user("bob")) == "join" })
			b.hears(room, say(2, "again"))

			got := b.everything(room, b.user("bob"), limit, random)
			want := a.everything(room, a.user("alice"), limit, random)
			slices.Sort(got)
			slices.Sort(want)
			if len(got) != len(slices.Compact(slices.Clone(got))) {
				t.Errorf("version %s: some events were given twice", version)
			}
			if !slices.Equal(got, want) {
				t.Errorf("version %s: %d events were given, of %d", version, len(got), len(want))
			}
		}
	})
}

// everything is what a client gets who has the timeline since the user's last
// join, and pages back from there in pages of any size.
func (a *agency) everything(room id.RoomID, user id.UserID, limit int, random *rand.Rand) (out []id.EventID) {
	a.Helper()
	ctx := a.Context()
	info, err := a.rooms.Info(ctx, room)
	if err != nil {
		a.Fatal(err)
	}
	m, err := a.db.Latest().Member(ctx, info.NID, user)
	if err != nil || m == nil || m.Membership != storage.Join {
		a.Fatalf("%s is no member of %s: %v", user, room, err)
	}
	live, err := a.db.Latest().Live(ctx, info, m.Pos, a.db.Applied(), 10_000)
	if err != nil || len(live) == 0 {
		a.Fatalf("the timeline is %v: %v", live, err)
	}
	for _, e := range live {
		out = append(out, e.PDU.ID())
	}
	viewer, err := a.rooms.Viewer(ctx, info, user)
	if err != nil {
		a.Fatal(err)
	}
	page := roomserver.HistoryPage{End: roomserver.Seam(live[0]), More: true}
	for page.More {
		page, err = a.rooms.History(ctx, info, viewer, roomserver.HistoryRequest{From: page.End, Limit: 1 + random.IntN(limit), Fill: true})
		if err != nil {
			a.Fatal(err)
		}
		for _, e := range page.Events {
			out = append(out, e.PDU.ID())
		}
	}
	return out
}
