package state_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

// server imitates what a server's other rooms do to one room: they take row
// identifiers and event numbers from the same blocks.
type server struct {
	disk *disk
	room state.Room
	rng  *rand.Rand
	nid  event.NID
	busy int64 // so many other rows and twice as many events for each of ours, on average
	keys uint32
	root state.Root
}

// newServer makes a room of so many members.
func newServer(tb testing.TB, keys uint32, busy int64) *server {
	s := &server{disk: newDisk(), rng: rand.New(rand.NewPCG(uint64(keys), 5)), busy: busy, keys: keys, nid: 1 << 24}
	s.disk.last = 1 << 20
	s.disk.gap = func() int64 { return s.rng.Int64N(2*busy + 1) }
	s.room = s.disk.room(64 << 20)
	join := make([]state.Entry, keys)
	for i := range join {
		join[i] = state.Entry{Key: state.KeyNum(i), NID: s.next(0)}
	}
	s.root = s.disk.set(tb, s.room, 0, join...)
	return s
}

func (s *server) next(others int64) event.NID {
	s.nid += 1 + event.NID(s.rng.Int64N(4*others+1))
	return s.nid
}

// change sets one random key on a snapshot.
func (s *server) change(tb testing.TB, root state.Root) state.Root {
	return s.disk.set(tb, s.room, root, state.Entry{Key: state.KeyNum(s.rng.Uint32N(s.keys)), NID: s.next(s.busy)})
}

// age makes so many changes, and forks as a busy federated room does: every
// eighth change is made on an earlier snapshot, and resolved by setting its
// key on the latest. It returns the bytes stored for each change.
func (s *server) age(tb testing.TB, changes int) float64 {
	before := s.disk.bytes()
	behind := s.root
	for i := range changes {
		if i%8 == 7 {
			fork := s.change(tb, behind)
			for d, err := range s.room.Diff(context.Background(), behind, fork) {
				if err != nil {
					tb.Fatal(err)
				}
				s.root = s.disk.set(tb, s.room, s.root, state.Entry{Key: d.Key, NID: d.B})
			}
			behind = s.root
			continue
		}
		s.root = s.change(tb, s.root)
	}
	return float64(s.disk.bytes()-before) / float64(changes)
}

// Neither the size of the room, nor its age, nor what other rooms do makes a
// change cost more than its budget; 380 bytes leave room for the overhead of a
// row in either database.
func TestAStateChangeTakesFewBytes(t *testing.T) {
	for _, keys := range []uint32{1000, 10_000, 100_000} {
		for _, busy := range []int64{0, 1000} {
			t.Run(fmt.Sprintf("%d keys, %d rows of others", keys, busy), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, keys, busy)
				built := s.disk.bytes()
				young := s.age(t, 5000)
				old := 0.0
				for range 2 {
					old = s.age(t, int(keys/2))
				}
				t.Logf("built %.1f bytes a key; a change takes %.0f bytes in a young room, %.0f when each key has changed once",
					float64(built)/float64(keys), young, old)
				if young > 380 || old > 380 {
					t.Errorf("a change takes %.0f bytes, then %.0f", young, old)
				}
			})
		}
	}
}
