package state_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

func TestSetChangesWhatItSays(t *testing.T) {
	const last = state.KeyNum(1<<32 - 1)
	tests := []struct {
		name    string
		before  []state.Entry
		changes []state.Entry
		want    map[state.KeyNum]event.NID
	}{
		{"nothing in the empty map", nil, nil, nil},
		{"the first key", nil, []state.Entry{{0, 9}}, map[state.KeyNum]event.NID{0: 9}},
		{"the last key", nil, []state.Entry{{last, 9}}, map[state.KeyNum]event.NID{last: 9}},
		{"the last key of a low tree", []state.Entry{{0, 1}, {15, 2}}, []state.Entry{{last, 9}}, map[state.KeyNum]event.NID{0: 1, 15: 2, last: 9}},
		{"the greatest event", nil, []state.Entry{{3, 1<<63 - 1}, {4, 1}, {5, 1<<63 - 1}}, map[state.KeyNum]event.NID{3: 1<<63 - 1, 4: 1, 5: 1<<63 - 1}},
		{"the last change of a key counts", nil, []state.Entry{{3, 1}, {3, 0}, {2, 7}, {3, 2}}, map[state.KeyNum]event.NID{3: 2, 2: 7}},
		{"a removal", []state.Entry{{3, 1}, {4, 2}}, []state.Entry{{3, 0}}, map[state.KeyNum]event.NID{4: 2}},
		{"the removal of all", []state.Entry{{3, 1}, {400, 2}}, []state.Entry{{3, 0}, {400, 0}}, nil},
		{"the removal of what is not there", []state.Entry{{3, 1}}, []state.Entry{{4, 0}, {400, 0}, {last, 0}}, map[state.KeyNum]event.NID{3: 1}},
		{"removals beyond the tree beside a change", []state.Entry{{3, 1}}, []state.Entry{{3, 2}, {last, 0}}, map[state.KeyNum]event.NID{3: 2}},
		{"a removal below and a key beyond", []state.Entry{{3, 1}}, []state.Entry{{3, 0}, {1 << 20, 5}}, map[state.KeyNum]event.NID{1 << 20: 5}},
		{"one event for two keys", nil, []state.Entry{{1, 5}, {2, 5}}, map[state.KeyNum]event.NID{1: 5, 2: 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk()
			before := d.set(t, d.room(1<<20), 0, tt.before...)
			root := d.set(t, d.room(0), before, tt.changes...)
			if got := read(t, d.room(0), root); !maps.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if len(tt.want) == 0 && root != 0 {
				t.Errorf("the empty map has root %d", root)
			}
			// Either way is the other backwards, and the hash knows no history.
			var rebuilt []state.Entry
			for key, nid := range tt.want {
				rebuilt = append(rebuilt, state.Entry{Key: key, NID: nid})
			}
			again := d.set(t, d.room(0), 0, rebuilt...)
			if equal, err := d.room(0).Equal(t.Context(), root, again); err != nil || !equal {
				t.Errorf("built anew it is another state: %v, %v", equal, err)
			}
		})
	}
}

func TestSetRefusesNegativeEvents(t *testing.T) {
	d := newDisk()
	if _, _, err := d.room(0).Set(t.Context(), 0, []state.Entry{{1, -1}}, d.alloc); err == nil {
		t.Error("Set takes a negative event number")
	}
}

func TestSetReportsTheAllocator(t *testing.T) {
	d := newDisk()
	broken := errors.New("no more numbers")
	for _, alloc := range []state.Alloc{
		func(context.Context) (int64, error) { return 0, broken },
		func(context.Context) (int64, error) { return 0, nil },
	} {
		if _, _, err := d.room(0).Set(t.Context(), 0, []state.Entry{{1, 1}}, alloc); err == nil {
			t.Error("Set goes on without an identifier")
		}
	}
}

// The next change of a room follows before the last one is committed.
func TestNewRowsAreReadableAtOnce(t *testing.T) {
	d := newDisk()
	r := d.room(1 << 20)
	root, rows := state.Root(0), []state.Row(nil)
	for i := range 100 {
		next, made, err := r.Set(t.Context(), root, []state.Entry{{state.KeyNum(i * 7), event.NID(i + 1)}}, d.alloc)
		if err != nil {
			t.Fatal(err)
		}
		root, rows = next, append(rows, made...)
	}
	if d.calls != 0 {
		t.Errorf("a chain of changes reads the source %d times", d.calls)
	}
	d.store(rows)
	if got := read(t, d.room(0), root); len(got) != 100 || got[99*7] != 100 {
		t.Errorf("stored are %d keys", len(got))
	}
}

// everyRead tries each way of reading a snapshot.
func everyRead(ctx context.Context, d *disk, root state.Root) map[string]error {
	errs := map[string]error{}
	r := d.room(0)
	_, errs["Get"] = r.Get(ctx, root, 500)
	_, errs["GetMany"] = r.GetMany(ctx, root, []state.KeyNum{500, 1, 40})
	_, _, errs["Set"] = r.Set(ctx, root, []state.Entry{{500, 77}}, d.alloc)
	_, errs["Mark"] = r.Mark(ctx, []state.Root{root})
	for _, err := range r.All(ctx, root) {
		errs["All"] = err
	}
	for _, err := range r.Diff(ctx, root, 0) {
		errs["Diff"] = err
	}
	for _, err := range r.Conflicts(ctx, []state.Root{root, 0, 0}) {
		errs["Conflicts"] = err
	}
	return errs
}

// fork makes a room of five thousand keys and changes key 500.
func fork(t *testing.T) (d *disk, base, root state.Root) {
	d = newDisk()
	var join []state.Entry
	for i := range 5000 {
		join = append(join, state.Entry{Key: state.KeyNum(i), NID: event.NID(i + 1)})
	}
	base = d.set(t, d.room(0), 0, join...)
	return d, base, d.set(t, d.room(0), base, state.Entry{Key: 500, NID: 9000})
}

func TestAMissingRowSaysSo(t *testing.T) {
	d, base, root := fork(t)
	delete(d.rows, int64(root))
	for how, err := range everyRead(t.Context(), d, root) {
		if !errors.Is(err, state.ErrMissing) {
			t.Errorf("%s without its top row: %v", how, err)
		}
	}
	root = d.set(t, d.room(0), base, state.Entry{Key: 500, NID: 9000})
	delete(d.rows, int64(base))
	for _, how := range []string{"All", "Diff", "Conflicts", "Mark"} {
		if err := everyRead(t.Context(), d, root)[how]; !errors.Is(err, state.ErrMissing) {
			t.Errorf("%s without the row below: %v", how, err)
		}
	}
}

func TestAFailedReadIsPassedOn(t *testing.T) {
	d, _, root := fork(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := state.NewStore(cancelled{d}, nil, [32]byte{}).Room(7)
	if _, err := r.Get(ctx, root, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	for _, err := range r.All(ctx, root) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("All: %v", err)
		}
	}
}

// cancelled is a source that looks at its context.
type cancelled struct{ *disk }

// Rows implements state.Source.
func (c cancelled) Rows(ctx context.Context, room int64, ids []int64) ([]state.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.disk.Rows(ctx, room, ids)
}

// A row that is no top row cannot be a root, though its nodes are sound.
func TestAnInnerRowIsNoRoot(t *testing.T) {
	d, base, _ := fork(t)
	for id := range d.rows {
		if state.Root(id) < base {
			for how, err := range everyRead(t.Context(), d, state.Root(id)) {
				if !errors.Is(err, state.ErrCorrupt) {
					t.Errorf("%s of row %d: %v", how, id, err)
				}
			}
			return
		}
	}
	t.Fatal("five thousand keys make one row only")
}

func TestIterationsCanStop(t *testing.T) {
	d, base, root := fork(t)
	r := d.room(0)
	n := 0
	for range r.All(t.Context(), root) {
		if n++; n == 3 {
			break
		}
	}
	for range r.Diff(t.Context(), base, 0) {
		if n++; n == 6 {
			break
		}
	}
	for range r.Conflicts(t.Context(), []state.Root{base, root, 0}) {
		if n++; n == 9 {
			break
		}
	}
	if n != 9 {
		t.Errorf("stopped after %d", n)
	}
	for range r.Conflicts(t.Context(), nil) {
		t.Error("no snapshots conflict")
	}
}

// Hashes under another secret are others: someone who does not know it cannot
// look for two states of one hash.
func TestTheSecretKeysTheHash(t *testing.T) {
	d := newDisk()
	var hashes []state.Hash
	for _, secret := range [][32]byte{{1}, {2}, {1}} {
		r := state.NewStore(d, nil, secret).Room(7)
		hash, err := r.Hash(t.Context(), d.set(t, r, 0, state.Entry{Key: 1, NID: 2}))
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	if hashes[0] == hashes[1] || hashes[0] != hashes[2] || hashes[0] == (state.Hash{}) {
		t.Errorf("hashes %v", hashes)
	}
}

// What two forks of a hundred changes cost to compare hangs on the changes,
// and on the size of the room by its logarithm only.
func TestDiffReadsWhatDiffers(t *testing.T) {
	for _, size := range []struct {
		keys   uint32
		levels int
	}{{1000, 3}, {10_000, 4}, {100_000, 5}} {
		s := newServer(t, size.keys, 10)
		s.age(t, 3000)
		forks := []state.Root{s.root, s.root}
		for i := range 100 {
			forks[i%2] = s.change(t, forks[i%2])
		}
		room := s.cold()
		found := 0
		for _, err := range room.Diff(t.Context(), forks[0], forks[1]) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		t.Logf("%d keys: %d differ, %d rows in %d reads", size.keys, found, s.disk.read, s.disk.calls)
		if found < 80 || s.disk.read > 2*100*size.levels || s.disk.calls > 2+size.levels {
			t.Errorf("%d keys: %d differ, %d rows in %d reads", size.keys, found, s.disk.read, s.disk.calls)
		}
	}
}

// A mark reads each row about once, although the snapshots share most of them.
func TestMarkReadsEachRowOnce(t *testing.T) {
	s := newServer(t, 10_000, 10)
	roots := []state.Root{s.root}
	for range 2000 {
		roots = append(roots, s.change(t, roots[len(roots)-1]))
	}
	s.disk.reset()
	marks, err := s.room.Mark(t.Context(), slices.Concat(roots, roots))
	if err != nil {
		t.Fatal(err)
	}
	if marks.Len() != len(s.disk.rows) || s.disk.read > marks.Len()*11/10 {
		t.Errorf("%d of %d rows are marked, with %d rows in %d reads", marks.Len(), len(s.disk.rows), s.disk.read, s.disk.calls)
	}
}
