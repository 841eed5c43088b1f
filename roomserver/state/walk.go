package state

import (
	"context"
	"iter"

	"entente/roomserver/event"
)

// walkChunk is how many nodes a walk reads at once, which bounds its memory.
const walkChunk = 1024

// Difference is a key that two snapshots hold different events for; zero is
// none.
type Difference struct {
	Key  KeyNum
	A, B event.NID
}

// Conflict is a key that several snapshots hold different events for. NIDs is
// parallel to the snapshots; zero is none.
type Conflict struct {
	Key  KeyNum
	NIDs []event.NID
}

// All yields the entries of the snapshot in the order of their keys. An error
// ends the iteration.
func (r Room) All(ctx context.Context, root Root) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r.walk(ctx, []Root{0, root}, func(key KeyNum, nids []event.NID, err error) bool {
			if err != nil {
				return yield(Entry{}, err)
			}
			return yield(Entry{key, nids[1]}, nil)
		})
	}
}

// Diff yields what differs between two snapshots, in the order of the keys. It
// skips what they share, and so reads in proportion to what differs. An error
// ends the iteration.
func (r Room) Diff(ctx context.Context, a, b Root) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		r.walk(ctx, []Root{a, b}, func(key KeyNum, nids []event.NID, err error) bool {
			if err != nil {
				return yield(Difference{}, err)
			}
			return yield(Difference{key, nids[0], nids[1]}, nil)
		})
	}
}

// Conflicts yields the keys at which any two of the snapshots differ, in the
// order of the keys. It reads as Diff does. An error ends the iteration.
func (r Room) Conflicts(ctx context.Context, roots []Root) iter.Seq2[Conflict, error] {
	return func(yield func(Conflict, error) bool) {
		r.walk(ctx, roots, func(key KeyNum, nids []event.NID, err error) bool {
			if err != nil {
				return yield(Conflict{}, err)
			}
			return yield(Conflict{key, append([]event.NID(nil), nids...)}, nil)
		})
	}
}

// walker goes through several trees at once, past all nodes that they share.
type walker struct {
	room  Room
	ctx   context.Context
	n     int
	tops  []int // the level of each root
	yield func(key KeyNum, nids []event.NID, err error) bool

	refs   [][width]ref       // scratch: the children of one node a tree
	values [][width]event.NID // scratch: the events of one leaf a tree
	row    []event.NID        // scratch: the events of one key
}

// front is a number of places in the trees: what they lead to, and for each
// place one ref a tree. A tree too low for the level of the front has its root
// where key is zero, and no other place.
type front struct {
	keys []KeyNum
	refs []ref
}

// place is one place of a front with the rows of its nodes; a row is nil where
// a tree has no node there.
type place struct {
	refs []ref
	rows []*row
}

// walk calls yield for each key at which the snapshots differ, in order, until
// it says no. The slice it passes is only valid during the call. An error is
// passed once, last.
func (r Room) walk(ctx context.Context, roots []Root, yield func(KeyNum, []event.NID, error) bool) {
	w := walker{room: r, ctx: ctx, n: len(roots), yield: yield, tops: make([]int, len(roots))}
	w.refs = make([][width]ref, w.n)
	w.values = make([][width]event.NID, w.n)
	w.row = make([]event.NID, w.n)
	first := front{keys: []KeyNum{0}, refs: make([]ref, w.n)}
	for i, root := range roots {
		first.refs[i].row = int64(root)
	}
	tops, err := r.load(ctx, first.refs)
	if err != nil {
		yield(0, nil, err)
		return
	}
	level := 0
	for i, top := range tops {
		if top == nil {
			continue
		}
		if !top.top {
			yield(0, nil, r.noRoot(top.id))
			return
		}
		first.refs[i] = top.root()
		w.tops[i] = top.level(first.refs[i].idx)
		level = max(level, w.tops[i])
	}
	if w.n > 0 && !same(first.refs) {
		w.down(first, level)
	}
}

// same reports whether all refs are equal.
func same[T comparable](refs []T) bool {
	for _, f := range refs[1:] {
		if f != refs[0] {
			return false
		}
	}
	return true
}

// down walks what is under a front, a chunk at a time, and reports whether to
// go on.
func (w *walker) down(f front, level int) bool {
	for lo := 0; lo < len(f.keys); lo += walkChunk {
		hi := min(lo+walkChunk, len(f.keys))
		if !w.chunk(front{f.keys[lo:hi], f.refs[lo*w.n : hi*w.n]}, level) {
			return false
		}
	}
	return true
}

func (w *walker) chunk(f front, level int) bool {
	wanted := f.refs
	if f.keys[0] == 0 { // only there can a tree be too low
		wanted = append([]ref(nil), f.refs...)
		for i, top := range w.tops {
			if top < level {
				wanted[i] = ref{}
			}
		}
	}
	rows, err := w.room.load(w.ctx, wanted)
	if err != nil {
		w.yield(0, nil, err)
		return false
	}
	for i, got := range rows {
		if got == nil {
			continue
		}
		if err := w.room.at(got, f.refs[i], level); err != nil {
			w.yield(0, nil, err)
			return false
		}
	}
	var under front
	for i, key := range f.keys {
		p := place{f.refs[i*w.n : (i+1)*w.n], rows[i*w.n : (i+1)*w.n]}
		if level > 0 {
			w.children(key, level, p, &under)
		} else if !w.leaves(key, p) {
			return false
		}
	}
	return level == 0 || w.down(under, level-1)
}

// children adds to under what the children of one place do not share.
func (w *walker) children(key KeyNum, level int, p place, under *front) {
	for t, got := range p.rows {
		if got == nil {
			w.refs[t] = [width]ref{p.refs[t]} // absent, or too low
			continue
		}
		got.children(p.refs[t].idx, &w.refs[t])
	}
	for s := range width {
		at := len(under.refs)
		for t := range w.refs {
			under.refs = append(under.refs, w.refs[t][s])
		}
		if same(under.refs[at:]) {
			under.refs = under.refs[:at]
			continue
		}
		under.keys = append(under.keys, key|KeyNum(s)<<(level*slotBits))
	}
}

// leaves yields what differs between the leaves of one place, and reports
// whether to go on.
func (w *walker) leaves(key KeyNum, p place) bool {
	for t, got := range p.rows {
		if got == nil {
			w.values[t] = [width]event.NID{}
			continue
		}
		got.values(p.refs[t].idx, &w.values[t])
	}
	for s := range width {
		for t := range w.values {
			w.row[t] = w.values[t][s]
		}
		if !same(w.row) && !w.yield(key|KeyNum(s), w.row, nil) {
			return false
		}
	}
	return true
}
