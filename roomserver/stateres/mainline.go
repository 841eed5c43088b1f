package stateres

import (
	"cmp"
	"context"
	"slices"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// mainline is the history of a power levels event: those in its auth events,
// those in theirs, and so on. Within a chain that is all of the chain below
// it, so the mainline is kept as one height for each chain that it passes
// through, and is followed only as far down as is asked.
//
// Spec: rooms/v2/#definitions, mainline ordering
type mainline struct {
	r      *reader
	height map[Chain]int64
	next   Pos           // where it goes on; zero when it ends
	under  map[Chain]Pos // the power levels below a chain; zero when none
	bottom map[Chain]int64
}

// mainlineOrder sorts events by the mainline of the given power levels, nil
// for none. Their auth events have been read.
func (r *reader) mainlineOrder(ctx context.Context, levels *node, nodes []*node) error {
	m := &mainline{r: r, height: map[Chain]int64{}, under: map[Chain]Pos{}, bottom: map[Chain]int64{}}
	if levels != nil {
		m.next = levels.Pos
	}
	at := make(map[event.NID]int64, len(nodes))
	for _, n := range nodes {
		rank, err := m.rank(ctx, n)
		if err != nil {
			return err
		}
		at[n.NID] = rank
	}
	slices.SortFunc(nodes, func(a, b *node) int {
		return cmp.Or(cmp.Compare(at[a.NID], at[b.NID]), compareAge(a, b))
	})
	return nil
}

// rank is the rank of the first event of the mainline that is met from n on,
// going from power levels to power levels; zero when none is met. The greater
// the mainline position, the smaller the rank.
func (m *mainline) rank(ctx context.Context, n *node) (int64, error) {
	a := m.r.authAt(n, event.Key{Type: typePowerLevels})
	if a == nil {
		return 0, nil
	}
	for at := a.Pos; at.Chain != 0; {
		if err := m.sound(ctx, at.Chain); err != nil {
			return 0, err
		}
		// Below the bottom of this chain the mainline cannot meet it any more.
		for m.next.Seq >= m.bottom[at.Chain] {
			if err := m.extend(ctx); err != nil {
				return 0, err
			}
		}
		if h, ok := m.height[at.Chain]; ok {
			return min(h, at.Seq), nil
		}
		at = m.under[at.Chain]
	}
	return 0, nil
}

// extend follows the mainline through one more chain.
func (m *mainline) extend(ctx context.Context) error {
	c := m.next.Chain
	if err := m.sound(ctx, c); err != nil {
		return err
	}
	m.height[c] = m.next.Seq
	m.next = m.under[c]
	return nil
}

// sound finds the bottom of a chain of power levels and what is under it.
func (m *mainline) sound(ctx context.Context, c Chain) error {
	if _, ok := m.bottom[c]; ok {
		return nil
	}
	lowest, err := m.r.src.Span(ctx, []Span{{Chain: c, High: endless, Ascending: true, Limit: 1}})
	if err != nil {
		return err
	}
	if len(lowest) == 0 {
		return fault.New(fault.Internal, "state resolution: chain %d has no events", c)
	}
	if err := m.r.load(ctx, []event.NID{lowest[0].NID}); err != nil {
		return err
	}
	first := m.r.nodes[lowest[0].NID]
	if err := m.r.loadAuth(ctx, []*node{first}); err != nil {
		return err
	}
	m.bottom[c] = first.Pos.Seq
	m.under[c] = Pos{}
	if a := m.r.authAt(first, event.Key{Type: typePowerLevels}); a != nil {
		m.under[c] = a.Pos
	}
	return nil
}
