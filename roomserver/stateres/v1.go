package stateres

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1" // #nosec G505 -- the order that the specification sets
	"slices"

	"entente/roomserver/event"
)

// ballot is one conflict of resolution v1: its events, highest depth and
// lowest hash first.
type ballot struct {
	key   event.Key
	nodes []*node
}

// resolveV1 is the algorithm of room version 1. Conflicts of one type are
// settled against the same state, so their order does not matter; where the
// specification does not say what happens when no event is allowed, the last
// of the order stands, as servers have always done.
//
// Spec: rooms/v1/#state-resolution
func (r *reader) resolveV1(ctx context.Context, conflicts []Conflict) (map[event.Key]event.NID, error) {
	var power, rules, members, others []ballot
	b := &board{r: r, set: map[event.Key]event.NID{}, onShared: true}
	for _, c := range conflicts {
		bal := r.ballot(c)
		switch {
		case len(bal.nodes) == 0:
		case len(bal.nodes) == 1: // no conflict: the others merely lack it
			b.set[c.Key] = bal.nodes[0].NID
		case c.Key == event.Key{Type: typePowerLevels}:
			power = append(power, bal)
		case c.Key.Type == typeJoinRules:
			rules = append(rules, bal)
		case c.Key.Type == typeMember:
			members = append(members, bal)
		default:
			others = append(others, bal)
		}
	}
	if err := r.prefetchV1(ctx, power, rules, members, others); err != nil {
		return nil, err
	}
	for _, pass := range [][]ballot{power, rules, members} {
		if err := b.pass(ctx, pass, (*board).lastOfRun); err != nil {
			return nil, err
		}
	}
	if err := b.pass(ctx, others, (*board).firstAllowed); err != nil {
		return nil, err
	}
	return b.set, nil
}

func (r *reader) ballot(c Conflict) ballot {
	bal := ballot{key: c.Key}
	hashes := map[event.NID][sha1.Size]byte{}
	for _, nid := range c.NIDs {
		if _, ok := hashes[nid]; ok || nid == 0 {
			continue
		}
		n := r.nodes[nid]
		hashes[nid] = sha1.Sum([]byte(n.PDU.ID())) // #nosec G401 -- see the import
		bal.nodes = append(bal.nodes, n)
	}
	slices.SortFunc(bal.nodes, func(x, y *node) int {
		hx, hy := hashes[x.NID], hashes[y.NID]
		return cmp.Or(cmp.Compare(y.PDU.Depth(), x.PDU.Depth()), bytes.Compare(hx[:], hy[:]))
	})
	return bal
}

// prefetchV1 reads the unconflicted state that the checks will look up.
func (r *reader) prefetchV1(ctx context.Context, passes ...[]ballot) error {
	var keys []event.Key
	for _, pass := range passes {
		for _, bal := range pass {
			for _, n := range bal.nodes {
				keys = append(keys, reads(n)...)
			}
		}
	}
	if err := r.loadShared(ctx, keys); err != nil {
		return err
	}
	nids := make([]event.NID, len(keys))
	for i, k := range keys {
		nids[i] = r.shared[k].NID
	}
	return r.load(ctx, nids)
}

// pass settles conflicts, each on the state as it was before the pass.
func (b *board) pass(ctx context.Context, ballots []ballot, settle func(*board, context.Context, ballot) (event.NID, error)) error {
	settled := make([]event.NID, len(ballots))
	for i, bal := range ballots {
		nid, err := settle(b, ctx, bal)
		if err != nil {
			return err
		}
		settled[i] = nid
		delete(b.set, bal.key)
	}
	for i, bal := range ballots {
		b.set[bal.key] = settled[i]
	}
	return nil
}

// lastOfRun settles a conflict of events that authorise others: from the
// lowest depth on, as long as each is allowed by the one before.
func (b *board) lastOfRun(ctx context.Context, bal ballot) (event.NID, error) {
	for i := len(bal.nodes) - 1; i >= 0; i-- {
		n := bal.nodes[i]
		if i < len(bal.nodes)-1 {
			allowed, err := b.allows(ctx, n)
			if err != nil {
				return 0, err
			}
			if !allowed {
				break
			}
		}
		b.set[bal.key] = n.NID
	}
	return b.set[bal.key], nil
}

// firstAllowed settles any other conflict: the highest depth that is allowed.
func (b *board) firstAllowed(ctx context.Context, bal ballot) (event.NID, error) {
	for _, n := range bal.nodes {
		allowed, err := b.allows(ctx, n)
		if err != nil {
			return 0, err
		}
		if allowed {
			return n.NID, nil
		}
	}
	return bal.nodes[len(bal.nodes)-1].NID, nil
}
