package roomserver

import (
	"context"
	"math"
	"slices"
	"time"

	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// HistoryRequest asks for a page of a room's events.
type HistoryRequest struct {
	// From is where to begin.
	From Point
	// Forward asks for later events rather than for earlier ones.
	Forward bool
	// To is where to stop; nil is nowhere.
	To *Point
	// Limit is how many events are wanted.
	Limit int
	// Related chooses events by what they relate to; nil is no matter.
	Related *storage.Relation
	// Match chooses among the events that are seen; nil takes all.
	Match func(e *storage.Event) bool
	// Fill fetches from other servers what is missing in between.
	Fill bool
}

// HistoryPage is a page of a room's events.
type HistoryPage struct {
	// Events are in the order of the request's direction.
	Events []*storage.Event
	// End is where the next page begins.
	End Point
	// More reports whether there may be a next page.
	More bool
}

const (
	// maxScan bounds the events that one request looks through.
	maxScan = 2000
	// scanChunk is how many are read at once when few of them are chosen.
	scanChunk = 100
	// maxFills is how often one request asks other servers for more.
	maxFills = 10
)

// History reads a page of what a viewer may see of a room. A page can be
// shorter than what was asked for, or empty, and have a next one.
//
// Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
func (s *Server) History(ctx context.Context, info *storage.RoomInfo, v Viewer, req HistoryRequest) (HistoryPage, error) {
	p := &pager{server: s, ctx: ctx, info: info, viewer: v, req: req}
	page, err := p.page()
	if !req.Fill || req.Forward {
		return page, err
	}
	// A page does not go past a gap unless it cannot be filled.
	for fills := 0; err == nil; fills++ {
		var gaps []storage.Gap
		if gaps, err = p.gaps(page); err != nil {
			break
		}
		if gaps = s.fertile(info, gaps); len(gaps) == 0 {
			return page, err
		}
		if fills == maxFills {
			return p.endAt(page, gaps[0]), nil
		}
		if err = s.Backfill(ctx, info, gaps); err != nil {
			break
		}
		if err = s.noteBarren(ctx, info, gaps); err != nil {
			break
		}
		page, err = p.page()
	}
	return page, err
}

// endAt ends a page where a gap begins, which the next request goes on to fill.
func (p *pager) endAt(page HistoryPage, gap storage.Gap) HistoryPage {
	n := 0
	for n < len(page.Events) && page.Events[n].PDU.Depth() >= gap.Depth {
		n++
	}
	p.at = p.req.From
	if gap.Depth <= p.at.Depth {
		p.at.Depth, p.at.NID = gap.Depth-1, Live-1
	}
	return HistoryPage{Events: page.Events[:n], End: p.at, More: true}
}

const (
	barrenKept = 10_000
	barrenFor  = time.Minute // how long a gap is let be that could not be filled
)

// fertile are the gaps that were not tried in vain just now.
func (s *Server) fertile(info *storage.RoomInfo, gaps []storage.Gap) []storage.Gap {
	return slices.DeleteFunc(gaps, func(g storage.Gap) bool {
		until, ok := s.barren.Get(eventName{info.NID, g.Missing})
		return ok && s.now().Before(until)
	})
}

// noteBarren remembers gaps of which asking others filled none, so that not
// every reader waits for the same silence. Where some were filled, the others
// may only have had no place in the answer.
func (s *Server) noteBarren(ctx context.Context, info *storage.RoomInfo, gaps []storage.Gap) error {
	missing := make([]id.EventID, len(gaps))
	for i, g := range gaps {
		missing[i] = g.Missing
	}
	found, err := s.eventsByID(ctx, info, missing)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Status != storage.Outlier {
			return nil
		}
	}
	for _, eventID := range missing {
		s.barren.Put(eventName{info.NID, eventID}, s.now().Add(barrenFor))
	}
	return nil
}

// Latest is the point after the last event that a viewer may see: where going
// back begins when nothing else is asked.
func (s *Server) Latest(v Viewer) Point {
	if v.Joined || v.Left == nil {
		return Point{Pos: s.db.Applied() + 1, Depth: math.MaxInt64, NID: Live}
	}
	return v.end()
}

// end is the point after the event that ended the viewer's membership.
func (v *Viewer) end() Point {
	return Point{Pos: v.LeftAt + 1, Depth: max(v.Left.Top, v.Left.PDU.Depth()), NID: Live}
}

// SeamAt is the point of a room's live timeline after all up to a position.
func (s *Server) SeamAt(ctx context.Context, info *storage.RoomInfo, upTo storage.Position) (Point, error) {
	next, err := s.db.Latest().FirstLive(ctx, info, upTo+1)
	if err != nil {
		return Point{}, err
	}
	p := Point{Pos: upTo + 1, Depth: math.MaxInt64, NID: Live}
	if next != nil {
		p.Depth = Seam(next).Depth
	}
	return p, nil
}

// pager reads one page.
type pager struct {
	server  *Server
	ctx     context.Context
	info    *storage.RoomInfo
	viewer  Viewer
	req     HistoryRequest
	at      Point // after what was looked at
	scanned int
}

func (p *pager) page() (HistoryPage, error) {
	page := HistoryPage{More: true}
	p.at, p.scanned = p.req.From, 0
	if left := p.viewer.Left; left != nil && !p.viewer.Joined && !p.req.Forward && p.at.IsLive() && p.at.Pos > p.viewer.LeftAt+1 {
		open, err := p.server.open(p.ctx, p.info)
		if err != nil {
			return page, err
		}
		if !open {
			p.at = p.viewer.end()
		}
	}
	for p.scanned < maxScan {
		n := p.req.Limit - len(page.Events) + 1
		if p.scanned > 0 || p.req.Match != nil {
			n = max(n, scanChunk)
		}
		batch, err := p.read(n)
		if err != nil {
			return page, err
		}
		done, err := p.take(&page, batch)
		if err != nil || done {
			page.End = p.at
			return page, err
		}
		if len(batch) < n {
			page.More = false
			break
		}
	}
	page.End = p.at
	return page, nil
}

// take looks through a batch and reports whether the page is complete.
func (p *pager) take(page *HistoryPage, batch []*storage.Event) (bool, error) {
	visible, err := p.server.VisibleTo(p.ctx, p.info, p.viewer, batch)
	if err != nil {
		return true, err
	}
	for i, e := range batch {
		if len(page.Events) >= p.req.Limit || p.reached(e) {
			return true, nil
		}
		p.scanned++
		p.pass(e)
		if visible[i] && (p.req.Match == nil || p.req.Match(e)) {
			page.Events = append(page.Events, e)
		}
	}
	return false, nil
}

func (p *pager) read(n int) ([]*storage.Event, error) {
	view := p.server.db.Latest()
	at := storage.HistoryRange{Depth: p.at.Depth, NID: p.at.NID}
	if !p.req.Forward {
		at.Below = p.at.Pos
	}
	switch rel := p.req.Related; {
	case rel != nil && p.req.Forward:
		return view.RelatedForward(p.ctx, p.info, *rel, at, n)
	case rel != nil:
		return view.RelatedBack(p.ctx, p.info, *rel, at, n)
	case !p.req.Forward:
		return view.HistoryBack(p.ctx, p.info, at, n)
	case p.at.IsLive():
		return view.Live(p.ctx, p.info, p.at.Pos, p.server.db.Applied(), n)
	}
	return view.HistoryForward(p.ctx, p.info, at, n)
}

// pass moves on past an event.
func (p *pager) pass(e *storage.Event) {
	switch {
	case !p.req.Forward:
		p.at.Depth, p.at.NID = e.PDU.Depth(), e.NID-1
	case p.at.IsLive() && p.req.Related == nil:
		p.at.Pos, p.at.Depth = e.Pos+1, max(e.Top, e.PDU.Depth())
	default:
		p.at = After(e)
	}
}

// reached reports whether an event lies beyond where the request ends.
func (p *pager) reached(e *storage.Event) bool {
	to := p.req.To
	switch {
	case to == nil:
		return false
	case to.IsLive() && p.req.Forward:
		return e.Pos >= to.Pos
	case to.IsLive():
		return e.Pos != 0 && e.Pos < to.Pos
	}
	before := e.PDU.Depth() < to.Depth || e.PDU.Depth() == to.Depth && e.NID <= to.NID
	return before != p.req.Forward
}

// gaps are the holes in the part of history that a page spans: cited from it,
// or from just after where it begins.
func (p *pager) gaps(page HistoryPage) ([]storage.Gap, error) {
	lowest := page.End.Depth
	if !page.More {
		lowest = 0
	}
	highest := p.req.From.Depth
	if highest < math.MaxInt64 {
		highest++
	}
	return p.server.db.Latest().Gaps(p.ctx, p.info.NID, lowest, highest)
}

// open reports whether everybody may read the room as it is now.
func (s *Server) open(ctx context.Context, info *storage.RoomInfo) (bool, error) {
	root, err := s.CurrentRoot(ctx, info)
	if err != nil {
		return false, err
	}
	v, err := s.visibilityAt(ctx, info, root)
	return v == worldReadable, err
}
