package stateres

import (
	"context"

	"entente/roomserver/event"
)

// How many links are read at once: most searches end within the first few.
const (
	firstPage = 8
	nextPages = 128
)

// search answers whether what all forks share reaches an event: an
// unconflicted state event, or an event that every fork was found to reach.
// It looks from the event upwards, at who cites it, and asks of each citer
// whether it is what the unconflicted state holds at its key, or below that in
// its chain.
//
// It must be asked about events in order of falling rank. Each part of a chain
// is then found dead at most once, for good: whatever is raised later is of
// lower rank and cannot be above it.
type search struct {
	r    *reader
	live map[Chain]int64 // up to here, shared events are in the chain or reach it
	dead map[Chain]int64 // from here on, none are and none do
	// ahead holds frames whose first page was read ahead.
	ahead map[Chain]*frame
}

func newSearch(r *reader) *search {
	return &search{r: r, live: map[Chain]int64{}, dead: map[Chain]int64{}, ahead: map[Chain]*frame{}}
}

// raise notes that every fork reaches the event at pos.
func (s *search) raise(pos Pos) { s.live[pos.Chain] = max(s.live[pos.Chain], pos.Seq) }

// frame is a part of a chain that is being searched: from seq upwards.
type frame struct {
	chain Chain
	seq   int64
	links []Link // read and not looked at yet
	after *Link  // the last link read; nil before the first page
	ended bool   // no more links to read
	above []Link // citers that need a search of their own
}

// shared reports whether the auth chain of what all forks share contains n. A
// true answer does not depend on n being shared itself.
func (s *search) shared(ctx context.Context, n *node) (bool, error) {
	c, seq := n.Pos.Chain, n.Pos.Seq
	if c == 0 {
		return false, nil
	}
	if err := s.r.loadShared(ctx, []event.Key{n.key}); err != nil {
		return false, err
	}
	own := s.r.shared[n.key]
	if s.live[c] > seq || own.Pos.Chain == c && own.Pos.Seq > seq {
		s.raise(n.Pos)
		return true, nil
	}
	found, err := s.climb(ctx, &frame{chain: c, seq: seq})
	if err != nil {
		return false, err
	}
	if found || own.NID == n.NID {
		s.raise(n.Pos)
	}
	return found, nil
}

// climb searches depth first, without recursion. When it finds something
// shared, all frames on its stack are live; a frame that it leaves is dead.
func (s *search) climb(ctx context.Context, start *frame) (bool, error) {
	stack := []*frame{start}
	for len(stack) > 0 {
		f := stack[len(stack)-1]
		found, err := s.step(ctx, f)
		if err != nil {
			return false, err
		}
		if found {
			for _, f := range stack {
				s.raise(Pos{Chain: f.chain, Seq: f.seq})
			}
			return true, nil
		}
		if next := s.next(f); next != nil {
			stack = append(stack, next)
		} else if f.ended {
			if d, ok := s.dead[f.chain]; !ok || f.seq < d {
				s.dead[f.chain] = f.seq
			}
			stack = stack[:len(stack)-1]
		}
	}
	return false, nil
}

// step looks at the next page of links into f, unless citers from the last
// one still wait for their own search.
func (s *search) step(ctx context.Context, f *frame) (bool, error) {
	if len(f.above) > 0 || f.ended && len(f.links) == 0 {
		return false, nil
	}
	if len(f.links) == 0 {
		if err := s.read(ctx, []*frame{f}); err != nil {
			return false, err
		}
	}
	links := f.links
	f.links = nil
	keys := make([]event.Key, len(links))
	for i, l := range links {
		keys[i] = l.Key
	}
	if err := s.r.loadShared(ctx, keys); err != nil {
		return false, err
	}
	var loose []Link
	for _, l := range links {
		switch {
		case l.From.Chain == 0:
			loose = append(loose, l)
		case s.alive(l):
			return true, nil
		case !s.isDead(l.From):
			f.above = append(f.above, l)
		}
	}
	if found, err := s.loose(ctx, f, loose); found || err != nil {
		return found, err
	}
	return false, s.lookAhead(ctx, f)
}

// alive reports whether the citer of a link is shared, or is below something
// shared in its chain.
func (s *search) alive(l Link) bool {
	own := s.r.shared[l.Key]
	return own.Pos.Chain == l.From.Chain && own.Pos.Seq >= l.From.Seq || s.live[l.From.Chain] >= l.From.Seq
}

func (s *search) isDead(p Pos) bool {
	d, ok := s.dead[p.Chain]
	return ok && p.Seq >= d
}

// loose asks whether events without a chain cite f. Their links only say that
// an event at that key does, which need not be the one in the state.
func (s *search) loose(ctx context.Context, f *frame, links []Link) (bool, error) {
	var nids []event.NID
	for _, l := range links {
		if own := s.r.shared[l.Key]; own.NID != 0 {
			nids = append(nids, own.NID)
		}
	}
	if err := s.r.load(ctx, nids); err != nil {
		return false, err
	}
	nodes := make([]*node, len(nids))
	for i, nid := range nids {
		nodes[i] = s.r.nodes[nid]
	}
	if err := s.r.loadAuth(ctx, nodes); err != nil {
		return false, err
	}
	for _, n := range nodes {
		for _, a := range n.Auth {
			if p := s.r.nodes[a].Pos; p.Chain == f.chain && p.Seq >= f.seq {
				return true, nil
			}
		}
	}
	return false, nil
}

// next is the next citer of f that needs a search of its own; nil when there
// is none.
func (s *search) next(f *frame) *frame {
	for len(f.above) > 0 {
		l := f.above[len(f.above)-1]
		f.above = f.above[:len(f.above)-1]
		if s.isDead(l.From) {
			continue
		}
		up := &frame{chain: l.From.Chain, seq: l.From.Seq}
		if p, ok := s.ahead[up.chain]; ok && p.seq == up.seq {
			delete(s.ahead, up.chain)
			return p
		}
		return up
	}
	return nil
}

// lookAhead reads the first pages of all citers of f that wait, and what the
// unconflicted state holds at the keys of those, in two calls.
func (s *search) lookAhead(ctx context.Context, f *frame) error {
	if len(f.above) < 2 {
		return nil
	}
	low := map[Chain]int64{}
	for _, l := range f.above {
		if at, ok := low[l.From.Chain]; !ok || l.From.Seq < at {
			low[l.From.Chain] = l.From.Seq
		}
	}
	frames := make([]*frame, 0, len(low))
	for _, l := range f.above {
		if low[l.From.Chain] == l.From.Seq {
			up := &frame{chain: l.From.Chain, seq: l.From.Seq}
			frames = append(frames, up)
			s.ahead[up.chain] = up
			delete(low, l.From.Chain)
		}
	}
	if err := s.read(ctx, frames); err != nil {
		return err
	}
	var keys []event.Key
	for _, up := range frames {
		for _, l := range up.links {
			keys = append(keys, l.Key)
		}
	}
	return s.r.loadShared(ctx, keys)
}

// read reads the next page of links into each frame. Their chains differ.
func (s *search) read(ctx context.Context, frames []*frame) error {
	ask := make([]Into, len(frames))
	for i, f := range frames {
		ask[i] = Into{Chain: f.chain, Low: f.seq, Below: endless, After: f.after, Limit: firstPage}
		if d, ok := s.dead[f.chain]; ok {
			ask[i].Below = d
		}
		if f.after != nil {
			ask[i].Limit = nextPages
		}
	}
	links, err := s.r.src.Citers(ctx, ask)
	if err != nil {
		return err
	}
	for i, f := range frames {
		n := 0
		for n < len(links) && links[n].To.Chain == f.chain {
			n++
		}
		f.links, links = links[:n:n], links[n:]
		if f.ended = n < ask[i].Limit; n > 0 {
			f.after = &f.links[n-1]
		}
	}
	return nil
}
