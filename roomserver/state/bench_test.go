package state_test

import (
	"fmt"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

// benchRooms runs f on aged rooms of three sizes.
func benchRooms(b *testing.B, f func(b *testing.B, s *server)) {
	for _, keys := range []uint32{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := newServer(b, keys, 100)
			s.age(b, int(keys/2))
			b.ReportAllocs()
			b.ResetTimer()
			f(b, s)
		})
	}
}

// cold is the room with nothing cached.
func (s *server) cold() state.Room {
	s.disk.reset()
	return state.NewStore(s.disk, nil, [32]byte{}).Room(7)
}

func (s *server) reportReads(b *testing.B) {
	b.ReportMetric(float64(s.disk.read)/float64(b.N), "rows/op")
	b.ReportMetric(float64(s.disk.calls)/float64(b.N), "reads/op")
}

func BenchmarkGet(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		for b.Loop() {
			if _, err := s.room.Get(b.Context(), s.root, state.KeyNum(s.rng.Uint32N(s.keys))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkGetCold(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		room := s.cold()
		for b.Loop() {
			if _, err := room.Get(b.Context(), s.root, state.KeyNum(s.rng.Uint32N(s.keys))); err != nil {
				b.Fatal(err)
			}
		}
		s.reportReads(b)
	})
}

// Authorising an event looks at about ten keys.
func BenchmarkGetMany(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		keys := make([]state.KeyNum, 10)
		for b.Loop() {
			for i := range keys {
				keys[i] = state.KeyNum(s.rng.Uint32N(s.keys))
			}
			if _, err := s.room.GetMany(b.Context(), s.root, keys); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSet(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		before := s.disk.bytes()
		n := 0
		for b.Loop() {
			c := state.Entry{Key: state.KeyNum(s.rng.Uint32N(s.keys)), NID: s.next(s.busy)}
			root, rows, err := s.room.Set(b.Context(), s.root, []state.Entry{c}, s.disk.alloc)
			if err != nil {
				b.Fatal(err)
			}
			s.disk.store(rows)
			s.root = root
			n++
		}
		b.ReportMetric(float64(s.disk.bytes()-before)/float64(n), "stored-B/op")
	})
}

func BenchmarkBuild(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		entries := make([]state.Entry, s.keys)
		for i := range entries {
			entries[i] = state.Entry{Key: state.KeyNum(i), NID: s.next(0)}
		}
		for b.Loop() {
			if _, _, err := s.cold().Set(b.Context(), 0, entries, s.disk.alloc); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Two forks of fifty changes each, as state resolution compares them.
func BenchmarkDiff(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		forks := [2]state.Root{s.root, s.root}
		for i := range 100 {
			forks[i%2] = s.change(b, forks[i%2])
		}
		room := s.cold()
		found := 0
		for b.Loop() {
			for _, err := range room.Diff(b.Context(), forks[0], forks[1]) {
				if err != nil {
					b.Fatal(err)
				}
				found++
			}
		}
		b.ReportMetric(float64(found)/float64(b.N), "keys/op")
		s.reportReads(b)
	})
}

func benchAll(b *testing.B, s *server, room state.Room) {
	for b.Loop() {
		var sum event.NID
		for e, err := range room.All(b.Context(), s.root) {
			if err != nil {
				b.Fatal(err)
			}
			sum += e.NID
		}
		if sum == 0 {
			b.Fatal("nothing read")
		}
	}
}

func BenchmarkAll(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) { benchAll(b, s, s.room) })
}

func BenchmarkAllCold(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		benchAll(b, s, s.cold())
		s.reportReads(b)
	})
}

func BenchmarkMark(b *testing.B) {
	benchRooms(b, func(b *testing.B, s *server) {
		roots := []state.Root{s.root}
		for range 1000 {
			roots = append(roots, s.change(b, roots[len(roots)-1]))
		}
		s.disk.reset()
		for b.Loop() {
			if _, err := s.room.Mark(b.Context(), roots); err != nil {
				b.Fatal(err)
			}
		}
		s.reportReads(b)
	})
}
