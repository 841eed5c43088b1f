package syncapi

import (
	"slices"

	"entente/clientapi/token"
	"entente/roomserver"
	"entente/storage"
)

// window is the timeline of an answer.
type window struct {
	entries []*entry
	// limited: there are events before it that the client has not got.
	limited bool
	// start is where to page back from; nil when that is unknown.
	start *token.Point
	// plain: the client was a member at every event of it.
	plain bool
	// related: other events may relate to one of it.
	related bool
}

// maxScan bounds the events that are looked at for one timeline, when a filter
// leaves most of them out.
const maxScan = 2000

// scan looks for the latest events of a room that the client wants.
type scan struct {
	*composer
	view   *view
	info   *storage.RoomInfo
	low    storage.Position // events after it
	plain  bool             // the reader may see all of them
	whole  bool             // no filter applies
	wanted int

	kept   []*entry // the latest first
	newest *entry   // the latest that was looked at
	seen   int
	more   bool
}

// window finds a room's timeline after low.
func (c *composer) window(v *view, info *storage.RoomInfo, low storage.Position, plain bool) (*window, error) {
	s := &scan{composer: c, view: v, info: info, low: low, plain: plain, wanted: c.filter.limit}
	timeline := &c.filter.Room.Timeline
	if !timeline.AdmitsRoom(info.ID) {
		return &window{plain: plain}, nil
	}
	s.whole = timeline.Everything() && len(c.ignored) == 0
	if err := s.run(); err != nil {
		return nil, err
	}
	w := &window{entries: s.kept, limited: s.more, plain: plain, related: s.related()}
	slices.Reverse(w.entries)
	switch {
	case len(w.entries) > 0:
		w.start = &token.Point{Epoch: c.server.epoch, Point: roomserver.Seam(w.entries[0].Event)}
	case s.more && s.newest != nil:
		e := s.newest
		w.start = &token.Point{Epoch: c.server.epoch, Point: roomserver.Point{
			Pos: e.Pos + 1, Depth: max(e.Top, e.PDU.Depth()), NID: roomserver.Live,
		}}
	}
	return w, nil
}

// related reports whether other events may relate to those that were kept. An
// event comes after the one that it relates to: to those of the ring, only
// others of the ring do.
func (s *scan) related() bool {
	if len(s.kept) == 0 {
		return false
	}
	oldest := s.kept[len(s.kept)-1]
	if oldest.Pos <= s.view.from {
		return true
	}
	return slices.ContainsFunc(s.view.ring, func(e *entry) bool {
		return e.RelTo != "" && e.Pos > oldest.Pos && slices.ContainsFunc(s.kept, func(k *entry) bool { return k.PDU.ID() == e.RelTo })
	})
}

// run goes back through the ring, and where that ends through the database.
func (s *scan) run() error {
	v := s.view
	until := s.until
	if v.pos <= s.low {
		return nil
	}
	if until > v.from {
		batch := make([]*entry, 0, len(v.ring))
		for i := len(v.ring) - 1; i >= 0 && v.ring[i].Pos > s.low; i-- {
			if v.ring[i].Pos <= until {
				batch = append(batch, v.ring[i])
			}
		}
		if done, err := s.take(batch); done || err != nil {
			return err
		}
		until = v.from
	}
	for until > s.low {
		if s.seen >= maxScan {
			s.more = true
			return nil
		}
		page := s.wanted + 1
		if !s.whole {
			page = max(2*page, 50)
		}
		events, err := s.server.db.Latest().Timeline(s.ctx, s.info, s.low, until, page)
		if err != nil || len(events) == 0 {
			return err
		}
		batch := make([]*entry, len(events))
		for i, e := range events {
			batch[i] = newEntry(e)
		}
		if done, err := s.take(batch); done || err != nil || len(events) < page {
			return err
		}
		until = events[len(events)-1].Pos - 1
	}
	return nil
}

// take keeps what is wanted of a batch, the latest first; done says that there
// is enough.
func (s *scan) take(batch []*entry) (done bool, err error) {
	if s.newest == nil && len(batch) > 0 {
		s.newest = batch[0]
	}
	s.seen += len(batch)
	if !s.whole {
		batch = slices.DeleteFunc(batch, func(e *entry) bool { return !s.admits(e) })
	}
	if !s.plain {
		if batch, err = s.visible(batch); err != nil {
			return false, err
		}
	}
	for _, e := range batch {
		if len(s.kept) == s.wanted {
			s.more = true
			return true, nil
		}
		s.kept = append(s.kept, e)
	}
	return false, nil
}

// admits reports whether the client wants an event.
//
// Spec: client-server-api/#ignoring-users
func (s *scan) admits(e *entry) bool {
	if _, isState := e.PDU.StateKey(); !isState && s.ignored[e.PDU.Sender()] {
		return false
	}
	return s.filter.Room.Timeline.Admits(e.PDU)
}

// visible keeps what the reader may see.
func (s *scan) visible(batch []*entry) ([]*entry, error) {
	events := make([]*storage.Event, len(batch))
	for i, e := range batch {
		events[i] = e.Event
	}
	may, err := s.server.rooms.Visible(s.ctx, s.info, s.req.User, events)
	if err != nil {
		return nil, err
	}
	kept := batch[:0]
	for i, e := range batch {
		if may[i] {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// appendTimeline appends a timeline as JSON.
func (c *composer) appendTimeline(dst []byte, info *storage.RoomInfo, w *window) ([]byte, error) {
	dst = append(dst, `"timeline":{"events":[`...)
	dst, err := c.appendEvents(dst, info, w)
	if err != nil {
		return nil, err
	}
	dst = append(dst, `],"limited":`...)
	if w.limited {
		dst = append(dst, `true`...)
	} else {
		dst = append(dst, `false`...)
	}
	if w.start != nil {
		dst = append(dst, `,"prev_batch":"`...)
		dst = w.start.Append(dst)
		dst = append(dst, '"')
	}
	return append(dst, '}'), nil
}

func (c *composer) appendEvents(dst []byte, info *storage.RoomInfo, w *window) ([]byte, error) {
	if !w.plain || w.related || !c.filter.plain {
		events := make([]*storage.Event, len(w.entries))
		for i, e := range w.entries {
			events[i] = e.Event
		}
		return c.appendAnyhow(dst, info, events)
	}
	for i, e := range w.entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		shape, err := c.server.shapeOf(c.ctx, info, e)
		if err != nil {
			return nil, err
		}
		transaction := ""
		if e.PDU.Sender() == c.req.User {
			transaction = c.server.opts.Transactions.Of(e.PDU.ID(), c.req.User, c.req.Device)
		}
		dst = shape.append(dst, c.now-e.PDU.Timestamp(), transaction)
	}
	return dst, nil
}
