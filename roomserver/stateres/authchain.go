package stateres

import (
	"cmp"
	"context"
	"slices"
)

// flood follows links downwards, chain by chain: all of a chain below the
// highest event reached is reached.
type flood struct {
	floor   int64 // nothing below this rank is of interest
	reached map[Chain]int64
	read    map[Chain]int64 // up to here the links out of the chain were read
	pending []Chain         // reached, not read
}

func newFlood(floor int64) *flood {
	return &flood{floor: floor, reached: map[Chain]int64{}, read: map[Chain]int64{}}
}

// reach notes that the event at p is reached.
func (f *flood) reach(p Pos) {
	if p.Chain == 0 || p.Seq < f.floor || p.Seq <= f.reached[p.Chain] {
		return
	}
	if f.reached[p.Chain] == f.read[p.Chain] {
		f.pending = append(f.pending, p.Chain)
	}
	f.reached[p.Chain] = p.Seq
}

// maxAsk bounds how many chains one call asks about.
const maxAsk = 1000

// advance reads the links out of what was reached since the last call, and
// reaches what they lead to. It returns no links when nothing more is reached.
func (f *flood) advance(ctx context.Context, idx Index) ([]Link, error) {
	for len(f.pending) > 0 {
		n := min(len(f.pending), maxAsk)
		ask := make([]Out, n)
		for i, c := range f.pending[:n] {
			ask[i] = Out{Chain: c, Low: f.read[c], High: f.reached[c], Floor: f.floor}
			f.read[c] = f.reached[c]
		}
		f.pending = f.pending[n:]
		links, err := idx.Links(ctx, ask)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			f.reach(l.To)
		}
		if len(links) > 0 {
			return links, nil
		}
	}
	return nil, nil
}

// AuthChain says where in the chain cover the auth chain of events is: all of
// the given places and whatever is reached from them, except the create event,
// unless it is given. For an event without a chain give the places of its auth
// events. A source's Span then reads the events. The order is by chain.
//
// The work is in the chains reached, not in the length of the auth chain.
//
// Spec: rooms/v12/#definitions
func AuthChain(ctx context.Context, idx Index, from []Pos) ([]Span, error) {
	f := newFlood(0)
	for _, p := range from {
		f.reach(p)
	}
	for {
		links, err := f.advance(ctx, idx)
		if err != nil {
			return nil, err
		}
		if len(links) == 0 {
			break
		}
	}
	spans := make([]Span, 0, len(f.reached))
	for c, seq := range f.reached {
		spans = append(spans, Span{Chain: c, High: seq})
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.Chain, b.Chain) })
	return spans, nil
}

// Reaches reports whether the event at to is the one at from, or in its auth
// chain. Both must have a chain, and to must not be the create event, which
// every other event reaches.
func Reaches(ctx context.Context, idx Index, from, to Pos) (bool, error) {
	f := newFlood(to.Seq)
	f.reach(from)
	for {
		if f.reached[to.Chain] >= to.Seq {
			return true, nil
		}
		links, err := f.advance(ctx, idx)
		if err != nil || len(links) == 0 {
			return false, err
		}
	}
}
