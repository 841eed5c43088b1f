package inbound_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente/federation/inbound"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

func sqlite(t testing.TB) func() storage.Options {
	return func() storage.Options { return storagetest.SQLite(t) }
}

// gives makes the peer answer events to whoever misses some.
func (p *peer) gives(events ...*event.PDU) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/get_missing_events/") {
			return false
		}
		return json.NewEncoder(w).Encode(map[string]any{"events": raws(events...)}) == nil
	}
}

// An event whose predecessors nobody gives us just then is staged, with those
// behind it, and processed once somebody does: in order, and over a restart.
func TestStagedUntilTheGapIsFilled(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", nil)
		chain := m.says("missing", "second", "third")
		r := m.peer.send(m.agency, "t1", raws(chain[1], chain[2]))
		if r.status != http.StatusOK {
			t.Fatalf("answered %d %s", r.status, r.Raw)
		}
		if _, said := errorOf(r, chain[1].ID()); said {
			t.Errorf("A staged event is answered for: %s", r.Raw)
		}
		events, _, err := m.db.Latest().StagedSize(t.Context(), m.peer.name)
		if err != nil || events != 2 {
			t.Fatalf("%d events are staged, %v", events, err)
		}
		fourth := m.peer.message(m.agency, m.room, m.user, "fourth", chain[2].Ref())
		m.peer.send(m.agency, "t2", raws(fourth)) // waits behind them
		m.peer.gives(chain[0])
		m.hears(m.room, fourth.ID())
		var heard []storage.Position
		for _, pdu := range append(chain, fourth) {
			e := m.stored(m.room, pdu.ID())
			if e == nil {
				t.Fatalf("%s is missing", pdu.ID())
			}
			heard = append(heard, e.Pos)
		}
		if !slices.IsSorted(heard) {
			t.Errorf("the order is %v", heard)
		}
		m.until("an empty stage", func() bool {
			events, _, err := m.db.Latest().StagedSize(t.Context(), m.peer.name)
			return err == nil && events == 0
		})
		// The room is free again: what comes now is processed at once.
		fifth := m.peer.message(m.agency, m.room, m.user, "fifth", fourth.Ref())
		if text, ok := errorOf(m.peer.send(m.agency, "t3", raws(fifth)), fifth.ID()); !ok || text != "" {
			t.Errorf("the next event is answered %q, %v", text, ok)
		}
	})
}

// A transaction takes a bounded time, however slow those are who should help
// with it.
func TestPatience(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", func(o *inbound.Options) { o.Patience = 50 * time.Millisecond })
	chain := m.says("missing", "second")
	hang := make(chan struct{})
	ended := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(ended)
	w.mu.Lock()
	m.peer.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		return false
	}
	w.mu.Unlock()
	r := m.peer.send(m.agency, "t1", raws(chain[1]))
	if _, said := errorOf(r, chain[1].ID()); r.status != http.StatusOK || said {
		t.Fatalf("answered %d %s", r.status, r.Raw)
	}
	ended()
	m.peer.gives(chain[0])
	m.hears(m.room, chain[1].ID())
}

// What one peer staged does not hold up what another sends to the same room.
func TestStagingHoldsUpItsOriginOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", nil)
		b := w.agency("b.test", nil)
		b.join("bob", m.room, m.agency)
		m.peer.send(m.agency, "t1", raws(m.says("missing", "second")[1]))
		m.hears(m.room, b.say("bob", m.room, "hello"))
	})
}

// An event that nobody can ever make sense of holds up its origin for a while,
// and not for good.
func TestHopelessEventIsOvertaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", nil)
		m.peer.send(m.agency, "t1", raws(m.says("missing", "second")[1]))
		other := m.peer.message(m.agency, m.room, m.user, "other", m.join.Ref())
		m.peer.send(m.agency, "t2", raws(other))
		m.hears(m.room, other.ID())
	})
}

// The stage is bounded for each peer: beyond, it is told to come back later,
// and nothing is dropped in silence.
func TestFullStage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", func(o *inbound.Options) { o.StagedEvents = 3; o.FirstRetry = time.Hour })
		var texts []string
		for i := range 6 {
			texts = append(texts, fmt.Sprint(i))
		}
		chain := m.says(texts...)
		if r := m.peer.send(m.agency, "t1", raws(chain[1], chain[2], chain[3])); r.status != http.StatusOK {
			t.Fatalf("answered %d %s", r.status, r.Raw)
		}
		r := m.peer.send(m.agency, "t2", raws(chain[4]))
		m.peer.refused(r, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED")
		if r.header.Get("Retry-After") == "" {
			t.Error("The peer is not told when to come back.")
		}
		m.peer.refused(m.peer.send(m.agency, "t2", raws(chain[4])), http.StatusTooManyRequests, "M_LIMIT_EXCEEDED")
		events, _, err := m.db.Latest().StagedSize(t.Context(), m.peer.name)
		if err != nil || events != 3 {
			t.Errorf("%d events are staged, %v", events, err)
		}
	})
}

// A staged event that turns out to be wrong is dropped, and does not hold up
// what is behind it.
func TestStagedAndRefused(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	other := w.peer("c.test") // whose keys cannot be fetched at first
	w.setDown("c.test", true)
	joined := m.peer.join(m.agency, m.room, "@second:peer.test")
	forged := other.message(m.agency, m.room, "@nobody:c.test", "hello", joined.Ref())
	behind := m.peer.message(m.agency, m.room, m.user, "behind", joined.Ref())
	r := m.peer.send(m.agency, "t1", raws(forged, behind))
	if _, said := errorOf(r, forged.ID()); r.status != http.StatusOK || said {
		t.Fatalf("answered %d %s", r.status, r.Raw)
	}
	other.own = w.own("c.test") // another key of the same name
	w.setDown("c.test", false)
	m.hears(m.room, behind.ID())
	if m.stored(m.room, forged.ID()) != nil {
		t.Error("An event with a wrong signature is kept.")
	}
}

// A flood of one peer takes turns, and is put off when it does not.
func TestFlood(t *testing.T) {
	w := newWorld(t, sqlite(t))
	m := meet(w, "12", nil)
	statuses := make(chan int, 60)
	for i := range 60 {
		go func() {
			statuses <- m.peer.send(m.agency, fmt.Sprint("flood", i), nil).status
		}()
	}
	for range 60 {
		if status := <-statuses; status != http.StatusOK && status != http.StatusTooManyRequests {
			t.Errorf("answered %d", status)
		}
	}
	var last id.EventID
	for i, pdu := range m.says("0", "1", "2") {
		if r := m.peer.send(m.agency, fmt.Sprint("after", i), raws(pdu)); r.status != http.StatusOK {
			t.Errorf("answered %d %s", r.status, r.Raw)
		}
		last = pdu.ID()
	}
	m.hears(m.room, last)
}

// Stages survive: a server that starts processes what was left to it.
func TestStagedAtStart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := meet(w, "12", func(o *inbound.Options) { o.FirstRetry = time.Hour })
		chain := m.says("missing", "second")
		m.peer.send(m.agency, "t1", raws(chain[1]))
		m.until("a first attempt", func() bool {
			info, err := m.rooms.Info(t.Context(), m.room)
			if err != nil {
				t.Fatal(err)
			}
			staged, err := m.db.Latest().Staged(t.Context(), info.NID, 0, 0, 10)
			return err == nil && len(staged) == 1 && staged[0].Attempts == 1
		})
		m.peer.gives(chain[0])
		ahead := func() time.Time { return time.Now().Add(3 * time.Hour) }
		again := inbound.New(inbound.Options{DB: m.db, Rooms: m.rooms, Keys: m.keys, Now: ahead, Log: storagetest.Logger(t)})
		running := make(chan error, 1)
		go func() { running <- again.Run(t.Context()) }()
		m.hears(m.room, chain[1].ID())
		t.Cleanup(func() {
			if err := <-running; err != nil {
				t.Error(err)
			}
		})
	})
}
