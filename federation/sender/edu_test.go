package sender_test

import (
	"fmt"
	"testing"
	"time"

	"entente/federation/client"
	"entente/federation/sender"
	"entente/internal/fault"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// Ephemeral data arrives in the form that the specification gives it.
func TestEphemeralForms(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	s, _ := start(t, db, n, nil)
	s.Typing("a", "!r:test", "@alice:test", true)
	s.Receipt("a", sender.Receipt{Room: "!r:test", User: "@alice:test", EventID: "$e", Timestamp: 5, Thread: "main"})
	s.Presence("a", sender.Presence{User: "@alice:test", Presence: "online", StatusMsg: "here", LastActiveAgo: 3, CurrentlyActive: true})
	n.wait(t, "three EDUs", func() bool { return len(n.edus["a"]) == 3 })
	for i, want := range []string{
		`{"content":{"room_id":"!r:test","typing":true,"user_id":"@alice:test"},"edu_type":"m.typing"}`,
		`{"content":{"!r:test":{"m.read":{"@alice:test":{"data":{"thread_id":"main","ts":5},"event_ids":["$e"]}}}},"edu_type":"m.receipt"}`,
		`{"content":{"push":[{"currently_active":true,"last_active_ago":3,"presence":"online","status_msg":"here","user_id":"@alice:test"}]},"edu_type":"m.presence"}`,
	} {
		if got := n.edus["a"][i].Raw; got != want {
			t.Errorf("EDU %d is %s", i, got)
		}
	}
}

// For a server that is down, the last receipt of each user waits, and nothing
// that will be out of date; what waits is bounded.
func TestEphemeralQueue(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	r := newRoom(t, db)
	n.set("a", errDown)
	s, _ := start(t, db, n, func(o *sender.Options) { o.FirstBackoff, o.LongestBackoff = 50*time.Millisecond, 50*time.Millisecond })
	r.send("0", "a")
	n.wait(t, "a second attempt", func() bool { return len(n.sent["a"]) == 2 })
	for i := range 2000 {
		user := id.UserID(fmt.Sprintf("@u%d:test", i%1000))
		s.Receipt("a", sender.Receipt{Room: "!r:test", User: user, EventID: id.EventID(fmt.Sprintf("$%d", i)), Timestamp: 1})
		s.Typing("a", "!r:test", user, true)
	}
	n.set("a", nil)
	n.wait(t, "500 receipts", func() bool { return len(n.edus["a"]) >= 500 })
	s.Receipt("a", sender.Receipt{Room: "!r:test", User: "@last:test", EventID: "$last"})
	n.wait(t, "the last receipt", func() bool {
		last := n.edus["a"][len(n.edus["a"])-1]
		return last.Get(`content.\!r:test.m\.read.@last:test`).Exists()
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.edus["a"]) != 501 {
		t.Errorf("%d EDUs waited", len(n.edus["a"])-1)
	}
	for i, e := range n.edus["a"][:500] {
		want := fmt.Sprintf("$%d", 1500+i)
		user := fmt.Sprintf("@u%d:test", 500+i)
		if got := e.Get(`content.\!r:test.m\.read.` + user + `.event_ids.0`).String(); got != want {
			t.Fatalf("EDU %d is %s", i, e.Raw)
		}
	}
	for _, tx := range n.sent["a"] {
		if len(tx.EDUs) > client.MaxEDUs {
			t.Errorf("a transaction has %d EDUs", len(tx.EDUs))
		}
	}
}

// Types that an agreement does not permit are left out, and others go.
func TestEphemeralPolicy(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	s, _ := start(t, db, n, func(o *sender.Options) {
		o.AllowEDU = func(_, kind string) error {
			if kind == "m.typing" {
				return fault.New(fault.Forbidden, "no typing")
			}
			return nil
		}
	})
	s.Typing("a", "!r:test", "@alice:test", true)
	s.Receipt("a", sender.Receipt{Room: "!r:test", User: "@alice:test", EventID: "$e"})
	n.wait(t, "a receipt", func() bool { return len(n.edus["a"]) == 1 })
	if kind := n.edus["a"][0].Get("edu_type").String(); kind != "m.receipt" {
		t.Errorf("%s was sent", kind)
	}
}

// The servers of a room are those that its head names.
func TestInRoom(t *testing.T) {
	db, n := storagetest.Open(t, storagetest.SQLite(t)), newNetwork()
	s, _ := start(t, db, n, nil)
	r := newRoom(t, db)
	if to, err := s.InRoom(t.Context(), r.info.NID); err != nil || to != "" {
		t.Errorf("a room without a head has the servers %q, %v", to, err)
	}
	head := (&storage.Head{Room: r.info.NID, Version: 1, Destinations: storage.ServerSet([]string{"a", "b"})}).At(0)
	if _, err := db.Commit(t.Context(), storage.Commit{Positions: 1, Write: []storage.Row{head}}); err != nil {
		t.Fatal(err)
	}
	if to, err := s.InRoom(t.Context(), r.info.NID); err != nil || to != "a\nb" {
		t.Errorf("the servers are %q, %v", to, err)
	}
}
