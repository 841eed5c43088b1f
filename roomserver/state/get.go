package state

import (
	"cmp"
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
	level := top.level(top.root().idx)
	s := search{room: r, out: out, wanted: make([]wanted, 0, len(keys))}
	for i, key := range keys {
		if fits(key, level) {
			s.wanted = append(s.wanted, wanted{key, i})
		}
	}
	slices.SortFunc(s.wanted, func(a, b wanted) int { return cmp.Compare(a.key, b.key) })
	s.nodes = append(make([]sought, 0, len(keys)), sought{top.root(), 0, len(s.wanted)})
	s.refs = make([]ref, 0, len(keys))
	for ; level >= 0; level-- {
		if err := s.descend(ctx, level); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// search is one GetMany, at one level of the tree.
type search struct {
	room   Room
	wanted []wanted // ascending
	out    []event.NID
	nodes  []sought
	spare  []sought // what the nodes of the level before took
	refs   []ref
}

// wanted is a key and the place of its answer.
type wanted struct {
	key KeyNum
	at  int
}

// sought is a node on the way to the wanted keys from lo to hi.
type sought struct {
	ref
	lo, hi int
}

// descend goes on to the children on the way to the keys, or fills in the
// answers if the nodes are leaves.
func (s *search) descend(ctx context.Context, level int) error {
	s.refs = s.refs[:0]
	for _, n := range s.nodes {
		s.refs = append(s.refs, n.ref)
	}
	rows, err := s.room.load(ctx, s.refs)
	if err != nil {
		return err
	}
	under := s.spare[:0]
	for i, n := range s.nodes {
		if err := s.room.at(rows[i], n.ref, level); err != nil {
			return err
		}
		for lo := n.lo; lo < n.hi; {
			slot := slotOf(s.wanted[lo].key, level)
			if level == 0 {
				s.out[s.wanted[lo].at] = rows[i].value(n.idx, slot)
				lo++
				continue
			}
			hi := lo + 1
			for hi < n.hi && slotOf(s.wanted[hi].key, level) == slot {
				hi++
			}
			if f := rows[i].child(n.idx, slot); f.row != 0 {
				under = append(under, sought{f, lo, hi})
			}
			lo = hi
		}
	}
	s.nodes, s.spare = under, s.nodes
	return nil
}

// fits reports whether a tree whose top is of that level has a place for key.
func fits(key KeyNum, level int) bool {
	return uint64(key)>>((level+1)*slotBits) == 0
}

// slotOf is the slot that leads to key in a node of that level on its path.
func slotOf(key KeyNum, level int) int {
	return int(key>>(level*slotBits)) & (width - 1)
}
