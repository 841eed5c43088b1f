package syncapi_test

import (
	"strings"
	"testing"
	"time"

	"entente/clientapi/syncapi"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// ask asks once and returns the token and the answer.
func (a *agency) ask(server *syncapi.Server, user id.UserID, since string) (next, answer string) {
	a.Helper()
	raw, err := server.Sync(a.Context(), syncapi.Request{User: user, Device: "D", Since: since})
	if err != nil {
		a.Fatal(err)
	}
	next, _, _ = strings.Cut(strings.TrimPrefix(string(raw), `{"next_batch":"`), `"`)
	return next, string(raw)
}

// Typing that is not renewed ends by itself, and a client that comes from
// another node is told so.
func TestTypingEnds(t *testing.T) {
	a := newAgency(t, storagetest.SQLite(t))
	info := a.create("@alice:test")
	a.join(info, "@bob:test")
	before, _ := a.ask(a.sync, "@alice:test", "")
	if err := a.sync.Typing(t.Context(), info.ID, "@bob:test", true, time.Hour); err != nil {
		t.Fatal(err)
	}
	a.sync.SetTyping(info.NID, "@x:far", true)
	begun, answer := a.ask(a.sync, "@alice:test", before)
	if !strings.Contains(answer, `"user_ids":["@bob:test","@x:far"]`) {
		t.Errorf("both type: %s", answer)
	}
	a.offset = 3 * time.Minute
	a.sync.Sweep()
	if _, answer = a.ask(a.sync, "@alice:test", begun); !strings.Contains(answer, `"user_ids":[]`) {
		t.Errorf("nobody types any more: %s", answer)
	}
	elsewhere := begun[:strings.LastIndex(begun[:strings.LastIndex(begun, ".")], ".")] + ".other.99999"
	if _, answer = a.ask(a.sync, "@alice:test", elsewhere); !strings.Contains(answer, `"user_ids":[]`) {
		t.Errorf("from another node: %s", answer)
	}
	a.offset = 30 * time.Minute
	a.sync.Sweep()
	if _, answer = a.ask(a.sync, "@alice:test", elsewhere); strings.Contains(answer, "m.typing") {
		t.Errorf("long afterwards: %s", answer)
	}
}

// A user who asks no more goes offline, and one who is idle is away.
func TestPresenceEnds(t *testing.T) {
	a := newAgency(t, storagetest.SQLite(t))
	info := a.create("@alice:test")
	a.join(info, "@bob:test")
	a.ask(a.sync, "@bob:test", "")
	since, answer := a.ask(a.sync, "@alice:test", "")
	if !strings.Contains(answer, `"sender":"@bob:test","type":"m.presence"`) {
		t.Errorf("bob is online: %s", answer)
	}
	a.offset = time.Minute
	a.sync.Sweep()
	if _, answer = a.ask(a.sync, "@alice:test", since); !strings.Contains(answer, `{"content":{"presence":"offline","last_active_ago":`) {
		t.Errorf("bob is gone: %s", answer)
	}
	a.sync.ReceivePresence(syncapi.Presence{User: "@x:far", State: syncapi.Online})
	a.sync.ReceivePresence(syncapi.Presence{User: "@bob:test", State: syncapi.Online}) // not theirs to say
	key := "@x:far"
	a.forge(info, a.live(info, 0, 1)[0], "@x:far", "m.room.member", &key, `{"membership":"join"}`)
	if p, err := a.sync.PresenceOf(t.Context(), "@alice:test", "@x:far"); err != nil || p.State != syncapi.Online {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := a.sync.PresenceOf(t.Context(), "@alice:test", "@bob:test"); err != nil || p.State != syncapi.Offline {
		t.Errorf("%+v, %v", p, err)
	}
}

// Receipts of users elsewhere come through, whether they are in memory or not.
func TestForeignReceipts(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		a := newAgency(t, o)
		info := a.create("@alice:test")
		since, _ := a.ask(a.sync, "@alice:test", "")
		if err := a.sync.AddReceipts(t.Context(), []storage.Receipt{
			{Room: info.NID, User: "@x:far", EventID: "$one", Timestamp: 5}, {Room: info.NID, User: "@y:far", EventID: "$two", Timestamp: 6, Thread: "main"},
		}); err != nil {
			t.Fatal(err)
		}
		want := `{"content":{"$one":{"m.read":{"@x:far":{"ts":5}}},"$two":{"m.read":{"@y:far":{"ts":6,"thread_id":"main"}}}},"type":"m.receipt"}`
		for name, server := range map[string]*syncapi.Server{"in memory": a.sync, "not": a.slow} {
			if _, answer := a.ask(server, "@alice:test", since); !strings.Contains(answer, want) {
				t.Errorf("%s: %s", name, answer)
			}
		}
	})
}

// Who has not asked for long is forgotten, with their rooms; asking again works
// as before.
func TestMemoryIsGivenBack(t *testing.T) {
	a := newAgency(t, storagetest.SQLite(t))
	info := a.create("@alice:test")
	since, _ := a.ask(a.sync, "@alice:test", "")
	a.say(info, "@alice:test")
	if readers, lines, ring := a.sync.InMemory(); readers != 1 || lines != 1 || ring == 0 {
		t.Errorf("%d readers, %d lines, %d bytes", readers, lines, ring)
	}
	a.offset = time.Hour
	a.sync.Forget()
	if readers, lines, ring := a.sync.InMemory(); readers != 0 || lines != 0 || ring != 0 {
		t.Errorf("%d readers, %d lines, %d bytes remain", readers, lines, ring)
	}
	if _, answer := a.ask(a.sync, "@alice:test", since); strings.Count(answer, `"m.room.message"`) != 1 {
		t.Errorf("afterwards: %s", answer)
	}
}

// follow waits until this node knows what another one wrote.
func (a *agency) follow(other *agency) {
	a.Helper()
	if err := a.db.CatchUp(a.Context(), other.db.Applied()); err != nil {
		a.Fatal(err)
	}
}

// A node tells what another one wrote, and continues where that one stopped.
func TestTwoNodes(t *testing.T) {
	o := storagetest.Postgres(t)
	a, b := newAgency(t, o), newAgency(t, o)
	info := a.create("@alice:test")
	since, _ := a.ask(a.sync, "@alice:test", "")
	b.ask(b.sync, "@alice:test", since)
	for range 5 {
		a.say(info, "@alice:test")
		from := since
		var told string
		since, told = a.ask(a.sync, "@alice:test", from)
		b.follow(a)
		_, other := b.ask(b.sync, "@alice:test", from)
		for name, answer := range map[string]string{"the same node": told, "the other node": other} {
			if strings.Count(answer, `"type":"m.room.message"`) != 1 {
				t.Errorf("%s: %s", name, answer)
			}
		}
		if _, other = b.ask(b.sync, "@alice:test", since); strings.Contains(other, `m.room.message`) {
			t.Errorf("the other node tells again: %s", other)
		}
	}
	a.join(info, "@bob:test")
	b.follow(a)
	if _, answer := b.ask(b.sync, "@bob:test", since); !strings.Contains(answer, string(info.ID)) {
		t.Errorf("bob joined on one node and asks the other: %s", answer)
	}
}
