package roomserver

import (
	"fmt"
	"testing"

	"entente/internal/lru"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"
	"entente/storage/storagetest"

	"github.com/prometheus/client_golang/prometheus"
	"maunium.net/go/mautrix/id"
)

// forkEvents is how many events two forks differ in.
const forkEvents = 100

// mergeRows makes a room of so many members, lets two agencies change it apart
// from each other, and answers how many rows an agency that has cached nothing
// reads to let in the event that joins the forks.
func mergeRows(t testing.TB, members int) int {
	t.Helper()
	w := newWorld(t, func() storage.Options { return storagetest.SQLite(t) }, "a")
	metrics := prometheus.NewRegistry()
	o := storagetest.SQLite(t)
	o.Metrics = metrics
	w.add("b", o)
	a, b := w.agencies["a"], w.agencies["b"]
	roomID, _ := crowd(t, a, members)
	w.join("@1:b", roomID, a)
	w.post(a, roomID)
	a.inbox, b.inbox = nil, nil
	for i := range forkEvents / 2 {
		for _, own := range []*agency{a, b} {
			user := id.UserID(fmt.Sprintf("@fork-%d:%s", i, own.name))
			if err := own.Join(t.Context(), MemberRequest{Room: roomID, Sender: user, Target: user}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.post(a, roomID)
	forked := b.inbox
	b.inbox = nil
	b.states = state.NewStore(b.db.StateSource(), state.NewCache(32<<20), b.db.Secret())
	b.events = newEventCache(32 << 20)
	b.nums = lru.New[keyName](numsKept, func(state.KeyNum) int { return 1 })
	b.rooms = map[storage.RoomNID]*room{}
	if len(forked) != forkEvents/2 {
		t.Fatalf("b is sent %d events", len(forked))
	}
	before := rowsRead(t, metrics)
	for _, pdu := range forked {
		if err := b.Receive(t.Context(), event.ServerOf(pdu.Sender()), pdu); err != nil {
			t.Fatal(err)
		}
	}
	return int(rowsRead(t, metrics) - before)
}

func rowsRead(t testing.TB, metrics *prometheus.Registry) float64 {
	t.Helper()
	found, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.GetName() == "entente_storage_rows_read_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("rows are not counted")
	return 0
}

// What joining two forks reads grows with what they differ in, not with the
// room.
func TestMergeReadsTheDifference(t *testing.T) {
	small, large := mergeRows(t, 150), mergeRows(t, 1500)
	t.Logf("%d rows in a room of 150 members, %d in one of 1,500", small, large)
	if large > 2*small {
		t.Errorf("a room ten times as large takes %d rows instead of %d", large, small)
	}
}
