package stateres

import (
	"cmp"
	"context"
	"slices"

	"entente/roomserver/event"
)

// between finds the events on the paths of auth events between any two of the
// conflicted events: those that a conflicted event reaches and that reach one.
// The ends are only among them when they lie within a path; the auth events of
// all have been read.
//
// Spec: rooms/v12/#definitions, conflicted state subgraph
func (r *reader) between(ctx context.Context, conflicted []*node) (map[event.NID]*node, error) {
	w := newWay(conflicted)
	if w == nil {
		return nil, nil
	}
	if err := w.explore(ctx, r, conflicted); err != nil {
		return nil, err
	}
	found := map[event.NID]*node{}
	layer := conflicted
	for len(layer) > 0 {
		if err := r.loadAuth(ctx, layer); err != nil {
			return nil, err
		}
		var next []*node
		for _, n := range layer {
			for _, nid := range n.Auth {
				a := r.nodes[nid]
				if found[nid] == nil && w.leads(a.Pos) {
					found[nid] = a
					next = append(next, a)
				}
			}
		}
		layer = next
	}
	return found, nil
}

// way knows from where in each chain a conflicted event can be reached.
type way struct {
	from  map[Chain]int64
	floor int64 // the lowest rank among the conflicted events
}

// newWay starts with the conflicted events themselves; it is nil when none of
// them can be reached. The create event counts as none: it is shared.
func newWay(conflicted []*node) *way {
	w := &way{from: map[Chain]int64{}, floor: endless}
	for _, n := range conflicted {
		if c := n.Pos.Chain; c != 0 && n.key.Type != typeCreate {
			w.add(n.Pos)
			w.floor = min(w.floor, n.Pos.Seq)
		}
	}
	if len(w.from) == 0 {
		return nil
	}
	return w
}

func (w *way) add(p Pos) {
	if at, ok := w.from[p.Chain]; !ok || p.Seq < at {
		w.from[p.Chain] = p.Seq
	}
}

// leads reports whether the event at p is, or reaches, a conflicted event.
func (w *way) leads(p Pos) bool {
	at, ok := w.from[p.Chain]
	return ok && p.Seq >= at
}

// explore follows links down from the conflicted events, as far as the ranks
// allow, and then learns in order of rising rank which of them lead to one.
func (w *way) explore(ctx context.Context, r *reader, conflicted []*node) error {
	f := newFlood(w.floor)
	for _, n := range conflicted {
		f.reach(n.Pos)
		for _, nid := range n.Auth {
			f.reach(r.nodes[nid].Pos)
		}
	}
	var links []Link
	for {
		more, err := f.advance(ctx, r.src)
		if err != nil {
			return err
		}
		if len(more) == 0 {
			break
		}
		links = append(links, more...)
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.From.Seq, b.From.Seq) })
	for _, l := range links {
		if w.leads(l.To) {
			w.add(l.From)
		}
	}
	return nil
}
