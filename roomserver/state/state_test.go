package state_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

// disk is a source in memory that counts what is read.
type disk struct {
	mu    sync.Mutex
	rows  map[int64][]byte // guarded by mu
	calls int              // guarded by mu
	read  int              // guarded by mu
	last  int64
	gap   func() int64 // how far apart identifiers are; nil is one
}

func newDisk() *disk { return &disk{rows: map[int64][]byte{}} }

// Rows implements state.Source.
func (d *disk) Rows(_ context.Context, _ int64, ids []int64) ([]state.Row, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	var rows []state.Row
	for i, id := range ids {
		if i > 0 && ids[i-1] >= id {
			return nil, errors.New("identifiers are not ascending")
		}
		if data, ok := d.rows[id]; ok {
			rows = append(rows, state.Row{ID: id, Data: slices.Clone(data)})
		}
	}
	d.read += len(rows)
	return rows, nil
}

// alloc hands out identifiers in ascending order.
func (d *disk) alloc(context.Context) (int64, error) {
	d.last++
	if d.gap != nil {
		d.last += d.gap()
	}
	return d.last, nil
}

func (d *disk) store(rows []state.Row) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rows {
		d.rows[r.ID] = r.Data
	}
}

// reset forgets what was counted.
func (d *disk) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.read = 0, 0
}

func (d *disk) bytes() int {
	n := 0
	for _, data := range d.rows {
		n += len(data)
	}
	return n
}

// room opens a room over the disk with a cache of so many bytes.
func (d *disk) room(cache int64) state.Room {
	return state.NewStore(d, state.NewCache(cache), [32]byte{1, 2, 3}).Room(7)
}

// set makes and stores changes.
func (d *disk) set(t testing.TB, r state.Room, root state.Root, changes ...state.Entry) state.Root {
	t.Helper()
	next, rows, err := r.Set(t.Context(), root, changes, d.alloc)
	if err != nil {
		t.Fatalf("Set: %v", err)
	}
	d.store(rows)
	return next
}

// read returns the whole of a snapshot and checks the order of its keys.
func read(t testing.TB, r state.Room, root state.Root) map[state.KeyNum]event.NID {
	t.Helper()
	all := map[state.KeyNum]event.NID{}
	last := int64(-1)
	for e, err := range r.All(t.Context(), root) {
		if err != nil {
			t.Fatalf("All(%d): %v", root, err)
		}
		if int64(e.Key) <= last {
			t.Fatalf("All(%d) yields key %d after %d", root, e.Key, last)
		}
		last = int64(e.Key)
		all[e.Key] = e.NID
	}
	return all
}

// version is a snapshot and the plain map that it stands for.
type version struct {
	root state.Root
	want map[state.KeyNum]event.NID
}

// model keeps snapshots beside plain maps.
type model struct {
	t        *testing.T
	rng      *rand.Rand
	disk     *disk
	room     state.Room
	keys     uint32
	nid      event.NID
	versions []version
}

func newModel(t *testing.T, seed uint64, keys uint32) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: newDisk(), keys: keys}
	switch seed % 3 {
	case 1: // many rooms share the identifiers
		m.disk.gap = func() int64 { return m.rng.Int64N(1000) }
	case 2: // several nodes allocate blocks: identifiers do not ascend
		m.disk.gap = func() int64 {
			if m.disk.last > 5000 && m.rng.IntN(4) == 0 {
				return -m.rng.Int64N(50)*97 - 1
			}
			return m.rng.Int64N(50) * 97
		}
	}
	m.reopen(int64(seed%2) << 20)
	m.versions = []version{{0, map[state.KeyNum]event.NID{}}}
	return m
}

// alloc never hands out an identifier twice, in whatever order.
func (m *model) alloc(ctx context.Context) (int64, error) {
	for {
		id, err := m.disk.alloc(ctx)
		if _, used := m.disk.rows[id]; !used && id > 0 {
			m.disk.rows[id] = nil
			return id, err
		}
	}
}

// reopen forgets all but what is stored.
func (m *model) reopen(cache int64) { m.room = m.disk.room(cache) }

func (m *model) pick() version { return m.versions[m.rng.IntN(len(m.versions))] }

// step makes a new snapshot from any earlier one.
func (m *model) step() {
	m.t.Helper()
	from := m.pick()
	if m.rng.IntN(3) > 0 {
		from = m.versions[len(m.versions)-1]
	}
	want := maps.Clone(from.want)
	var changes []state.Entry
	n := 1 + m.rng.IntN(3)
	if m.rng.IntN(8) == 0 {
		n = m.rng.IntN(300)
	}
	for range n {
		c := state.Entry{Key: state.KeyNum(m.rng.Uint32N(m.keys))}
		switch m.rng.IntN(5) {
		case 0:
			delete(want, c.Key)
		case 1:
			c.NID = want[c.Key] // no change
		default:
			m.nid += event.NID(1 + m.rng.IntN(40))
			c.NID = m.nid
			want[c.Key] = c.NID
		}
		changes = append(changes, c)
	}
	root, rows, err := m.room.Set(m.t.Context(), from.root, changes, m.alloc)
	if err != nil {
		m.t.Fatalf("Set: %v", err)
	}
	if same := maps.Equal(from.want, want); same != (root == from.root) || same && rows != nil {
		m.t.Fatalf("Set from %d to %d with %d rows, though the maps being equal is %v", from.root, root, len(rows), same)
	}
	for _, r := range rows {
		if len(r.Data) > 1900 {
			m.t.Fatalf("a row of %d bytes", len(r.Data))
		}
	}
	m.disk.store(rows)
	m.versions = append(m.versions, version{root, want})
}

// check compares one snapshot with its map in every way of reading.
func (m *model) check(v version) {
	m.t.Helper()
	ctx := m.t.Context()
	if got := read(m.t, m.room, v.root); !maps.Equal(got, v.want) {
		m.t.Fatalf("snapshot %d has %d entries that differ from the %d wanted", v.root, len(got), len(v.want))
	}
	if n, err := m.room.Len(ctx, v.root); err != nil || n != len(v.want) {
		m.t.Fatalf("Len(%d) = %d, %v, want %d", v.root, n, err, len(v.want))
	}
	keys := make([]state.KeyNum, 50)
	for i := range keys {
		keys[i] = state.KeyNum(m.rng.Uint32N(m.keys))
	}
	keys[0] = 1<<32 - 1 // beyond every tree of these tests
	many, err := m.room.GetMany(ctx, v.root, keys)
	if err != nil {
		m.t.Fatalf("GetMany: %v", err)
	}
	for i, key := range keys {
		one, err := m.room.Get(ctx, v.root, key)
		if err != nil || one != v.want[key] || many[i] != one {
			m.t.Fatalf("key %d of %d: Get %d, %v; GetMany %d; want %d", key, v.root, one, err, many[i], v.want[key])
		}
	}
}

// checkDiff compares what differs between snapshots with what should.
func (m *model) checkDiff(vs ...version) {
	m.t.Helper()
	want := map[state.KeyNum][]event.NID{}
	roots := make([]state.Root, len(vs))
	for i, v := range vs {
		roots[i] = v.root
		for key := range v.want {
			nids := make([]event.NID, len(vs))
			for j, other := range vs {
				nids[j] = other.want[key]
			}
			if len(slices.Compact(slices.Clone(nids))) > 1 {
				want[key] = nids
			}
		}
	}
	got := map[state.KeyNum][]event.NID{}
	for c, err := range m.room.Conflicts(m.t.Context(), roots) {
		if err != nil {
			m.t.Fatalf("Conflicts: %v", err)
		}
		got[c.Key] = c.NIDs
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		m.t.Fatalf("Conflicts(%v) yields %d keys, want %d", roots, len(got), len(want))
	}
	for d, err := range m.room.Diff(m.t.Context(), roots[0], roots[1]) {
		if err != nil {
			m.t.Fatalf("Diff: %v", err)
		}
		a, b := vs[0].want[d.Key], vs[1].want[d.Key]
		if d.A != a || d.B != b || a == b {
			m.t.Fatalf("Diff yields %+v, want %d and %d", d, a, b)
		}
	}
	equal, err := m.room.Equal(m.t.Context(), roots[0], roots[1])
	if err != nil || equal != maps.Equal(vs[0].want, vs[1].want) {
		m.t.Fatalf("Equal(%v) = %v, %v", roots, equal, err)
	}
}

// collect forgets some snapshots and removes what only they need.
func (m *model) collect() (removed int) {
	m.t.Helper()
	var kept []version
	var roots []state.Root
	for _, v := range m.versions {
		if m.rng.IntN(3) == 0 {
			kept = append(kept, v)
			roots = append(roots, v.root)
		}
	}
	m.versions = append(kept, version{0, map[state.KeyNum]event.NID{}})
	marks, err := m.room.Mark(m.t.Context(), roots)
	if err != nil {
		m.t.Fatalf("Mark: %v", err)
	}
	left := 0
	for id := range m.disk.rows {
		if marks.Has(id) {
			left++
			continue
		}
		delete(m.disk.rows, id)
		removed++
	}
	if left != marks.Len() {
		m.t.Fatalf("Len of the marks is %d, but %d rows have one", marks.Len(), left)
	}
	return removed
}

// Whatever is set, removed, forked, compared, collected and read again from
// the stored rows alone, every snapshot is the plain map that it stands for.
func TestSnapshotsAreTheMapsTheyStandFor(t *testing.T) {
	for seed := range uint64(12) {
		keys := []uint32{1, 15, 40, 300, 5000, 1 << 20}[seed%6]
		t.Run(fmt.Sprintf("seed %d with %d keys", seed, keys), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed, keys)
			for round := range 6 {
				for range 60 {
					m.step()
				}
				if m.collect() == 0 {
					t.Errorf("round %d collects nothing", round)
				}
				m.reopen(int64(seed%2) << 20)
				for _, v := range m.versions {
					m.check(v)
				}
				for range 20 {
					m.checkDiff(m.pick(), m.pick())
					m.checkDiff(m.pick(), m.pick(), m.pick(), m.pick())
				}
			}
		})
	}
}
