package clientapi

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"entente/clientapi/filter"
	"entente/clientapi/token"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	pageSize    = 10
	maxPageSize = 1000
)

// point reads a token of sync or of a page as a point of a room.
func (s *Server) point(ctx context.Context, info *storage.RoomInfo, text string) (roomserver.Point, error) {
	if p, err := token.ParsePoint(text); err == nil {
		return p.Point, nil
	}
	t, err := token.ParseSync(text)
	if err != nil {
		return roomserver.Point{}, err
	}
	return s.rooms.SeamAt(ctx, info, t.Pos)
}

// token is the token of a point.
func (s *Server) token(p roomserver.Point) string {
	return token.Point{Epoch: s.opts.Epoch, Point: p}.String()
}

// page is a request for a page of events, as the query says it.
type page struct {
	roomserver.HistoryRequest
	filter *filter.Room
	start  string
}

// readPage reads from, to, dir, limit and filter.
func (s *Server) readPage(ctx context.Context, c *web.Call, v *sight) (*page, error) {
	dir, err := c.QueryEnum("dir", "b", "b", "f")
	if err != nil {
		return nil, err
	}
	p := &page{}
	p.Forward = dir == "f"
	limit, err := c.QueryInt("limit", pageSize, 0, maxPageSize)
	if err != nil {
		return nil, err
	}
	p.Limit = int(limit)
	if p.filter, err = filter.ParseRoom(c.QueryString("filter")); err != nil {
		return nil, err
	}
	if f := p.filter; f != nil && f.Limit != nil && *f.Limit > 0 {
		p.Limit = min(p.Limit, *f.Limit)
	}
	if !p.filter.Everything() {
		p.Match = func(e *storage.Event) bool { return p.filter.Admits(e.PDU) }
	}
	return p, s.readPoints(ctx, c, v, p)
}

func (s *Server) readPoints(ctx context.Context, c *web.Call, v *sight, p *page) error {
	from := c.QueryString("from")
	var err error
	switch {
	case from != "":
		p.From, err = s.point(ctx, v.info, from)
	case p.Forward:
		p.From = roomserver.Point{}
	default:
		p.From = s.rooms.Latest(v.viewer)
	}
	if err != nil {
		return err
	}
	if p.start = from; from == "" {
		p.start = s.token(p.From)
	}
	to := c.QueryString("to")
	if to == "" {
		return nil
	}
	end, err := s.point(ctx, v.info, to)
	p.To = &end
	return err
}

// pageAnswer is a page of /messages.
type pageAnswer struct {
	Chunk json.RawMessage `json:"chunk"`
	Start string          `json:"start"`
	End   string          `json:"end,omitempty"`
	State json.RawMessage `json:"state,omitempty"`
}

// getMessages pages through the room's events.
func (s *Server) getMessages(ctx context.Context, c *web.Call) (any, error) {
	if _, err := c.QueryRequired("dir"); err != nil {
		return nil, err
	}
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	p, err := s.readPage(ctx, c, v)
	if err != nil {
		return nil, err
	}
	answer := pageAnswer{Start: p.start, Chunk: json.RawMessage("[]")}
	if !p.filter.AdmitsRoom(v.info.ID) {
		return answer, nil
	}
	p.Fill = true
	got, err := s.rooms.History(ctx, v.info, v.viewer, p.HistoryRequest)
	if err != nil {
		return nil, err
	}
	if got.More {
		answer.End = s.token(got.End)
	}
	if answer.Chunk, err = s.timeline(ctx, v, got.Events); err != nil {
		return nil, err
	}
	if p.filter.Lazy() && len(got.Events) > 0 {
		answer.State, err = s.senders(ctx, v, rootOfPage(got.Events, p.Forward), got.Events)
	}
	return answer, err
}

// rootOfPage is the state at the latest event of a page.
func rootOfPage(events []*storage.Event, forward bool) state.Root {
	e := events[0]
	if forward {
		e = events[len(events)-1]
	}
	return stateAfter(e)
}

// stateAfter is the state after an event, or what comes nearest to it.
func stateAfter(e *storage.Event) state.Root {
	if e.After == storage.UnknownRoot {
		return e.Before
	}
	return e.After
}

// senders renders the memberships of the senders of events, in a state.
//
// Spec: client-server-api/#lazy-loading-room-members
func (s *Server) senders(ctx context.Context, v *sight, root state.Root, events []*storage.Event) (json.RawMessage, error) {
	found, err := s.senderEvents(ctx, v, root, events)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, v, found)
}

func (s *Server) senderEvents(ctx context.Context, v *sight, root state.Root, events []*storage.Event) ([]*storage.Event, error) {
	if root == storage.UnknownRoot {
		return nil, nil
	}
	seen := map[id.UserID]bool{}
	var keys []event.Key
	for _, e := range events {
		if sender := e.PDU.Sender(); !seen[sender] {
			seen[sender] = true
			keys = append(keys, event.Key{Type: typeMember, StateKey: string(sender)})
		}
	}
	found, err := s.rooms.StateEvents(ctx, v.info, root, keys)
	return slices.DeleteFunc(found, func(e *storage.Event) bool { return e == nil }), err
}

// getEvent reads one event.
func (s *Server) getEvent(ctx context.Context, c *web.Call) (any, error) {
	v, e, err := s.lookAtEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	body, err := s.one(ctx, v, e)
	return web.Raw(body), err
}

// contextAnswer is what surrounds an event.
type contextAnswer struct {
	Event  json.RawMessage `json:"event"`
	Before json.RawMessage `json:"events_before"`
	After  json.RawMessage `json:"events_after"`
	Start  string          `json:"start"`
	End    string          `json:"end"`
	State  json.RawMessage `json:"state"`
}

// getContext reads the events around an event.
func (s *Server) getContext(ctx context.Context, c *web.Call) (any, error) {
	v, e, err := s.lookAtEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", pageSize, 0, maxPageSize)
	if err != nil {
		return nil, err
	}
	f, err := filter.ParseRoom(c.QueryString("filter"))
	if err != nil {
		return nil, err
	}
	around := roomserver.HistoryRequest{From: roomserver.Before(e), Limit: int(limit) / 2}
	if !f.Everything() {
		around.Match = func(e *storage.Event) bool { return f.Admits(e.PDU) }
	}
	before, err := s.rooms.History(ctx, v.info, v.viewer, around)
	if err != nil {
		return nil, err
	}
	around.From, around.Forward, around.Limit = roomserver.After(e), true, int(limit)-len(before.Events)
	after, err := s.rooms.History(ctx, v.info, v.viewer, around)
	if err != nil {
		return nil, err
	}
	return s.contextAnswer(ctx, v, f, e, before, after)
}

func (s *Server) contextAnswer(ctx context.Context, v *sight, f *filter.Room, e *storage.Event, before, after roomserver.HistoryPage) (any, error) {
	answer := contextAnswer{Start: s.token(before.End), End: s.token(after.End)}
	var err error
	if answer.Event, err = s.one(ctx, v, e); err != nil {
		return nil, err
	}
	if answer.Before, err = s.timeline(ctx, v, before.Events); err != nil {
		return nil, err
	}
	if answer.After, err = s.timeline(ctx, v, after.Events); err != nil {
		return nil, err
	}
	last := e
	if n := len(after.Events); n > 0 {
		last = after.Events[n-1]
	}
	shown := append(append([]*storage.Event{e}, before.Events...), after.Events...)
	answer.State, err = s.contextState(ctx, v, f, stateAfter(last), shown)
	return answer, err
}

// contextState is the state at the last event that is shown; of the members,
// where they are loaded lazily, those who sent something.
func (s *Server) contextState(ctx context.Context, v *sight, f *filter.Room, root state.Root, shown []*storage.Event) (json.RawMessage, error) {
	if root == storage.UnknownRoot {
		return json.RawMessage("[]"), nil
	}
	events, err := s.rooms.FullState(ctx, v.info, root)
	if err != nil {
		return nil, err
	}
	senders := map[string]bool{}
	for _, e := range shown {
		senders[string(e.PDU.Sender())] = true
	}
	events = slices.DeleteFunc(events, func(e *storage.Event) bool {
		key, _ := e.PDU.StateKey()
		return !f.Admits(e.PDU) || f.Lazy() && e.PDU.Type() == typeMember && !senders[key]
	})
	return s.list(ctx, v, events)
}

// getTimestamp finds the event nearest to a time.
func (s *Server) getTimestamp(ctx context.Context, c *web.Call) (any, error) {
	if _, err := c.QueryRequired("ts"); err != nil {
		return nil, err
	}
	ts, err := c.QueryInt("ts", 0, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	dir, err := c.QueryEnum("dir", "f", "f", "b")
	if err != nil {
		return nil, err
	}
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	e, err := s.rooms.EventNear(ctx, v.info, v.viewer, ts, dir == "f")
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fault.New(fault.NotFound, "There is no event at that side of this time")
	}
	return struct {
		EventID   id.EventID `json:"event_id"`
		Timestamp int64      `json:"origin_server_ts"`
	}{e.PDU.ID(), e.PDU.Timestamp()}, nil
}
