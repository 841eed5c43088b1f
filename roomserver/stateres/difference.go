package stateres

import (
	"container/heap"
	"context"
	"slices"

	"entente/roomserver/event"
)

// maxAhead bounds how many events of a chain are read at once.
const maxAhead = 256

// ranked is a heap of events, the highest rank first: an event comes out
// after every event of the heap's history that cites it.
type ranked []*node

func (h ranked) Len() int           { return len(h) }
func (h ranked) Less(i, j int) bool { return h[i].Pos.Seq > h[j].Pos.Seq }
func (h ranked) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *ranked) Push(x any) { *h = append(*h, x.(*node)) }

// Pop is for container/heap.
func (h *ranked) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return n
}

// differ walks down from what the forks hold at their conflicts, and stops at
// what all their auth chains share.
type differ struct {
	r      *reader
	search *search
	queue  ranked
	marks  map[event.NID]forkSet // which forks' conflicted events reach it
	ahead  map[Chain]int         // how many events the walk reads ahead, by chain
}

// authDifference finds the events that are in the auth chain of some forks'
// states but not of all. forks holds each fork's events at the conflicts, all
// read. The create event is never in it: every state has it.
//
// Spec: rooms/v2/#definitions, auth difference. Why this is the difference of
// the full states is in docs/adr/0003-chain-cover.md.
func (r *reader) authDifference(ctx context.Context, forks [][]*node) (map[event.NID]*node, error) {
	d := &differ{r: r, search: newSearch(r), marks: map[event.NID]forkSet{}, ahead: map[Chain]int{}}
	all := allForks(len(forks))
	for _, fork := range forks {
		if err := r.loadAuth(ctx, fork); err != nil {
			return nil, err
		}
	}
	for i, fork := range forks {
		one := newForkSet(len(forks))
		one.add(i)
		for _, n := range fork {
			d.mark(n, one)
		}
	}
	if err := d.expect(ctx, all); err != nil {
		return nil, err
	}
	diff := map[event.NID]*node{}
	for d.queue.Len() > 0 {
		n := heap.Pop(&d.queue).(*node)
		marks := d.marks[n.NID]
		if slices.Equal(marks, all) {
			d.search.raise(n.Pos)
			continue
		}
		shared, err := d.search.shared(ctx, n)
		if err != nil {
			return nil, err
		}
		if shared {
			continue
		}
		diff[n.NID] = n
		if err := d.descend(ctx, n); err != nil {
			return nil, err
		}
		d.mark(n, marks)
	}
	return diff, nil
}

// mark passes marks on to the auth events of n, which have been read.
func (d *differ) mark(n *node, marks forkSet) {
	for _, nid := range n.Auth {
		a := d.r.nodes[nid]
		if a.key.Type == typeCreate {
			continue
		}
		m := d.marks[nid]
		if m == nil {
			m = make(forkSet, len(marks))
			d.marks[nid] = m
			heap.Push(&d.queue, a)
		}
		m.union(marks)
	}
}

// expect begins the searches that the queued events are likely to need.
func (d *differ) expect(ctx context.Context, all forkSet) error {
	var keys []event.Key
	var places []Pos
	for _, n := range d.queue {
		if !slices.Equal(d.marks[n.NID], all) {
			keys = append(keys, n.key)
			places = append(places, n.Pos)
		}
	}
	if err := d.r.loadShared(ctx, keys); err != nil {
		return err
	}
	return d.search.begin(ctx, places)
}

// descend reads the auth events of n. The longer the walk follows a chain, the
// further it reads ahead in it, so that a long chain takes few calls and at
// most twice the events.
func (d *differ) descend(ctx context.Context, n *node) error {
	missing := false
	for _, nid := range n.Auth {
		missing = missing || d.r.nodes[nid] == nil
	}
	c := n.Pos.Chain
	if !missing || c == 0 {
		return d.r.load(ctx, n.Auth)
	}
	ahead := d.ahead[c]
	d.ahead[c] = min(max(1, 2*ahead), maxAhead)
	if ahead == 0 {
		return d.r.load(ctx, n.Auth)
	}
	below, err := d.r.src.Span(ctx, []Span{{Chain: c, High: n.Pos.Seq - 1, Limit: ahead}})
	if err != nil {
		return err
	}
	want := append([]event.NID(nil), n.Auth...)
	places := make([]Pos, 0, len(below))
	for _, e := range below {
		want = append(want, e.NID)
		places = append(places, e.Pos)
	}
	if err := d.r.load(ctx, want); err != nil {
		return err
	}
	return d.search.begin(ctx, places)
}
