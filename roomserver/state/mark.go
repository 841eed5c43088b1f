package state

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"math/bits"
	"slices"
)

const (
	// markBatch is how many rows a mark reads at once.
	markBatch = 512
	// markMemory is how many nodes a mark remembers, twice, to have visited.
	markMemory = 1 << 15
)

// Marks is a set of row identifiers: a bit each.
type Marks struct {
	words map[int64]uint64
}

// Has reports whether a row is in the set.
func (m *Marks) Has(id int64) bool { return m.words[id>>6]&(1<<(id&63)) != 0 }

// Len is the number of rows in the set.
func (m *Marks) Len() int {
	n := 0
	for _, w := range m.words {
		n += bits.OnesCount64(w)
	}
	return n
}

func (m *Marks) add(id int64) { m.words[id>>6] |= 1 << (id & 63) }

// Mark finds the rows that the snapshots need. A row is needed as long as any
// of its nodes is. Of the room's other rows, those may go that no commit under
// way can lead to: the caller takes its high water before it reads the roots.
//
// Rows are read in batches past the cache, the latest first. Since nearly all
// rows point to earlier ones, a node is met again only before it is visited
// or soon after, so that what waits is at most about the inner nodes of one
// snapshot, and it is enough to remember the last visits. Where that fails a
// part of a snapshot is walked again, and the result is the same.
func (r Room) Mark(ctx context.Context, roots []Root) (*Marks, error) {
	m := marker{
		room:    r,
		marks:   &Marks{words: map[int64]uint64{}},
		roots:   slices.Clone(roots),
		waiting: map[visit]struct{}{},
		visited: map[visit]struct{}{},
	}
	slices.Sort(m.roots)
	m.roots = slices.Compact(m.roots)
	for {
		batch := m.batch()
		if len(batch) == 0 {
			return m.marks, nil
		}
		if err := m.read(ctx, batch); err != nil {
			return nil, err
		}
	}
}

// visit is a node to be visited, and the level it must have.
type visit struct {
	ref
	level int8
}

// rootIdx and rootLevel stand for the last node of a row and whatever level it
// has.
const (
	rootIdx   = math.MaxUint32
	rootLevel = -1
)

// marker is one Mark.
type marker struct {
	room    Room
	marks   *Marks
	roots   []Root // ascending; those still to be visited
	queue   visits
	waiting map[visit]struct{} // what is in the queue
	visited map[visit]struct{} // the last visits
	before  map[visit]struct{} // the visits before those
}

// visits is a heap, the latest row first.
type visits []visit

// Len implements heap.Interface.
func (v visits) Len() int { return len(v) }

// Less implements heap.Interface.
func (v visits) Less(i, j int) bool { return later(v[i].ref, v[j].ref) < 0 }

// Swap implements heap.Interface.
func (v visits) Swap(i, j int) { v[i], v[j] = v[j], v[i] }

// Push implements heap.Interface.
func (v *visits) Push(x any) { *v = append(*v, x.(visit)) }

// Pop implements heap.Interface.
func (v *visits) Pop() any {
	last := (*v)[len(*v)-1]
	*v = (*v)[:len(*v)-1]
	return last
}

// later orders refs from the latest row to the oldest, parents before the
// children that share their row.
func later(a, b ref) int {
	return cmp.Or(cmp.Compare(b.row, a.row), cmp.Compare(b.idx, a.idx))
}

// batch takes the next visits, of about markBatch rows.
func (m *marker) batch() []visit {
	var batch []visit
	rows, last := 0, int64(0)
	for rows < markBatch {
		next := m.next()
		if next.row == 0 {
			break
		}
		if m.known(next) { // met while it waited
			continue
		}
		if next.row != last {
			rows, last = rows+1, next.row
		}
		batch = append(batch, next)
	}
	return batch
}

// next takes the latest node from the queue or the roots; none has row zero.
func (m *marker) next() visit {
	root := visit{}
	if n := len(m.roots); n > 0 && m.roots[n-1] > 0 {
		root = visit{ref{int64(m.roots[n-1]), rootIdx}, rootLevel}
	}
	if len(m.queue) > 0 && later(m.queue[0].ref, root.ref) < 0 {
		next := heap.Pop(&m.queue).(visit)
		delete(m.waiting, next)
		return next
	}
	if root.row != 0 {
		m.roots = m.roots[:len(m.roots)-1]
	}
	return root
}

// read visits the nodes of a batch.
func (m *marker) read(ctx context.Context, batch []visit) error {
	var ids []int64
	for _, v := range batch {
		ids = append(ids, v.row)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	rows, err := m.room.fetch(ctx, ids)
	if err != nil {
		return err
	}
	for _, v := range batch {
		at, _ := slices.BinarySearch(ids, v.row)
		if err := m.visit(v, rows[at]); err != nil {
			return err
		}
	}
	return nil
}

// visit marks the row of a node, visits its children in the same row, and
// queues the others.
func (m *marker) visit(v visit, got *row) error {
	if v.level == rootLevel {
		if !got.top {
			return m.room.noRoot(v.row)
		}
		v.ref = got.root()
		v.level = int8(got.level(v.idx))
	}
	if err := m.room.at(got, v.ref, int(v.level)); err != nil {
		return err
	}
	if m.known(v) {
		return nil
	}
	m.marks.add(v.row)
	m.visited[v] = struct{}{}
	if len(m.visited) >= markMemory {
		m.before, m.visited = m.visited, make(map[visit]struct{}, markMemory)
	}
	if v.level == 0 {
		return nil
	}
	var kids [width]ref
	got.children(v.idx, &kids)
	for _, f := range kids {
		if f.row == 0 {
			continue
		}
		if v.level == 1 { // leaves lead nowhere: there is nothing to read
			m.marks.add(f.row)
			continue
		}
		kid := visit{f, v.level - 1}
		if f.row == v.row { // the row is at hand
			if err := m.visit(kid, got); err != nil {
				return err
			}
			continue
		}
		if _, waits := m.waiting[kid]; waits || m.known(kid) {
			continue
		}
		m.waiting[kid] = struct{}{}
		heap.Push(&m.queue, kid)
	}
	return nil
}

// known reports whether a node was visited lately.
func (m *marker) known(v visit) bool {
	_, now := m.visited[v]
	_, before := m.before[v]
	return now || before
}
