package stateres

import (
	"context"
	"errors"

	"entente/roomserver/auth"
	"entente/roomserver/event"
)

// reads are the keys that authorising an event looks up.
func reads(n *node) []event.Key { return auth.Reads(n.PDU) }

// board is the partially resolved state.
type board struct {
	r        *reader
	set      map[event.Key]event.NID
	onShared bool // lies on the unconflicted state
	lenient  bool // what it lacks is taken from the auth events of the event at hand
	checker  auth.Checker
}

// apply runs the iterative auth checks: each event that the state allows is
// added to it, the others are passed over.
//
// Spec: rooms/v2/#definitions, iterative auth checks
func (b *board) apply(ctx context.Context, ordered []*node) error {
	if err := b.prefetch(ctx, ordered); err != nil {
		return err
	}
	for _, n := range ordered {
		allowed, err := b.allows(ctx, n)
		if err != nil {
			return err
		}
		if allowed {
			b.set[n.key] = n.NID
		}
	}
	return nil
}

// prefetch reads, in one call, the unconflicted events that checking the
// events may look up.
func (b *board) prefetch(ctx context.Context, ordered []*node) error {
	var want []event.NID
	for _, n := range ordered {
		for _, k := range reads(n) {
			if b.onShared || k.Type == typeCreate {
				want = append(want, b.r.shared[k].NID)
			}
		}
	}
	return b.r.load(ctx, want)
}

func (b *board) allows(ctx context.Context, n *node) (bool, error) {
	err := b.checker.Check(n.PDU, func(key event.Key) (*event.PDU, error) {
		found, err := b.at(ctx, key)
		if found == nil && err == nil && b.lenient {
			found, err = b.r.cited(ctx, n, key)
		}
		if found == nil || err != nil {
			return nil, err
		}
		return found.PDU, nil
	})
	var refusal *auth.Refusal
	if errors.As(err, &refusal) {
		return false, nil
	}
	return err == nil, err
}

// at is the partially resolved state at a key; nil when there is nothing.
func (b *board) at(ctx context.Context, key event.Key) (*node, error) {
	if nid, ok := b.set[key]; ok {
		return b.r.nodes[nid], nil
	}
	if !b.onShared {
		return nil, nil
	}
	return b.r.sharedAt(ctx, key)
}

// cited is the auth event of n at a key, unless it was rejected. The create
// event is the room's where n does not cite it: in room version 12 nothing
// does.
func (r *reader) cited(ctx context.Context, n *node, key event.Key) (*node, error) {
	if a := r.authAt(n, key); a != nil && !a.Rejected {
		return a, nil
	}
	if key.Type == typeCreate {
		return r.sharedAt(ctx, key)
	}
	return nil, nil
}

// sharedAt is the unconflicted state at a key; nil when there is nothing.
func (r *reader) sharedAt(ctx context.Context, key event.Key) (*node, error) {
	if err := r.loadShared(ctx, []event.Key{key}); err != nil {
		return nil, err
	}
	nid := r.shared[key].NID
	if nid == 0 {
		return nil, nil
	}
	if err := r.load(ctx, []event.NID{nid}); err != nil {
		return nil, err
	}
	return r.nodes[nid], nil
}
