package storage_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// A destination's row is moved under a lease's epoch, and not back by whoever
// had an earlier one; what is newest only rises.
func TestDestinations(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		ctx := t.Context()
		if d, err := db.Latest().Destination(ctx, "a"); err != nil || d != nil {
			t.Errorf("an unknown destination is %+v, %v", d, err)
		}
		stage := func(rows ...storage.Row) {
			t.Helper()
			if err := db.Stage(ctx, rows...); err != nil {
				t.Fatal(err)
			}
		}
		want := func(want storage.Destination) {
			t.Helper()
			if d, err := db.Latest().Destination(ctx, "a"); err != nil || *d != want {
				t.Errorf("the destination is %+v, %v, and not %+v", d, err, want)
			}
		}
		stage(&storage.DestinationNewest{Server: "a", First: 5, Newest: 9})
		want(storage.Destination{Server: "a", Cursor: 4, Newest: 9})
		stage(&storage.DestinationNewest{Server: "a", First: 6, Newest: 7})
		want(storage.Destination{Server: "a", Cursor: 4, Newest: 9})
		stage(&storage.Destination{Server: "a", Cursor: 8, Newest: 3, Failures: 2, RetryAt: 10, Succeeded: 11, Epoch: 2})
		want(storage.Destination{Server: "a", Cursor: 8, Newest: 9, Failures: 2, RetryAt: 10, Succeeded: 11, Epoch: 2})
		stage(&storage.Destination{Server: "a", Cursor: 1, Newest: 20, Epoch: 1})
		want(storage.Destination{Server: "a", Cursor: 8, Newest: 9, Failures: 2, RetryAt: 10, Succeeded: 11, Epoch: 2})
		stage(&storage.Destination{Server: "b", Cursor: 7, Newest: 7, Epoch: 1}, &storage.DestinationsScanned{Pos: 9}, &storage.DestinationsScanned{Pos: 8})
		behind, err := db.Latest().Behind(ctx)
		if err != nil || len(behind) != 1 || behind[0].Server != "a" {
			t.Errorf("behind is %v, %v", behind, err)
		}
		if pos, err := db.Latest().DestinationsScanned(ctx); err != nil || pos != 9 {
			t.Errorf("scanned up to %d, %v", pos, err)
		}
	})
}

// What is sent is found by position, page by page, with its destinations.
func TestOutgoing(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		ctx := t.Context()
		info, err := db.AddRoom(ctx, "!room:test", "11")
		if err != nil {
			t.Fatal(err)
		}
		var at []storage.Position
		for i, to := range []storage.Servers{"a\nb", "", "b", "a"} {
			nid, err := db.AllocateEvents(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			e := &storage.Event{
				NID: nid, Room: info.NID, PDU: trusted(t, id.EventID(fmt.Sprint("$", i))), Status: storage.Accepted,
				Before: storage.UnknownRoot, After: storage.UnknownRoot, Destinations: to,
			}
			pos, err := db.Commit(ctx, storage.Commit{Positions: 1, Write: []storage.Row{e.At(0)}})
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, pos)
		}
		got, err := db.Latest().Outgoing(ctx, 0, at[3], 10)
		want := []storage.Outgoing{{Pos: at[0], To: "a\nb"}, {Pos: at[2], To: "b"}, {Pos: at[3], To: "a"}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("outgoing is %v, %v", got, err)
		}
		if got, err = db.Latest().Outgoing(ctx, at[0], at[2], 1); err != nil || !slices.Equal(got, want[1:2]) {
			t.Errorf("a page is %v, %v", got, err)
		}
		events, err := db.Latest().OutgoingEvents(ctx, []storage.Position{at[3], at[1], at[0]})
		if err != nil || len(events) != 2 || events[0].ID != "$0" || events[1].ID != "$3" || len(events[0].JSON) == 0 {
			t.Errorf("events are %v, %v", events, err)
		}
	})
}

// Staged events keep their order of arrival, are there once for each room, and
// are counted by who sent them.
func TestStaged(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		ctx := t.Context()
		stage := func(origin string, room storage.RoomNID, events ...id.EventID) {
			t.Helper()
			c := storage.Commit{Positions: 1}
			for i, e := range events {
				c.Write = append(c.Write, &storage.StagedEvent{Room: room, Origin: origin, EventID: e, JSON: []byte(`{}`), At: 1, RetryAt: 2, Num: int64(i)})
			}
			if _, err := db.Commit(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		stage("a", 1, "$2", "$1")
		stage("b", 1, "$1", "$3") // $1 waits already
		stage("b", 2, "$1")
		var names []id.EventID
		var last *storage.StagedEvent
		for {
			var pos storage.Position
			var num int64
			if last != nil {
				pos, num = last.Pos, last.Num
			}
			page, err := db.Latest().Staged(ctx, 1, pos, num, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			last = page[0]
			names = append(names, last.EventID)
			if string(last.JSON) != `{}` || last.At != 1 || last.RetryAt != 2 || last.Attempts != 0 || last.Room != 1 {
				t.Errorf("staged is %+v", last)
			}
		}
		if !slices.Equal(names, []id.EventID{"$2", "$1", "$3"}) {
			t.Errorf("the order is %v", names)
		}
		for origin, want := range map[string]int64{"a": 2, "b": 2, "c": 0} {
			if events, bytes, err := db.Latest().StagedSize(ctx, origin); err != nil || events != want || (bytes > 0) != (want > 0) {
				t.Errorf("%d events and %d bytes of %s are staged, %v", events, bytes, origin, err)
			}
		}
		if err := db.Stage(ctx, storage.RetryStaged{StagedEvent: last, RetryAt: 50}); err != nil {
			t.Fatal(err)
		}
		due := map[storage.RoomNID]int64{}
		if err := db.Latest().StagedRooms(ctx, func(room storage.RoomNID, at int64) { due[room] = at }); err != nil || len(due) != 2 || due[1] != 2 {
			t.Errorf("rooms are due at %v, %v", due, err)
		}
		if page, err := db.Latest().Staged(ctx, 1, 0, 0, 10); err != nil || page[2].Attempts != 1 || page[2].RetryAt != 50 {
			t.Errorf("staged is %+v, %v", page, err)
		}
		for origin, want := range map[string]bool{"a": true, "b": true, "c": false} {
			if has, err := db.Latest().HasStaged(ctx, 1, origin, 2); err != nil || has != want {
				t.Errorf("%s has staged: %v, %v", origin, has, err)
			}
		}
		if has, err := db.Latest().HasStaged(ctx, 1, "b", 1); err != nil || has {
			t.Errorf("b has staged what was not tried yet: %v, %v", has, err)
		}
		if err := db.Stage(ctx, storage.NoStaged{StagedEvent: last}); err != nil {
			t.Fatal(err)
		}
		if has, err := db.Latest().HasStaged(ctx, 1, "b", 2); err != nil || has {
			t.Errorf("b has staged after all: %v, %v", has, err)
		}
	})
}

// The last transactions of each peer are kept, and no more of them.
func TestReceivedTransactions(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		ctx := t.Context()
		var rows []storage.Row
		for i := range storage.ReceivedKept + 10 {
			rows = append(rows, &storage.ReceivedTransaction{Origin: "a", ID: fmt.Sprint(i), Slot: int64(i) + 1<<40, Answer: []byte(fmt.Sprint("answer ", i))})
		}
		if err := db.Stage(ctx, rows...); err != nil {
			t.Fatal(err)
		}
		for txn, want := range map[string]string{"9": "", "10": "answer 10", "265": "answer 265"} {
			if got, err := db.Latest().ReceivedTransaction(ctx, "a", txn); err != nil || string(got) != want {
				t.Errorf("transaction %s was answered %q, %v", txn, got, err)
			}
		}
		if got, err := db.Latest().ReceivedTransaction(ctx, "b", "10"); err != nil || got != nil {
			t.Errorf("another server's transaction was answered %q, %v", got, err)
		}
	})
}

// Keys are replaced by key ID, and belong to their server.
func TestServerKeys(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		ctx := t.Context()
		first := &storage.ServerKey{Server: "a", ID: "ed25519:1", Public: []byte{1}, ValidUntil: 5, Fetched: 1, Document: []byte(`{}`)}
		second := &storage.ServerKey{Server: "a", ID: "ed25519:1", Public: []byte{1}, Expired: 4, Fetched: 2}
		other := &storage.ServerKey{Server: "a", ID: "ed25519:2", Public: []byte{2}, ValidUntil: 9, Fetched: 2, Document: []byte(`{"a":1}`)}
		for _, k := range []*storage.ServerKey{first, second, other} {
			if err := db.Stage(ctx, k); err != nil {
				t.Fatal(err)
			}
		}
		got, err := db.Latest().ServerKeys(ctx, "a")
		if err != nil || len(got) != 2 || got[0].Expired != 4 || got[0].Fetched != 2 || got[1].ID != "ed25519:2" || string(got[1].Document) != `{"a":1}` {
			t.Errorf("the keys are %+v, %v", got, err)
		}
		if got, err := db.Latest().ServerKeys(ctx, "b"); err != nil || len(got) != 0 {
			t.Errorf("the keys of an unknown server are %+v, %v", got, err)
		}
	})
}

// A lease belongs to one node until it ends, and its epoch tells the nodes
// apart.
func TestLeases(t *testing.T) {
	o := storagetest.Postgres(t)
	one, two := storagetest.Open(t, o), storagetest.Open(t, o)
	ctx := t.Context()
	take := func(db *storage.DB, during time.Duration, want bool, epoch int64) {
		t.Helper()
		lease, ok, err := db.Lease(ctx, "work", during)
		if err != nil || ok != want || ok && lease.Epoch != epoch {
			t.Errorf("the lease is %+v, %v, %v", lease, ok, err)
		}
	}
	take(one, time.Hour, true, 1)
	take(one, time.Hour, true, 1) // renewed
	take(two, time.Hour, false, 0)
	if kept, err := two.RenewLeases(ctx, []string{"work"}, time.Hour); err != nil || kept["work"] {
		t.Errorf("another node's lease was renewed: %v, %v", kept, err)
	}
	if kept, err := one.RenewLeases(ctx, []string{"work", "other"}, time.Hour); err != nil || !kept["work"] || kept["other"] {
		t.Errorf("renewed are %v, %v", kept, err)
	}
	if err := two.Stage(ctx, &storage.EndLease{Name: "work"}); err != nil { // it has none to end
		t.Fatal(err)
	}
	take(two, time.Hour, false, 0)
	if err := one.Stage(ctx, &storage.EndLease{Name: "work"}); err != nil {
		t.Fatal(err)
	}
	take(two, -time.Second, true, 2) // and it is over at once
	take(one, time.Hour, true, 3)
	if kept, err := two.RenewLeases(ctx, []string{"work"}, time.Hour); err != nil || kept["work"] {
		t.Errorf("a lease that another node took was renewed: %v, %v", kept, err)
	}
	alone := storagetest.Open(t, storagetest.SQLite(t))
	take(alone, time.Hour, true, 1)
	if kept, err := alone.RenewLeases(ctx, []string{"work"}, time.Hour); err != nil || !kept["work"] {
		t.Errorf("a database of one node renewed %v, %v", kept, err)
	}
}

// trusted is an event as the database would give it back.
func trusted(t *testing.T, eventID id.EventID) *event.PDU {
	t.Helper()
	rules, _ := event.RulesOf("11")
	pdu, err := event.Trusted(rules, eventID, []byte(`{"content":{},"room_id":"!room:test","sender":"@a:test","type":"t"}`))
	if err != nil {
		t.Fatal(err)
	}
	return pdu
}
