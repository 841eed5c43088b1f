package storage_test

import (
	"slices"
	"testing"

	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// A user has one receipt for each kind and thread; others see the public ones
// that changed.
func TestReceipts(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		put := func(r storage.Receipt) storage.Position {
			t.Helper()
			pos, err := db.Commit(t.Context(), storage.Commit{Positions: 1, Write: []storage.Row{r.At(0)}})
			if err != nil {
				t.Fatal(err)
			}
			return pos
		}
		alice := storage.Receipt{Room: 7, User: "@alice:test", Thread: "main", EventID: "$a", Timestamp: 5, Read: 3, Local: true}
		first := put(alice)
		private := alice
		private.Kind, private.EventID = storage.PrivateReceipt, "$b"
		put(private)
		whole := alice
		whole.Thread = ""
		put(whole)
		put(storage.Receipt{Room: 7, User: "@bob:far", EventID: "$c"})
		alice.EventID = "$d"
		last := put(alice)

		events := func(list []*storage.Receipt, err error) []id.EventID {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			var out []id.EventID
			for _, r := range list {
				out = append(out, r.EventID)
			}
			slices.Sort(out)
			return out
		}
		v := db.Latest()
		for name, c := range map[string]struct{ got, want []id.EventID }{
			"all of the room":   {events(v.RoomReceipts(t.Context(), 7, 0, last, 10)), []id.EventID{"$a", "$c", "$d"}},
			"after the first":   {events(v.RoomReceipts(t.Context(), 7, first, last-1, 10)), []id.EventID{"$a", "$c"}},
			"of another room":   {events(v.RoomReceipts(t.Context(), 8, 0, last, 10)), nil},
			"of alice":          {events(v.UserReceipts(t.Context(), "@alice:test", 0)), []id.EventID{"$a", "$b", "$d"}},
			"of alice of late":  {events(v.UserReceipts(t.Context(), "@alice:test", last-1)), []id.EventID{"$d"}},
			"of alice, by room": {events(v.Receipts(t.Context(), 7, "@alice:test")), []id.EventID{"$a", "$b", "$d"}},
			"of a remote user":  {events(v.UserReceipts(t.Context(), "@bob:far", 0)), nil},
			"of nobody":         {events(v.UserReceipts(t.Context(), "@none:test", 0)), nil},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("%s: %v, want %v", name, c.got, c.want)
			}
		}
	})
}

// The first members are those whose membership changed longest ago, and two
// users share a room only when both have joined it.
func TestFirstMembers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		put := func(room storage.RoomNID, user id.UserID, m storage.Membership, e event.NID) {
			t.Helper()
			row := &storage.Member{Room: room, User: user, Membership: m, Event: e, Sender: user, Local: user.Homeserver() == "test"}
			if _, err := db.Commit(t.Context(), storage.Commit{Positions: 1, Write: []storage.Row{row.At(0)}}); err != nil {
				t.Fatal(err)
			}
		}
		put(1, "@a:test", storage.Join, 1)
		put(1, "@b:far", storage.Join, 2)
		put(1, "@c:test", storage.Invite, 3)
		put(2, "@c:test", storage.Join, 4)
		put(1, "@a:test", storage.Join, 5)
		heroes, err := db.Latest().FirstMembers(t.Context(), 1, storage.Join, 5)
		if err != nil || !slices.Equal(heroes, []storage.Hero{{User: "@b:far", Event: 2}, {User: "@a:test", Event: 5}}) {
			t.Errorf("%v, %v", heroes, err)
		}
		for other, want := range map[id.UserID]bool{"@b:far": true, "@c:test": false, "@nobody:far": false} {
			if got, err := db.Latest().ShareRoom(t.Context(), "@a:test", other); err != nil || got != want {
				t.Errorf("sharing a room with %s: %v, %v", other, got, err)
			}
		}
		since, err := db.Latest().UserRoomsSince(t.Context(), "@c:test", 3)
		if err != nil || len(since) != 1 || since[0].Room != 2 {
			t.Errorf("%v, %v", since, err)
		}
	})
}
