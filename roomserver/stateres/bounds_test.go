package stateres_test

import (
	"context"
	"fmt"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/stateres"
)

// grown is a room that tests build without copying its state for each event.
type grown struct {
	*room
	now   state
	last  event.NID
	clock int64
}

func newGrown(t testing.TB, version event.Version) *grown {
	g := &grown{room: newRoom(t, version), now: state{}}
	create := map[string]any{"room_version": string(version)}
	if !g.rules.ImplicitCreator {
		create["creator"] = "@admin:a.example"
	}
	g.put(draft{typ: "m.room.create", sender: "@admin:a.example", content: create})
	g.put(member("@admin:a.example", "@admin:a.example", "join"))
	g.levels("@admin:a.example", 0)
	g.put(draft{typ: "m.room.join_rules", sender: "@admin:a.example", content: map[string]any{"join_rule": "public"}})
	return g
}

// put adds an event on the current state.
func (g *grown) put(d draft) event.NID {
	g.t.Helper()
	if g.last != 0 {
		d.prev = []event.NID{g.last}
	}
	g.clock++
	d.ts = g.clock
	d.auth = g.authFor(g.now, d)
	p := g.pdu(d)
	if !g.allowed(p, g.now) {
		g.t.Fatalf("%s %q by %s is not allowed", d.typ, d.stateKey, d.sender)
	}
	g.last = g.store(p, d)
	g.now[event.Key{Type: d.typ, StateKey: d.stateKey}] = g.last
	return g.last
}

// levels sets power levels that differ by n, with a moderator.
func (g *grown) levels(sender string, n int) {
	g.t.Helper()
	users := map[string]any{"@mod:a.example": 100}
	if !g.rules.PrivilegedCreators {
		users["@admin:a.example"] = 100
	}
	g.put(draft{typ: "m.room.power_levels", sender: sender, content: map[string]any{
		"users": users, "state_default": 0, "events": map[string]any{"org.example.n": n % 100},
	}})
}

// fork runs f on a copy of the room's state, and returns the state after.
func (g *grown) fork(f func(*grown)) state {
	branch := *g
	branch.now = make(state, len(g.now))
	for k, v := range g.now {
		branch.now[k] = v
	}
	f(&branch)
	g.counter, g.clock = branch.counter, branch.clock
	return branch.now
}

func user(i int) string { return fmt.Sprintf("@user%d:b.example", i) }

// community is a room of so many members, who came and went, were invited by
// one another, and saw the rules change.
func community(t testing.TB, version event.Version, members int) *grown {
	g := newGrown(t, version)
	g.put(member("@mod:a.example", "@mod:a.example", "join"))
	for i := range members {
		switch u := user(i); {
		case i%10 == 3:
			g.put(member(user(i-1), u, "invite"))
			g.put(member(u, u, "join"))
		case i%10 == 5:
			g.put(member(u, u, "join"))
			g.put(member(u, u, "leave"))
			g.put(member(u, u, "join"))
		default:
			g.put(member(u, u, "join"))
		}
		if i%(members/5) == members/10 {
			g.levels("@mod:a.example", i)
			g.put(draft{typ: "m.room.join_rules", sender: "@mod:a.example", content: map[string]any{"join_rule": "public", "n": i}})
		}
		if i%20 == 7 {
			g.put(draft{typ: "org.example.own", stateKey: user(i), sender: user(i)})
		}
	}
	return g
}

// partition is two forks of a community that differ in 100 events of all
// kinds.
func partition(g *grown, members int) *forks {
	side := func(from int) state {
		return g.fork(func(b *grown) {
			for i := range 5 {
				n := from + i*members/20
				b.put(member(user(n), user(n), "leave"))
				b.put(member(user(n), user(n), "join"))
				b.put(member("@mod:a.example", user(n+2), "ban"))
				b.put(member(user(members+from+i), user(members+from+i), "join"))
				b.put(member("@admin:a.example", user(n+4), "leave"))
				b.put(draft{typ: "m.room.topic", sender: user(n), content: map[string]any{"topic": n}})
				b.put(draft{typ: "org.example.own", stateKey: user(n), sender: user(n)})
				b.put(draft{typ: "m.room.join_rules", sender: "@mod:a.example", content: map[string]any{"join_rule": "public", "from": n}})
				b.levels("@mod:a.example", n)
				b.put(member(user(n+5), user(n+5), "leave"))
			}
		})
	}
	return g.forks(side(0), side(members/2))
}

// TestRowsReadFollowTheDifference resolves the same partition in rooms of
// 1,000, 10,000 and 100,000 members: what is read must not grow with them.
func TestRowsReadFollowTheDifference(t *testing.T) {
	sizes := []int{1_000, 10_000, 100_000}
	if testing.Short() {
		sizes = sizes[:2]
	}
	for _, v := range []event.Version{"12", "11", "1"} {
		var first int
		if v != "12" {
			sizes = sizes[:2]
		}
		for _, members := range sizes {
			f := partition(community(t, v, members), members)
			before := f.rows
			f.resolve()
			t.Logf("version %s, %6d members: %d rows in %d calls: %v", v, members, f.total(), f.calls, before)
			switch {
			case first == 0:
				first = f.total()
				if first > 2500 {
					t.Errorf("version %s: %d rows read for 100 events of difference", v, first)
				}
			case f.total() > first*5/4:
				t.Errorf("version %s, %d members: %d rows read, against %d in the smallest room", v, members, f.total(), first)
			}
		}
	}
}

// alternating is a fork in which power levels and rejoins alternate, each
// citing the other, n of each; the other fork has one topic.
func alternating(t testing.TB, version event.Version, n int) *forks {
	g := newGrown(t, version)
	g.put(member("@mod:a.example", "@mod:a.example", "join"))
	g.levels("@admin:a.example", 1)
	long := g.fork(func(b *grown) {
		for i := range n {
			b.put(member("@mod:a.example", "@mod:a.example", "join"))
			b.levels("@mod:a.example", i)
		}
	})
	other := g.fork(func(b *grown) {
		b.put(draft{typ: "m.room.topic", sender: "@admin:a.example"})
	})
	return g.forks(long, other)
}

// TestAlternatingPowerLevelsAndRejoins feeds what makes a walk along every
// path of the auth graph take exponential time.
func TestAlternatingPowerLevelsAndRejoins(t *testing.T) {
	for _, v := range []event.Version{"2", "11", "12"} {
		read := map[int]int{}
		for _, n := range []int{50, 100, 200} {
			f := alternating(t, v, n)
			got := f.resolve()
			read[n] = f.total()
			t.Logf("version %s, %d pairs: %d rows in %d calls: %v", v, n, f.total(), f.calls, f.rows)
			if d := f.diff(f.naive(f.states...), got); n == 50 && d != "" {
				t.Errorf("version %s: not what the specification says:\n%s", v, d)
			}
		}
		if read[200] > 400*8 || read[200] > 5*read[50] {
			t.Errorf("version %s: rows read grow faster than the conflicted subgraph: %v", v, read)
		}
	}
}

// TestSharedHistoryIsNotRead resolves forks of long histories that they share:
// power levels that nothing else cites, and topics set again and again.
func TestSharedHistoryIsNotRead(t *testing.T) {
	tests := []struct {
		name string
		grow func(g *grown, n int)
		fork func(g *grown, n int)
	}{
		{"power levels changed often", func(g *grown, n int) {
			for i := range n {
				g.levels("@mod:a.example", i)
			}
		}, func(g *grown, n int) { g.levels("@mod:a.example", n) }},
		{"a topic set often", func(g *grown, n int) {
			for i := range n {
				g.put(draft{typ: "m.room.topic", sender: "@mod:a.example", content: map[string]any{"topic": i}})
			}
		}, func(g *grown, n int) {
			g.put(draft{typ: "m.room.name", sender: "@mod:a.example", content: map[string]any{"name": n}})
		}},
		{"a long chain of invites", func(g *grown, n int) {
			g.put(member("@mod:a.example", user(0), "invite"))
			g.put(member(user(0), user(0), "join"))
			for i := 1; i < n; i++ {
				g.put(member(user(i-1), user(i), "invite"))
				g.put(member(user(i), user(i), "join"))
			}
		}, func(g *grown, n int) {
			g.put(draft{typ: "m.room.topic", sender: user(50), content: map[string]any{"topic": n}})
			g.put(member(user(51+n), user(51+n), "leave"))
		}},
	}
	for _, tt := range tests {
		for _, v := range []event.Version{"11", "12"} {
			t.Run(tt.name+" in version "+string(v), func(t *testing.T) {
				var read []int
				for _, n := range []int{200, 2000} {
					g := newGrown(t, v)
					g.put(member("@mod:a.example", "@mod:a.example", "join"))
					tt.grow(g, n)
					a := g.fork(func(b *grown) { tt.fork(b, 1) })
					b := g.fork(func(b *grown) { tt.fork(b, 2); tt.fork(b, 3) })
					f := g.forks(a, b)
					f.resolve()
					read = append(read, f.total())
					t.Logf("%d: %v", n, f.rows)
				}
				if read[1] > read[0]*5/4 {
					t.Errorf("rows read grow with the shared history: %v", read)
				}
			})
		}
	}
}

// BenchmarkResolvePartition resolves two forks that differ in 100 events.
func BenchmarkResolvePartition(b *testing.B) {
	for _, members := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			benchmark(b, partition(community(b, "12", members), members))
		})
	}
}

// BenchmarkResolveAlternating resolves 200 alternating power-level and rejoin
// events.
func BenchmarkResolveAlternating(b *testing.B) { benchmark(b, alternating(b, "12", 100)) }

// benchmark resolves the same forks again and again, and reports what was read.
func benchmark(b *testing.B, f *forks) {
	conflicts := f.conflicts()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stateres.Resolve(context.Background(), f.rules, conflicts, f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(f.total())/float64(b.N), "rows/op")
	b.ReportMetric(float64(f.calls)/float64(b.N), "calls/op")
}

// TestLaterEvents resolves two forks again after the room has gone on from one
// of them, and many have cited what only that one has. With the ceiling of the
// forks' states none of them is read, without it each at most once.
func TestLaterEvents(t *testing.T) {
	const later = 2000
	g := community(t, "12", 1000)
	quiet := g.fork(func(b *grown) {
		b.put(draft{typ: "m.room.topic", sender: user(1), content: map[string]any{"topic": "t"}})
	})
	g.levels("@mod:a.example", 77)
	g.put(draft{typ: "m.room.join_rules", sender: "@mod:a.example", content: map[string]any{"join_rule": "public", "n": 1}})
	g.put(member(user(4999), user(4999), "join"))
	busy := g.fork(func(*grown) {})
	before := g.forks(quiet, busy)
	want := before.resolve()
	for i := range later {
		g.put(member(user(5000+i), user(5000+i), "join"))
	}
	open, bounded := g.forks(quiet, busy), g.forks(quiet, busy).below()
	for _, f := range []*forks{open, bounded} {
		if d := g.diff(want, f.resolve()); d != "" {
			t.Errorf("what came later changes the resolution:\n%s", d)
		}
	}
	t.Logf("before %v, after %v, below the ceiling %v", before.rows, open.rows, bounded.rows)
	if rows := open.total() - before.total(); rows > 4*later {
		t.Errorf("%d rows read for %d later events", rows, later)
	}
	if bounded.total() > before.total() {
		t.Errorf("%d rows read below the ceiling, %d before there were later events", bounded.total(), before.total())
	}
}
