package state

import (
	"context"
	"slices"

	"entente/roomserver/event"
)

// Get returns the event that holds a key in the snapshot, or zero.
func (r Room) Get(ctx context.Context, root Root, key KeyNum) (event.NID, error) {
	if root == 0 {
		return 0, nil
	}
	at, err := r.top(ctx, root)
	if err != nil {
		return 0, err
	}
	f := at.root()
	level := at.level(f.idx)
	if !fits(key, level) {
		return 0, nil
	}
	for ; level > 0; level-- {
		if f = at.child(f.idx, slotOf(key, level)); f.row == 0 {
			return 0, nil
		}
		if f.row != at.id {
			if at, err = r.row(ctx, f.row); err != nil {
				return 0, err
			}
		}
		if err := r.at(at, f, level-1); err != nil {
			return 0, err
		}
	}
	return at.value(f.idx, slotOf(key, 0)), nil
}

// sought is a node on the way to the keys from lo to hi of a sorted list.
type sought struct {
	ref
	lo, hi int
}

// GetMany returns the events that hold the keys in the snapshot, zero where
// there is none, parallel to keys. It reads the source once a level at most.
func (r Room) GetMany(ctx context.Context, root Root, keys []KeyNum) ([]event.NID, error) {
	out := make([]event.NID, len(keys))
	if root == 0 || len(keys) == 0 {
		return out, nil
	}
	top, err := r.top(ctx, root)
	if err != nil {
		return nil, err
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(int64(keys[a]) - int64(keys[b])) })
	level := top.level(top.root().idx)
	in, _ := slices.BinarySearchFunc(order, level, func(i, level int) int {
		if fits(keys[i], level) {
			return -1
		}
		return 1
	})
	sought := []sought{{top.root(), 0, in}}
	for ; level >= 0; level-- {
		if sought, err = r.seek(ctx, sought, level, seek{keys, order, out}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// seek is what GetMany looks for: the keys, their order, and the answers.
type seek struct {
	keys  []KeyNum
	order []int
	out   []event.NID
}

// seek takes one step down: it returns the children on the way to the keys,
// or fills in the answers if the nodes are leaves.
func (r Room) seek(ctx context.Context, nodes []sought, level int, s seek) ([]sought, error) {
	refs := make([]ref, len(nodes))
	for i, n := range nodes {
		refs[i] = n.ref
	}
	rows, err := r.load(ctx, refs)
	if err != nil {
		return nil, err
	}
	var under []sought
	for i, n := range nodes {
		if err := r.at(rows[i], n.ref, level); err != nil {
			return nil, err
		}
		for lo := n.lo; lo < n.hi; {
			slot := slotOf(s.keys[s.order[lo]], level)
			if level == 0 {
				s.out[s.order[lo]] = rows[i].value(n.idx, slot)
				lo++
				continue
			}
			hi := lo + 1
			for hi < n.hi && slotOf(s.keys[s.order[hi]], level) == slot {
				hi++
			}
			if f := rows[i].child(n.idx, slot); f.row != 0 {
				under = append(under, sought{f, lo, hi})
			}
			lo = hi
		}
	}
	return under, nil
}

// fits reports whether a tree whose top is of that level has a place for key.
func fits(key KeyNum, level int) bool {
	return uint64(key)>>((level+1)*slotBits) == 0
}

// slotOf is the slot that leads to key in a node of that level on its path.
func slotOf(key KeyNum, level int) int {
	return int(key>>(level*slotBits)) & (width - 1)
}
