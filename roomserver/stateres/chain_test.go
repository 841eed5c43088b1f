package stateres_test

import (
	"context"
	"slices"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/stateres"
)

func TestPlace(t *testing.T) {
	create := stateres.Cited{Key: event.Key{Type: "m.room.create"}, Pos: stateres.Pos{Chain: 1, Seq: 1}, Tip: true}
	bob := event.Key{Type: "m.room.member", StateKey: "@bob:a.example"}
	levels := stateres.Cited{Key: event.Key{Type: "m.room.power_levels"}, Pos: stateres.Pos{Chain: 2, Seq: 5}}
	joined := stateres.Cited{Key: bob, Pos: stateres.Pos{Chain: 3, Seq: 4}, Tip: true}
	passed := stateres.Cited{Key: bob, Pos: stateres.Pos{Chain: 3, Seq: 4}}
	topic := event.Key{Type: "m.room.topic"}
	tests := []struct {
		name  string
		key   event.Key
		auth  []stateres.Cited
		want  stateres.Pos
		links []stateres.Link
	}{
		{"the create event begins the first chain", event.Key{Type: "m.room.create"}, nil,
			stateres.Pos{Chain: 9, Seq: 1}, nil},
		{"a first join begins a chain and is linked, but not to the create event", bob,
			[]stateres.Cited{create, levels}, stateres.Pos{Chain: 9, Seq: 6},
			[]stateres.Link{{From: stateres.Pos{Chain: 9, Seq: 6}, Key: bob, To: levels.Pos}}},
		{"a rejoin goes on in its chain, above everything that it cites", bob,
			[]stateres.Cited{create, levels, joined}, stateres.Pos{Chain: 3, Seq: 6},
			[]stateres.Link{{From: stateres.Pos{Chain: 3, Seq: 6}, Key: bob, To: levels.Pos}}},
		{"a fork of a chain begins a chain that is linked to the old one", bob,
			[]stateres.Cited{create, passed}, stateres.Pos{Chain: 9, Seq: 5},
			[]stateres.Link{{From: stateres.Pos{Chain: 9, Seq: 5}, Key: bob, To: passed.Pos}}},
		{"what nothing can cite has a rank and links by its key, but no chain", topic,
			[]stateres.Cited{create, levels, joined}, stateres.Pos{Seq: 6},
			[]stateres.Link{{Key: topic, To: levels.Pos}, {Key: topic, To: joined.Pos}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pos, links := stateres.Place(tt.key, tt.auth, func() stateres.Chain { return 9 })
			if pos != tt.want {
				t.Errorf("place %v, want %v", pos, tt.want)
			}
			if !slices.Equal(links, tt.links) {
				t.Errorf("links %v, want %v", links, tt.links)
			}
		})
	}
}

// TestPlaceBatch places events that go on from one another without storing
// them in between, and a fork of them.
func TestPlaceBatch(t *testing.T) {
	bob := event.Key{Type: "m.room.member", StateKey: "@bob:a.example"}
	next := stateres.Chain(10)
	p := stateres.NewPlacer(func() stateres.Chain { next++; return next })
	stored := stateres.Cited{Key: bob, Pos: stateres.Pos{Chain: 3, Seq: 4}, Tip: true}
	first, _ := p.Place(bob, []stateres.Cited{stored})
	second, _ := p.Place(bob, []stateres.Cited{{Key: bob, Pos: first}})
	fork, _ := p.Place(bob, []stateres.Cited{stored})
	onFork, _ := p.Place(bob, []stateres.Cited{{Key: bob, Pos: fork}})
	got := []stateres.Pos{first, second, fork, onFork}
	want := []stateres.Pos{{Chain: 3, Seq: 5}, {Chain: 3, Seq: 6}, {Chain: 11, Seq: 5}, {Chain: 11, Seq: 6}}
	if !slices.Equal(got, want) {
		t.Errorf("places %v, want %v", got, want)
	}
}

// TestReachesAndAuthChain holds the chain cover of generated rooms to their
// graph of auth events.
func TestReachesAndAuthChain(t *testing.T) {
	ctx := context.Background()
	for _, v := range versions {
		for seed := range uint64(4) {
			h := newHistory(t, v, 500+seed)
			for range 60 {
				h.step()
			}
			oracle := &naive{room: h.room, chains: map[event.NID]set{}}
			idx := h.forks(h.points[0].after)
			for from := 2; from < len(h.events); from++ {
				chain := oracle.authChain(event.NID(from))
				checkAuthChain(t, h, event.NID(from), chain)
				for to := 2; to < len(h.events); to++ {
					a, b := h.events[from].Pos, h.events[to].Pos
					if a.Chain == 0 || b.Chain == 0 {
						continue
					}
					got, err := stateres.Reaches(ctx, idx, a, b)
					if err != nil {
						t.Fatal(err)
					}
					if want := from == to || chain[event.NID(to)]; got != want {
						t.Fatalf("version %s, seed %d: event %d reaches %d: %v, want %v", v, seed, from, to, got, want)
					}
				}
			}
		}
	}
}

// checkAuthChain compares the auth chain of an event's auth events, these
// included, which is the auth chain of the event.
func checkAuthChain(t *testing.T, h *history, nid event.NID, want set) {
	t.Helper()
	ctx := context.Background()
	idx := h.forks(h.points[0].after)
	var from []stateres.Pos
	for _, a := range h.events[nid].Auth {
		from = append(from, h.events[a].Pos)
	}
	spans, err := stateres.AuthChain(ctx, idx, from)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := idx.Span(ctx, spans)
	if err != nil {
		t.Fatal(err)
	}
	got := set{}
	for _, e := range entries {
		if got[e.NID] {
			t.Fatalf("event %d is twice in the auth chain of %d", e.NID, nid)
		}
		got[e.NID] = true
	}
	delete(want, 1)
	delete(got, 1)
	if len(got) != len(want) {
		t.Fatalf("auth chain of %d has %d events, want %d", nid, len(got), len(want))
	}
	for w := range want {
		if !got[w] {
			t.Fatalf("auth chain of %d lacks %d", nid, w)
		}
	}
}

// TestAuthChainOfAFullState reads as many rows as chains are reached, in few
// calls.
func TestAuthChainOfAFullState(t *testing.T) {
	g := community(t, "12", 5000)
	idx := g.forks(g.now)
	var from []stateres.Pos
	for _, nid := range g.now {
		from = append(from, g.events[nid].Pos)
	}
	spans, err := stateres.AuthChain(context.Background(), idx, from)
	if err != nil {
		t.Fatal(err)
	}
	if idx.calls > 20 || idx.rows["links"] > 4*5000 {
		t.Errorf("%d calls, %d links", idx.calls, idx.rows["links"])
	}
	entries, err := idx.Span(context.Background(), spans)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 5000 {
		t.Errorf("%d events in the auth chain", len(entries))
	}
}
