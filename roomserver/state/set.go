package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"entente/roomserver/event"
)

// Set returns the snapshot that differs from root by the changes, and the rows
// to store with it. Changes may come in any order; of several to one key the
// last one counts; an event of zero removes the key. Changes that change
// nothing give the same root and no rows.
//
// A single change makes one row, and no row is larger than 1900 bytes, so a
// large state can be stored in parts: all rows are needed before the root is
// used, but nothing leads to them until then. The new rows are in the cache at
// once, so that a next change can follow before this one is committed; should
// the cache have dropped them by then, that change gets ErrMissing. The caller
// guards against a collection between the reading of root and the commit of
// the rows.
func (r Room) Set(ctx context.Context, root Root, changes []Entry, alloc Alloc) (Root, []Row, error) {
	changes, err := tidy(changes)
	if err != nil || len(changes) == 0 {
		return root, nil, err
	}
	e := edit{room: r, changes: changes}
	top, err := e.open(ctx, root)
	if err != nil {
		return 0, nil, err
	}
	if !e.settle(top) {
		return root, nil, nil
	}
	if empty := top.empty(); empty || e.count <= 0 {
		if !empty || e.count != 0 {
			return 0, nil, fmt.Errorf("%w: root %d of room %d miscounts its keys", ErrCorrupt, root, r.num)
		}
		return 0, nil, nil
	}
	w := writer{ctx: ctx, alloc: alloc, newest: e.newest}
	if err := w.place(top); err != nil {
		return 0, nil, err
	}
	w.close(&e)
	for _, made := range w.rows {
		got, err := parseRow(made.ID, made.Data)
		if err != nil {
			return 0, nil, fmt.Errorf("new row: %w", err)
		}
		r.store.cache.put(r.num, got)
	}
	return Root(w.rows[len(w.rows)-1].ID), w.rows, nil
}

// tidy sorts changes by key, with the last one of each key only.
func tidy(changes []Entry) ([]Entry, error) {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	kept := sorted[:0]
	for i, c := range sorted {
		if c.NID < 0 {
			return nil, fmt.Errorf("state: event number %d of key %d is negative", c.NID, c.Key)
		}
		if i+1 == len(sorted) || sorted[i+1].Key != c.Key {
			kept = append(kept, c)
		}
	}
	return kept, nil
}

// node is an unpacked node that is being changed.
type node struct {
	level   int
	changed bool
	values  [width]event.NID // of a leaf
	refs    [width]ref       // of an inner node: the children that stay
	kids    [width]*node     // of an inner node: the children that are unpacked
	ref     ref              // where it is stored, once that is known
}

// edit is one Set. It unpacks the nodes on the way to all changes, from the
// top down with one read a level, then settles them from the leaves up.
type edit struct {
	room    Room
	changes []Entry
	hash    Hash
	count   int
	newest  int64 // the greatest row that changed nodes point to
}

// pending is a node on the way to the changes from lo to hi.
type pending struct {
	*node
	lo, hi int
}

// open returns the top of the tree with all nodes unpacked that lead to a
// change, and the changes made in the leaves.
func (e *edit) open(ctx context.Context, root Root) (*node, error) {
	top := &node{}
	if root != 0 {
		got, err := e.room.top(ctx, root)
		if err != nil {
			return nil, err
		}
		e.hash, e.count = got.hash, int(got.count)
		top.unpack(got, got.root().idx)
		top.ref = got.root()
	}
	last := len(e.changes)
	for !fits(e.changes[last-1].Key, top.level) && e.changes[last-1].NID == 0 {
		if last--; last == 0 {
			return top, nil // all of them remove what cannot be there
		}
	}
	for !fits(e.changes[last-1].Key, top.level) {
		higher := &node{level: top.level + 1, changed: true}
		higher.refs[0], higher.kids[0] = top.ref, top
		top = higher
	}
	nodes := []pending{{top, 0, last}}
	for level := top.level; level > 0; level-- {
		var err error
		if nodes, err = e.descend(ctx, nodes); err != nil {
			return nil, err
		}
	}
	for _, n := range nodes {
		e.apply(n)
	}
	return top, nil
}

// unpack copies a stored node.
func (n *node) unpack(r *row, idx uint32) {
	if n.level = r.level(idx); n.level == 0 {
		r.values(idx, &n.values)
		return
	}
	r.children(idx, &n.refs)
}

// descend unpacks the children of nodes that lead to a change.
func (e *edit) descend(ctx context.Context, nodes []pending) ([]pending, error) {
	var under []pending
	var refs []ref
	for _, n := range nodes {
		for lo := n.lo; lo < n.hi; {
			slot := slotOf(e.changes[lo].Key, n.level)
			hi := lo + 1
			for hi < n.hi && slotOf(e.changes[hi].Key, n.level) == slot {
				hi++
			}
			f := n.refs[slot]
			if n.kids[slot] == nil {
				n.kids[slot] = &node{level: n.level - 1}
			} else {
				f = ref{} // a former top, unpacked already
			}
			under = append(under, pending{n.kids[slot], lo, hi})
			refs = append(refs, f)
			lo = hi
		}
	}
	rows, err := e.room.load(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, got := range rows {
		if got == nil {
			continue
		}
		if err := e.room.at(got, refs[i], under[i].level); err != nil {
			return nil, err
		}
		under[i].unpack(got, refs[i].idx)
	}
	return under, nil
}

// apply makes the changes of one leaf. A leaf that changes loses its place.
func (e *edit) apply(leaf pending) {
	for _, c := range e.changes[leaf.lo:leaf.hi] {
		slot := slotOf(c.Key, 0)
		old := leaf.values[slot]
		if old == c.NID {
			continue
		}
		leaf.values[slot] = c.NID
		leaf.changed = true
		s := e.room.store
		e.hash = e.hash.sub(s.hash(Entry{c.Key, old})).add(s.hash(c))
		if old == 0 {
			e.count++
		}
		if c.NID == 0 {
			e.count--
		}
	}
}

// settle drops from a tree all nodes that did not change after all, or that
// became empty, and reports whether anything is left to write.
func (e *edit) settle(n *node) bool {
	for s, kid := range n.kids {
		if kid == nil {
			continue
		}
		if !e.settle(kid) {
			n.kids[s] = nil
			continue
		}
		n.changed = true
		n.refs[s] = ref{}
		if kid.empty() {
			n.kids[s] = nil
		}
	}
	if n.changed {
		for _, f := range n.refs {
			e.newest = max(e.newest, f.row)
		}
	}
	return n.changed
}

// empty reports whether a settled node leads to nothing.
func (n *node) empty() bool {
	return n.values == [width]event.NID{} && n.refs == [width]ref{} && n.kids == [width]*node{}
}
