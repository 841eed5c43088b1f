package storage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

func newRoom(t *testing.T, db *storage.DB, name string) *storage.RoomInfo {
	t.Helper()
	room, err := db.AddRoom(t.Context(), id.RoomID(name), event.DefaultVersion)
	if err != nil {
		t.Fatal(err)
	}
	return room
}

func head(room *storage.RoomInfo, version event.NID) *storage.Head {
	return &storage.Head{Room: room.NID, Version: version, Destinations: storage.ServerSet([]string{"a.example", "b.example"})}
}

func touch(room *storage.RoomInfo) []storage.Subject {
	return []storage.Subject{{Kind: storage.Room, ID: int64(room.NID)}}
}

// A chain of commits that build on one another before any is durable is
// written in order, and followers see every one of them in position order.
func TestChainedCommits(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		room := newRoom(t, db, "!chain")
		var seen []storage.Position
		db.Follow(func(e *storage.LogEntry) {
			e.Touched(func(_ storage.Subject, at storage.Position) { seen = append(seen, at) })
		})
		var tickets []*storage.Ticket
		for i := range event.NID(50) {
			ticket, err := db.Enqueue(t.Context(), storage.Commit{
				Positions: 1, Expect: []storage.Precondition{storage.RoomHead(room.NID, i)},
				Write: []storage.Row{head(room, i+1)}, Touch: touch(room),
			})
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
		}
		var last storage.Position
		for _, ticket := range tickets {
			pos, err := ticket.Wait(t.Context())
			if err != nil || pos <= last {
				t.Fatalf("position %d after %d, error %v", pos, last, err)
			}
			last = pos
		}
		if db.Applied() != last || len(seen) != len(tickets) {
			t.Errorf("applied %d of %d, saw %d commits", db.Applied(), last, len(seen))
		}
		got, err := db.Latest().Head(t.Context(), room.NID)
		if err != nil || got.Version != 50 || got.Pos != last || !got.Destinations.Has("b.example") || got.Destinations.Has("b") {
			t.Errorf("head is %+v, error %v", got, err)
		}
	})
}

// When a link of a chain fails, what was built on it fails too, and commits of
// other rooms in the same group do not.
func TestBrokenChain(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		one, other := newRoom(t, db, "!one"), newRoom(t, db, "!other")
		send := func(room *storage.RoomInfo, expect, version event.NID) *storage.Ticket {
			ticket, err := db.Enqueue(t.Context(), storage.Commit{
				Positions: 1, Expect: []storage.Precondition{storage.RoomHead(room.NID, expect)}, Write: []storage.Row{head(room, version)},
			})
			if err != nil {
				t.Fatal(err)
			}
			return ticket
		}
		lost := []*storage.Ticket{send(one, 99, 100), send(one, 100, 101)}
		won := send(other, 0, 7)
		for i, ticket := range lost {
			if _, err := ticket.Wait(t.Context()); !errors.Is(err, storage.ErrConflict) {
				t.Errorf("link %d: error %v, want a conflict", i, err)
			}
		}
		if _, err := won.Wait(t.Context()); err != nil {
			t.Errorf("the other room failed: %v", err)
		}
	})
}

// The same transaction key makes one event, however many requests carry it at
// once.
func TestOnce(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		key := storage.NewTransactionKey("@a:test", "DEVICE", "PUT", "/send/1")
		answers := make([]id.EventID, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				mine := id.EventID(fmt.Sprintf("$%d", i))
				_, err := db.Commit(context.Background(), storage.Commit{
					Positions: 1, Expect: []storage.Precondition{storage.Once(key)},
					Write: []storage.Row{&storage.Transaction{Key: key, EventID: mine}},
				})
				var duplicate *storage.Duplicate
				switch {
				case err == nil:
					answers[i] = mine
				case errors.As(err, &duplicate):
					answers[i] = duplicate.EventID
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] {
				t.Fatalf("answers differ: %v", answers)
			}
		}
	})
}

// A member whose rows the database refuses does not fail the others of its
// group.
func TestBadMember(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		room := newRoom(t, db, "!r")
		var tickets []*storage.Ticket
		for i := range 6 {
			alias := id.RoomAlias(fmt.Sprintf("#%d:test", i/2)) // each alias twice
			ticket, err := db.Enqueue(t.Context(), storage.Commit{
				Positions: 1, Write: []storage.Row{&storage.Alias{Alias: alias, Room: room.NID, Creator: "@a:test"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
		}
		for i, ticket := range tickets {
			_, err := ticket.Wait(t.Context())
			if i%2 == 0 && err != nil || i%2 == 1 && !errors.Is(err, storage.ErrExists) {
				t.Errorf("commit %d: %v", i, err)
			}
		}
		found, err := db.Latest().Aliases(t.Context(), room.NID)
		if err != nil || len(found) != 3 || found[0].Creator != "@a:test" {
			t.Errorf("aliases: %v, %v", found, err)
		}
	})
}

// Two nodes on one database each see what the other wrote, in order.
func TestTwoNodes(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		a, b := storagetest.Open(t, o), storagetest.Open(t, o)
		room := newRoom(t, a, "!shared")
		type seen struct {
			at  storage.Position
			own bool
		}
		var mu sync.Mutex
		var saw []seen
		b.Follow(func(e *storage.LogEntry) {
			mu.Lock()
			defer mu.Unlock()
			saw = append(saw, seen{e.Last, e.Own})
		})
		var last storage.Position
		for i, db := range []*storage.DB{a, b, a, b} {
			pos, err := db.Commit(t.Context(), storage.Commit{
				Positions: 1, Expect: []storage.Precondition{storage.RoomHead(room.NID, event.NID(i))},
				Write: []storage.Row{head(room, event.NID(i+1))}, Touch: touch(room),
			})
			if err != nil {
				t.Fatal(err)
			}
			last = pos
		}
		if err := b.CatchUp(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(saw) != 4 || saw[0].own || !saw[1].own || saw[2].own || !saw[3].own {
			t.Errorf("b saw %v", saw)
		}
	})
}

// The audit log is a chain: each hash covers the record and the hash before.
func TestAuditChain(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := db.Commit(context.Background(), storage.Commit{Positions: 1, Audit: []storage.AuditRecord{
					{At: int64(i), Body: []byte(`{}`)}, {At: int64(i), Body: []byte(`[]`)},
				}})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		entries, err := db.Latest().Audit(t.Context(), 0, 100)
		if err != nil || len(entries) != 20 {
			t.Fatalf("%d entries, error %v", len(entries), err)
		}
		var previous []byte
		for i, e := range entries {
			if e.Seq != int64(i+1) || string(storage.AuditHash(previous, e.Seq, e.AuditRecord)) != string(e.Hash) {
				t.Fatalf("entry %d does not follow from the one before: %+v", i, e)
			}
			previous = e.Hash
		}
	})
}

// A database belongs to one server name.
func TestServerName(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		storagetest.Open(t, o)
		o.ServerName = "other"
		if _, err := storage.Open(t.Context(), o); err == nil {
			t.Error("another server name opened the database")
		}
	})
}
