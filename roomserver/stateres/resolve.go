package stateres

import (
	"cmp"
	"context"
	"slices"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// Resolve settles a room's state where forks meet: the state before an event
// that has several previous events, or the current state when there are
// several latest events. The forks are the distinct states; conflicts are the
// keys at which they differ, and src knows what they share.
//
// The answer is what to set on any one fork's state, or on what they share, to
// get the resolved state: an entry for every conflict, and, where an auth
// chain holds state that none of the forks has, for keys beyond the conflicts.
// It is sorted by key, and does not depend on the order of the forks.
//
// Spec: rooms/v1/#state-resolution, rooms/v2/#state-resolution,
// rooms/v12/#state-resolution
func Resolve(ctx context.Context, rules *event.Rules, conflicts []Conflict, src Source) ([]Change, error) {
	if len(conflicts) == 0 {
		return nil, nil
	}
	forks := len(conflicts[0].NIDs)
	r := newReader(src)
	var nids []event.NID
	for _, c := range conflicts {
		if len(c.NIDs) != forks {
			return nil, fault.New(fault.Internal, "state resolution: conflicts of %d and of %d forks", forks, len(c.NIDs))
		}
		nids = append(nids, c.NIDs...)
	}
	if err := r.load(ctx, nids); err != nil {
		return nil, err
	}
	var resolved map[event.Key]event.NID
	var err error
	if rules.StateResolution == event.StateResV1 {
		resolved, err = r.resolveV1(ctx, conflicts)
	} else {
		resolved, err = r.resolveV2(ctx, rules, conflicts)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range conflicts {
		if _, ok := resolved[c.Key]; !ok {
			resolved[c.Key] = 0
		}
	}
	return sortedChanges(resolved), nil
}

func sortedChanges(resolved map[event.Key]event.NID) []Change {
	changes := make([]Change, 0, len(resolved))
	for k, nid := range resolved {
		changes = append(changes, Change{Key: k, NID: nid})
	}
	slices.SortFunc(changes, func(a, b Change) int { return compareKeys(a.Key, b.Key) })
	return changes
}

func compareKeys(a, b event.Key) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.StateKey, b.StateKey))
}

// resolveV2 is the algorithm of room versions 2 to 11, and of 12 with its two
// changes: it starts from an empty state, and replays the conflicted state
// subgraph too.
//
// Spec: rooms/v2/#algorithm, rooms/v12/#algorithm
func (r *reader) resolveV2(ctx context.Context, rules *event.Rules, conflicts []Conflict) (map[event.Key]event.NID, error) {
	v21 := rules.StateResolution == event.StateResV21
	full, glue, err := r.fullConflictedSet(ctx, conflicts, v21)
	if err != nil {
		return nil, err
	}
	if err := r.prefetch(ctx, full); err != nil {
		return nil, err
	}
	// Step 1.
	power := r.powerSet(full, glue)
	ordered, err := r.powerOrder(ctx, power, glue)
	if err != nil {
		return nil, err
	}
	// Step 2.
	b := &board{r: r, set: map[event.Key]event.NID{}, onShared: !v21, lenient: true}
	if err := b.apply(ctx, ordered); err != nil {
		return nil, err
	}
	// Step 3.
	var rest []*node
	for nid, n := range full {
		if power[nid] == nil {
			rest = append(rest, n)
		}
	}
	levels, err := b.at(ctx, event.Key{Type: typePowerLevels})
	if err != nil {
		return nil, err
	}
	if err := r.mainlineOrder(ctx, levels, rest); err != nil {
		return nil, err
	}
	// Step 4.
	if err := b.apply(ctx, rest); err != nil {
		return nil, err
	}
	// Step 5: what is unconflicted stays.
	for k := range b.set {
		if r.shared[k].NID != 0 {
			delete(b.set, k)
		}
	}
	return b.set, nil
}

// fullConflictedSet returns the events to replay. glue are events that lie on
// a path between two of them without being replayed, which only version 2 of
// the algorithm has: they decide what is in whose auth chain.
//
// Spec: rooms/v2/#definitions, rooms/v12/#definitions
func (r *reader) fullConflictedSet(ctx context.Context, conflicts []Conflict, v21 bool) (full, glue map[event.NID]*node, err error) {
	forks := make([][]*node, len(conflicts[0].NIDs))
	conflicted := map[event.NID]*node{}
	for _, c := range conflicts {
		for i, nid := range c.NIDs {
			if nid != 0 {
				n := r.nodes[nid]
				forks[i] = append(forks[i], n)
				conflicted[nid] = n
			}
		}
	}
	full, err = r.authDifference(ctx, forks)
	if err != nil {
		return nil, nil, err
	}
	all := make([]*node, 0, len(conflicted))
	for nid, n := range conflicted {
		full[nid] = n
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *node) int { return cmp.Compare(a.NID, b.NID) })
	glue, err = r.between(ctx, all)
	if err != nil {
		return nil, nil, err
	}
	if v21 {
		for nid, n := range glue {
			full[nid] = n
		}
		glue = nil
	}
	return full, glue, nil
}

// prefetch reads what ordering and checking the events will ask for: their
// auth events, and the unconflicted state at their keys and at the keys that
// authorise them.
func (r *reader) prefetch(ctx context.Context, full map[event.NID]*node) error {
	nodes := make([]*node, 0, len(full))
	var keys []event.Key
	for _, n := range full {
		nodes = append(nodes, n)
		keys = append(keys, n.key)
		keys = append(keys, reads(n)...)
	}
	if err := r.loadAuth(ctx, nodes); err != nil {
		return err
	}
	keys = append(keys, event.Key{Type: typeCreate}, event.Key{Type: typePowerLevels})
	return r.loadShared(ctx, keys)
}
