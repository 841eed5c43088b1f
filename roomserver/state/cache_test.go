package state_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

func TestTheCacheKeepsItsBudget(t *testing.T) {
	const budget = 256 << 10
	d := newDisk()
	cache := state.NewCache(budget)
	r := state.NewStore(d, cache, [32]byte{}).Room(7)
	root := state.Root(0)
	for i := range 5000 {
		root = d.set(t, r, root, state.Entry{Key: state.KeyNum(i % 900), NID: event.NID(i + 1)})
	}
	s := cache.Stats()
	if s.Bytes > budget || s.Bytes < budget/2 || s.Rows == 0 {
		t.Errorf("a cache of %d bytes holds %d, in %d rows", budget, s.Bytes, s.Rows)
	}
	if s.Hits < 10*s.Misses {
		t.Errorf("%d hits and %d misses where each change follows the last", s.Hits, s.Misses)
	}
}

// Rows that are used often outlive a scan of everything.
func TestTheCacheGivesASecondChance(t *testing.T) {
	d := newDisk()
	cache := state.NewCache(1 << 20)
	hot, other := state.NewStore(d, cache, [32]byte{}).Room(1), state.NewStore(d, cache, [32]byte{}).Room(2)
	root := d.set(t, hot, 0, state.Entry{Key: 1, NID: 1})
	flood := state.Root(0)
	for i := range 20_000 {
		flood = d.set(t, other, flood, state.Entry{Key: state.KeyNum(i % 40), NID: event.NID(i + 1)})
		if _, err := hot.Get(t.Context(), root, 1); err != nil {
			t.Fatal(err)
		}
	}
	if s := cache.Stats(); s.Misses > 100 {
		t.Errorf("%d misses", s.Misses)
	}
}

func TestACacheTooSmallForARowKeepsNone(t *testing.T) {
	d := newDisk()
	cache := state.NewCache(1)
	r := state.NewStore(d, cache, [32]byte{}).Room(7)
	root := d.set(t, r, 0, state.Entry{Key: 1, NID: 1})
	if nid, err := r.Get(t.Context(), root, 1); err != nil || nid != 1 {
		t.Errorf("Get: %d, %v", nid, err)
	}
	if s := cache.Stats(); s.Rows != 0 || s.Bytes != 0 {
		t.Errorf("it holds %+v", s)
	}
	if s := (*state.Cache)(nil).Stats(); s != (state.Stats{}) {
		t.Errorf("no cache holds %+v", s)
	}
}

// Many readers and writers of many rooms share one small cache.
func TestConcurrentUse(t *testing.T) {
	d := newDisk()
	store := state.NewStore(d, state.NewCache(64<<10), [32]byte{})
	roots := make([]state.Root, 4)
	for i := range roots {
		for key := range 300 {
			roots[i] = d.set(t, store.Room(int64(i)), roots[i], state.Entry{Key: state.KeyNum(key), NID: event.NID(1000*i + key + 1)})
		}
	}
	first := d.last
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			mine := &disk{last: first + int64(w)*100_000}
			for range 300 {
				i, key := rng.IntN(len(roots)), state.KeyNum(rng.IntN(300))
				r := store.Room(int64(i))
				if nid, err := r.Get(t.Context(), roots[i], key); err != nil || nid != event.NID(1000*i)+event.NID(key)+1 {
					t.Errorf("Get: %d, %v", nid, err)
				}
				root, rows, err := r.Set(t.Context(), roots[i], []state.Entry{{Key: key, NID: 77}}, mine.alloc)
				if err != nil {
					t.Errorf("Set: %v", err)
				}
				d.store(rows)
				for diff, err := range r.Diff(t.Context(), roots[i], root) {
					if err != nil || diff.Key != key || diff.B != 77 {
						t.Errorf("Diff: %+v, %v", diff, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
