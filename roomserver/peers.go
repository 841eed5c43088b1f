package roomserver

import (
	"context"
	"slices"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/roomserver/stateres"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	maxBackfill     = 100
	maxMissing      = 50
	walkLookAtMost  = 500 // events that one walk backwards looks at
	authChainAtMost = 100_000
)

// stateAndAuth reads a state and its auth chain, without what is in the state.
func (s *Server) stateAndAuth(ctx context.Context, info *storage.RoomInfo, root state.Root) (current, chain []*event.PDU, err error) {
	var nids []event.NID
	for entry, err := range s.states.Room(int64(info.NID)).All(ctx, root) {
		if err != nil {
			return nil, nil, err
		}
		nids = append(nids, entry.NID)
	}
	events, err := s.eventsOf(ctx, info, nids)
	if err != nil {
		return nil, nil, err
	}
	inState := make(map[event.NID]bool, len(nids))
	for _, e := range events {
		inState[e.NID] = true
		current = append(current, e.PDU)
	}
	auth, err := s.authChain(ctx, info, events)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range auth {
		if !inState[e.NID] {
			chain = append(chain, e.PDU)
		}
	}
	return current, chain, nil
}

// authChain reads the auth chain of events, without the events themselves
// unless others among them cite them.
//
// Spec: rooms/v12/#definitions
func (s *Server) authChain(ctx context.Context, info *storage.RoomInfo, of []*storage.Event) ([]*storage.Event, error) {
	var cited []event.NID
	seen := map[event.NID]bool{}
	for _, e := range of {
		for _, a := range e.Auth {
			if !seen[a] {
				seen[a] = true
				cited = append(cited, a)
			}
		}
	}
	direct, err := s.eventsOf(ctx, info, cited)
	if err != nil {
		return nil, err
	}
	var from []stateres.Pos
	out := map[event.NID]bool{}
	for _, e := range direct {
		out[e.NID] = true
		if e.PDU.Type() != typeCreate {
			from = append(from, e.Place)
		}
	}
	index := chainIndex{s, info.NID}
	spans, err := stateres.AuthChain(ctx, index, from)
	if err != nil {
		return nil, err
	}
	entries, err := index.Span(ctx, spans)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		out[e.NID] = true
	}
	if len(out) > authChainAtMost {
		return nil, fault.New(fault.TooLarge, "The auth chain is too long to answer")
	}
	nids := make([]event.NID, 0, len(out))
	for nid := range out {
		nids = append(nids, nid)
	}
	slices.Sort(nids)
	return s.eventsOf(ctx, info, nids)
}

// at finds an accepted event of a room for a peer that is in the room.
func (s *Server) at(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) (*storage.RoomInfo, *storage.Event, error) {
	info, err := s.forPeer(ctx, server, roomID)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.eventsByID(ctx, info, []id.EventID{eventID})
	if err != nil {
		return nil, nil, err
	}
	e := found[eventID]
	if e == nil || e.Status == storage.Rejected {
		return nil, nil, fault.New(fault.NotFound, "There is no such event")
	}
	return info, e, nil
}

// forPeer finds a room that we are in and the peer too.
func (s *Server) forPeer(ctx context.Context, server string, roomID id.RoomID) (*storage.RoomInfo, error) {
	resident, err := s.resident(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if !resident {
		return nil, fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room")
	}
	info, err := s.Info(ctx, roomID)
	if err != nil {
		return nil, err
	}
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	if h == nil || !h.Destinations.Has(server) {
		return nil, fault.New(fault.Forbidden, "Your server is not in the room")
	}
	return info, nil
}

// StateAt is the state before an event and its auth chain, for a peer in the
// room.
//
// Spec: server-server-api/#get_matrixfederationv1stateroomid
func (s *Server) StateAt(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) (current, chain []*event.PDU, err error) {
	info, e, err := s.at(ctx, server, roomID, eventID)
	if err != nil {
		return nil, nil, err
	}
	if e.Before == storage.UnknownRoot {
		return nil, nil, fault.New(fault.NotFound, "This server does not know the state there")
	}
	return s.stateAndAuth(ctx, info, e.Before)
}

// EventAuth is the auth chain of an event, for a peer in the room.
//
// Spec: server-server-api/#get_matrixfederationv1event_authroomideventid
func (s *Server) EventAuth(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) ([]*event.PDU, error) {
	info, e, err := s.at(ctx, server, roomID, eventID)
	if err != nil {
		return nil, err
	}
	chain, err := s.authChain(ctx, info, []*storage.Event{e})
	out := make([]*event.PDU, len(chain))
	for i, a := range chain {
		out[i] = a.PDU
	}
	return out, err
}

// EventFor is one event, for a peer that may see it. What may not be seen is
// answered like what does not exist.
//
// Spec: server-server-api/#get_matrixfederationv1eventeventid
func (s *Server) EventFor(ctx context.Context, server string, eventID id.EventID) (*event.PDU, error) {
	rooms, err := s.db.Latest().RoomsOfEvent(ctx, eventID)
	if err != nil {
		return nil, err
	}
	for _, nid := range rooms {
		info, err := s.InfoOf(ctx, nid)
		if err != nil {
			return nil, err
		}
		_, e, err := s.at(ctx, server, info.ID, eventID)
		if err != nil {
			continue
		}
		shown, err := s.exposed(ctx, info, server, []*storage.Event{e})
		if err != nil {
			return nil, err
		}
		if len(shown) == 1 {
			return shown[0], nil
		}
	}
	return nil, fault.New(fault.NotFound, "There is no such event")
}

// BackfillFor walks back from events, for a peer in the room, and answers what
// it may see of them, the latest first.
//
// Spec: server-server-api/#get_matrixfederationv1backfillroomid
func (s *Server) BackfillFor(ctx context.Context, server string, roomID id.RoomID, from []id.EventID, limit int) ([]*event.PDU, error) {
	info, err := s.forPeer(ctx, server, roomID)
	if err != nil {
		return nil, err
	}
	start, err := s.eventsByID(ctx, info, from)
	if err != nil {
		return nil, err
	}
	w := walk{server: s, info: info, limit: min(max(limit, 1), maxBackfill)}
	for _, e := range start {
		w.push(e)
	}
	return w.shown(ctx, server)
}

// MissingFor answers the events that lead from earliest to latest, for a peer
// in the room, oldest first.
//
// Spec: server-server-api/#post_matrixfederationv1get_missing_eventsroomid
func (s *Server) MissingFor(ctx context.Context, server string, roomID id.RoomID, req client.MissingRequest) ([]*event.PDU, error) {
	info, err := s.forPeer(ctx, server, roomID)
	if err != nil {
		return nil, err
	}
	known, err := s.eventsByID(ctx, info, append(slices.Clone(req.Earliest), req.Latest...))
	if err != nil {
		return nil, err
	}
	w := walk{server: s, info: info, limit: min(max(req.Limit, 1), maxMissing), minDepth: req.MinDepth, seen: map[event.NID]bool{}}
	for _, eventID := range req.Earliest {
		if e := known[eventID]; e != nil {
			w.seen[e.NID] = true
		}
	}
	for _, eventID := range req.Latest {
		if e := known[eventID]; e != nil && e.Status != storage.Rejected {
			if err := w.pushPrev(ctx, e); err != nil {
				return nil, err
			}
		}
	}
	out, err := w.shown(ctx, server)
	slices.Reverse(out)
	return out, err
}

// walk goes backwards through a room's graph, deepest first.
type walk struct {
	server   *Server
	info     *storage.RoomInfo
	limit    int
	minDepth int64
	queue    []*storage.Event
	seen     map[event.NID]bool
}

func (w *walk) push(e *storage.Event) {
	if w.seen == nil {
		w.seen = map[event.NID]bool{}
	}
	if w.seen[e.NID] || e.Status == storage.Rejected || e.Status == storage.Outlier || e.PDU.Depth() < w.minDepth {
		return
	}
	w.seen[e.NID] = true
	w.queue = append(w.queue, e)
}

func (w *walk) pushPrev(ctx context.Context, e *storage.Event) error {
	prev, err := w.server.eventsOf(ctx, w.info, e.Prev)
	for _, p := range prev {
		w.push(p)
	}
	return err
}

// next takes the deepest event of the queue.
func (w *walk) next(ctx context.Context) (*storage.Event, error) {
	deepest := 0
	for i, e := range w.queue {
		if e.PDU.Depth() > w.queue[deepest].PDU.Depth() {
			deepest = i
		}
	}
	e := w.queue[deepest]
	w.queue = slices.Delete(w.queue, deepest, deepest+1)
	return e, w.pushPrev(ctx, e)
}

// shown walks on and answers what the peer may see: what it may not is
// redacted.
func (w *walk) shown(ctx context.Context, server string) ([]*event.PDU, error) {
	var found []*storage.Event
	for looked := 0; len(w.queue) > 0 && len(found) < w.limit && looked < walkLookAtMost; looked++ {
		e, err := w.next(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return w.server.exposed(ctx, w.info, server, found)
}

// exposed are events as a server may see them: whole, redacted, or left out.
func (s *Server) exposed(ctx context.Context, info *storage.RoomInfo, server string, events []*storage.Event) ([]*event.PDU, error) {
	exposures, err := s.VisibleToServer(ctx, info, server, events)
	if err != nil {
		return nil, err
	}
	out := make([]*event.PDU, 0, len(events))
	for i, e := range events {
		switch exposures[i] {
		case Whole:
			out = append(out, e.PDU)
		case Redacted:
			out = append(out, e.PDU.Redact())
		}
	}
	return out, nil
}
