package inbound

import (
	"context"
	"encoding/json"
	"net/http"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

const (
	maxBackfill    = 100
	maxMissing     = 50
	defaultMissing = 10
	maxEventsNamed = 100
	eventsPerWrite = 64 << 10
)

// events answers events as a transaction of ours.
//
// Spec: server-server-api/#get_matrixfederationv1backfillroomid
func (s *Server) events(pdus []*event.PDU) any {
	raws := make([]json.RawMessage, len(pdus))
	for i, p := range pdus {
		raws[i] = p.JSON()
	}
	return map[string]any{"origin": s.rooms.Name(), "origin_server_ts": s.o.Now().UnixMilli(), "pdus": raws}
}

// getEvent answers one event.
func (s *Server) getEvent(ctx context.Context, c *web.Call) (any, error) {
	eventID, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	pdu, err := s.rooms.EventFor(ctx, c.Origin(), eventID)
	if err != nil {
		return nil, err
	}
	return s.events([]*event.PDU{pdu}), nil
}

// stateAt is the state that a request names by room and event.
func (s *Server) stateAt(ctx context.Context, c *web.Call) (state, chain []*event.PDU, err error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, nil, err
	}
	at, err := c.QueryRequired("event_id")
	if err != nil {
		return nil, nil, err
	}
	if !event.ValidEventID(id.EventID(at)) {
		return nil, nil, fault.New(fault.InvalidParam, "event_id is not an event ID")
	}
	return s.rooms.StateAt(ctx, c.Origin(), room, id.EventID(at))
}

// getState answers the state before an event, event by event.
func (s *Server) getState(ctx context.Context, c *web.Call) (any, error) {
	state, chain, err := s.stateAt(ctx, c)
	if err != nil {
		return nil, err
	}
	return web.Stream(func(w http.ResponseWriter, _ *http.Request) error {
		out := newObject(w)
		out.events("auth_chain", chain)
		out.events("pdus", state)
		return out.end()
	}), nil
}

// getStateIDs answers the IDs of the state before an event.
func (s *Server) getStateIDs(ctx context.Context, c *web.Call) (any, error) {
	state, chain, err := s.stateAt(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string][]id.EventID{"auth_chain_ids": idsOf(chain), "pdu_ids": idsOf(state)}, nil
}

func idsOf(pdus []*event.PDU) []id.EventID {
	out := make([]id.EventID, len(pdus))
	for i, p := range pdus {
		out[i] = p.ID()
	}
	return out
}

// getEventAuth answers the auth chain of an event.
func (s *Server) getEventAuth(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	eventID, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	chain, err := s.rooms.EventAuth(ctx, c.Origin(), room, eventID)
	if err != nil {
		return nil, err
	}
	return web.Stream(func(w http.ResponseWriter, _ *http.Request) error {
		out := newObject(w)
		out.events("auth_chain", chain)
		return out.end()
	}), nil
}

// getBackfill answers events and what came before them.
func (s *Server) getBackfill(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", maxBackfill, 1, maxBackfill)
	if err != nil {
		return nil, err
	}
	from, err := eventIDs("v", c.QueryList("v"))
	if err != nil {
		return nil, err
	}
	if len(from) == 0 {
		return nil, fault.New(fault.MissingParam, "Missing query parameter v")
	}
	pdus, err := s.rooms.BackfillFor(ctx, c.Origin(), room, from, int(limit))
	if err != nil {
		return nil, err
	}
	return s.events(pdus), nil
}

func eventIDs[S ~string](name string, in []S) ([]id.EventID, error) {
	if len(in) > maxEventsNamed {
		return nil, fault.New(fault.InvalidParam, "%s names more than %d events", name, maxEventsNamed)
	}
	out := make([]id.EventID, len(in))
	for i, s := range in {
		if out[i] = id.EventID(s); !event.ValidEventID(out[i]) {
			return nil, fault.New(fault.InvalidParam, "%s holds what is not an event ID", name)
		}
	}
	return out, nil
}

// postMissing answers the events between those that the peer has and those
// that it does not understand yet.
func (s *Server) postMissing(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	q := client.MissingRequest{Limit: defaultMissing}
	if err := c.Decode(&q); err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.MinDepth < 0 {
		return nil, fault.New(fault.InvalidParam, "limit and min_depth are not negative")
	}
	q.Limit = min(q.Limit, maxMissing)
	if q.Earliest, err = eventIDs("earliest_events", q.Earliest); err != nil {
		return nil, err
	}
	if q.Latest, err = eventIDs("latest_events", q.Latest); err != nil {
		return nil, err
	}
	if len(q.Latest) == 0 || q.Limit == 0 {
		return map[string][]json.RawMessage{"events": {}}, nil
	}
	pdus, err := s.rooms.MissingFor(ctx, c.Origin(), room, q)
	if err != nil {
		return nil, err
	}
	raws := make([]json.RawMessage, len(pdus))
	for i, p := range pdus {
		raws[i] = p.JSON()
	}
	return map[string][]json.RawMessage{"events": raws}, nil
}

// object writes a JSON object piece by piece.
type object struct {
	w   http.ResponseWriter
	buf []byte
	err error
}

func newObject(w http.ResponseWriter) *object {
	w.Header().Set("Content-Type", "application/json")
	return &object{w: w, buf: append(make([]byte, 0, eventsPerWrite+event.MaxSize), '{')}
}

// key begins a member. Keys here need no escaping.
func (o *object) key(name string) {
	if o.buf[len(o.buf)-1] != '{' {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(append(append(o.buf, '"'), name...), `":`...)
}

func (o *object) value(name string, raw []byte) {
	o.key(name)
	o.buf = append(o.buf, raw...)
}

func (o *object) events(name string, pdus []*event.PDU) {
	o.key(name)
	o.buf = append(o.buf, '[')
	for i, p := range pdus {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = append(o.buf, p.JSON()...)
		if len(o.buf) >= eventsPerWrite {
			o.flush()
		}
	}
	o.buf = append(o.buf, ']')
}

// flush sends what has been written, all but the last byte, which tells key
// where it is.
func (o *object) flush() {
	if o.err != nil {
		o.buf = o.buf[:1]
		return
	}
	last := len(o.buf) - 1
	_, o.err = o.w.Write(o.buf[:last])
	o.buf[0] = o.buf[last]
	o.buf = o.buf[:1]
}

func (o *object) end() error {
	o.buf = append(o.buf, '}')
	if o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	return o.err
}
