package stateres

import (
	"cmp"
	"context"
	"slices"

	"entente/internal/fault"
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
	// ahead holds searches whose first page was read ahead.
	ahead map[Pos]*frame
}

func newSearch(r *reader) *search {
	return &search{r: r, live: map[Chain]int64{}, dead: map[Chain]int64{}, ahead: map[Pos]*frame{}}
}

// raise notes that every fork reaches the event at pos.
func (s *search) raise(pos Pos) { s.live[pos.Chain] = max(s.live[pos.Chain], pos.Seq) }

// frame is a part of a chain that is being searched: from seq up to below.
type frame struct {
	chain Chain
	seq   int64
	below int64
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
	return s.climb(ctx, s.frame(n.Pos))
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
	if len(f.above) < 2 {
		return false, nil
	}
	above := make([]Pos, len(f.above))
	for i, l := range f.above {
		above[i] = l.From
	}
	return false, s.begin(ctx, above)
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
		if !s.isDead(l.From) {
			return s.frame(l.From)
		}
	}
	return nil
}

// frame is a search from p upwards, begun ahead if it was.
func (s *search) frame(p Pos) *frame {
	below := s.below(p.Chain)
	if f := s.ahead[p]; f != nil && f.below >= below {
		delete(s.ahead, p)
		return f
	}
	return &frame{chain: p.Chain, seq: p.Seq, below: below}
}

// below is up to where a chain has to be searched.
func (s *search) below(c Chain) int64 {
	if d, ok := s.dead[c]; ok {
		return d
	}
	return endless
}

// begin reads the first pages of the searches from some places, and what the
// unconflicted state holds at the keys found, in two calls. Where several are
// in one chain, each is read up to the next, since they are searched from the
// highest down.
func (s *search) begin(ctx context.Context, places []Pos) error {
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b Pos) int {
		return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(b.Seq, a.Seq))
	})
	var frames []*frame
	var last Pos
	for _, p := range places {
		if p.Chain == 0 || p == last || s.isDead(p) || s.live[p.Chain] >= p.Seq || s.ahead[p] != nil {
			continue
		}
		f := &frame{chain: p.Chain, seq: p.Seq, below: s.below(p.Chain)}
		if p.Chain == last.Chain {
			f.below = last.Seq
		}
		s.ahead[p], last = f, p
		frames = append(frames, f)
	}
	if len(frames) == 0 {
		return nil
	}
	if err := s.read(ctx, frames); err != nil {
		return err
	}
	var keys []event.Key
	for _, f := range frames {
		for _, l := range f.links {
			keys = append(keys, l.Key)
		}
	}
	return s.r.loadShared(ctx, keys)
}

// read reads the next page of links into each frame.
func (s *search) read(ctx context.Context, frames []*frame) error {
	ask := make([]Into, len(frames))
	for i, f := range frames {
		ask[i] = Into{Chain: f.chain, Low: f.seq, Below: f.below, After: f.after, Limit: firstPage}
		if f.after != nil {
			ask[i].Limit = nextPages
		}
	}
	pages, err := s.r.src.Citers(ctx, ask)
	if err != nil {
		return err
	}
	if len(pages) != len(ask) {
		return fault.New(fault.Internal, "state resolution asked for the citers of %d chains and got %d", len(ask), len(pages))
	}
	for i, f := range frames {
		f.links = pages[i]
		f.ended = len(f.links) < ask[i].Limit
		if n := len(f.links); n > 0 {
			f.after = &f.links[n-1]
		}
	}
	return nil
}
