package roomserver

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	maxGapDepth   = 5   // how often filling a gap may find another
	maxGapEvents  = 50  // events asked for in one go
	maxFetch      = 8   // events fetched singly at once
	maxSingly     = 200 // events fetched singly; beyond, the whole state is asked for
	maxAuthRounds = 50  // how deep auth events may lead to unknown ones
)

// claim is the state before an event as a peer stated it. It is stored, but
// nothing leads to it until an event does: epoch is the room's gc epoch then,
// and it counts only as long as that is the same.
type claim struct {
	root  state.Root
	epoch int64
}

// noClaim: no peer had to be asked.
var noClaim = claim{root: storage.UnknownRoot}

// parse checks events that a peer sent in an answer: their format, room,
// signatures and hashes. Those that fail are left out, as they would be had
// they come by themselves.
func (s *Server) parse(ctx context.Context, r *room, raws []json.RawMessage) []*event.PDU {
	pdus := make([]*event.PDU, 0, len(raws))
	for _, raw := range raws {
		pdu, err := event.Parse(r.rules, raw)
		if err != nil || pdu.RoomID() != r.info.ID {
			continue
		}
		pdus = append(pdus, pdu)
	}
	out := pdus[:0]
	for i, err := range s.keys.VerifyPDUs(ctx, pdus) {
		if err == nil {
			out = append(out, pdus[i])
		}
	}
	return out
}

// missing are those of the IDs that this server does not have.
func (s *Server) missing(ctx context.Context, r *room, ids []id.EventID) ([]id.EventID, error) {
	known, err := s.eventsByID(ctx, r.info, ids)
	if err != nil {
		return nil, err
	}
	var out []id.EventID
	for _, eventID := range ids {
		if known[eventID] == nil {
			out = append(out, eventID)
		}
	}
	return out, nil
}

// fetchAuth makes sure that an event's auth events are known.
func (s *Server) fetchAuth(ctx context.Context, r *room, origin string, pdu *event.PDU) error {
	missing, err := s.missing(ctx, r, pdu.AuthEvents())
	if err != nil || len(missing) == 0 {
		return err
	}
	raws, err := s.peers.EventAuth(ctx, origin, r.info.ID, pdu.ID())
	if err != nil {
		return s.fetchEvents(ctx, r, origin, missing)
	}
	if err := s.storeOutliers(ctx, r, s.parse(ctx, r, raws)); err != nil {
		return err
	}
	if missing, err = s.missing(ctx, r, missing); err != nil || len(missing) == 0 {
		return err
	}
	return s.fetchEvents(ctx, r, origin, missing)
}

func (s *Server) storeOutliers(ctx context.Context, r *room, pdus []*event.PDU) error {
	if len(pdus) == 0 {
		return nil
	}
	if err := r.hold(ctx); err != nil {
		return err
	}
	defer r.unhold()
	if err := r.loadHeld(ctx); err != nil {
		return err
	}
	_, err := r.storeOutliersHeld(ctx, pdus)
	return err
}

// fetchEvents fetches events one by one, with what they cite, and stores them
// as outliers.
func (s *Server) fetchEvents(ctx context.Context, r *room, origin string, wanted []id.EventID) error {
	var got []*event.PDU
	seen := map[id.EventID]bool{}
	for range maxAuthRounds {
		if len(wanted) == 0 {
			break
		}
		if len(got)+len(wanted) > maxSingly {
			return fault.New(fault.Unavailable, "The event cites too many events that this server does not have")
		}
		fetched := s.parse(ctx, r, s.fetchSingly(ctx, origin, wanted))
		var next []id.EventID
		for _, w := range wanted {
			seen[w] = true
		}
		for _, pdu := range fetched {
			got = append(got, pdu)
			for _, a := range pdu.AuthEvents() {
				if !seen[a] {
					seen[a] = true
					next = append(next, a)
				}
			}
		}
		var err error
		if wanted, err = s.missing(ctx, r, next); err != nil {
			return err
		}
	}
	return s.storeOutliers(ctx, r, got)
}

// fetchSingly asks for events one by one, a few at a time.
func (s *Server) fetchSingly(ctx context.Context, origin string, wanted []id.EventID) []json.RawMessage {
	var mu sync.Mutex
	var out []json.RawMessage
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxFetch)
	for _, eventID := range wanted {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			raw, err := s.peers.Event(ctx, origin, eventID)
			if err != nil {
				return // it stays missing, and the caller says so
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, raw)
		})
	}
	wg.Wait()
	return out
}

// fillGap makes sure that the events before an event are known, or that the
// state before it is: the answer is that state when it had to be asked for.
//
// Spec: server-server-api/#backfilling-and-retrieving-missing-events
func (s *Server) fillGap(ctx context.Context, r *room, origin string, pdu *event.PDU, gap int) (claim, error) {
	missing, err := s.unplaced(ctx, r, pdu.PrevEvents())
	if err != nil || len(missing) == 0 {
		return noClaim, err
	}
	if gap > 0 {
		if err := s.fetchMissing(ctx, r, origin, pdu, gap); err != nil {
			return noClaim, err
		}
		if missing, err = s.unplaced(ctx, r, missing); err != nil || len(missing) == 0 {
			return noClaim, err
		}
	}
	return s.claimedState(ctx, r, origin, pdu.ID())
}

// unplaced are those of the events whose state is not known here.
func (s *Server) unplaced(ctx context.Context, r *room, ids []id.EventID) ([]id.EventID, error) {
	known, err := s.eventsByID(ctx, r.info, ids)
	if err != nil {
		return nil, err
	}
	var out []id.EventID
	for _, eventID := range ids {
		if e := known[eventID]; e == nil || e.After == storage.UnknownRoot {
			out = append(out, eventID)
		}
	}
	return out, nil
}

// fetchMissing asks for the events between ours and the given one, and lets
// them in, oldest first.
func (s *Server) fetchMissing(ctx context.Context, r *room, origin string, pdu *event.PDU, gap int) error {
	earliest, err := s.latestIDs(ctx, r)
	if err != nil {
		return err
	}
	raws, err := s.peers.GetMissingEvents(ctx, origin, r.info.ID, client.MissingRequest{
		Earliest: earliest, Latest: []id.EventID{pdu.ID()}, Limit: maxGapEvents,
	})
	if err != nil {
		return nil // the state before the event will be asked for instead
	}
	found := s.parse(ctx, r, raws)
	slices.SortStableFunc(found, func(a, b *event.PDU) int { return cmp.Compare(a.Depth(), b.Depth()) })
	for _, earlier := range found {
		if earlier.ID() == pdu.ID() {
			continue
		}
		err := s.receive(ctx, r, origin, earlier, gap-1)
		if err != nil && (fault.Is(err, fault.Internal) || ctx.Err() != nil) {
			return err
		}
	}
	return nil
}

// latestIDs are the room's forward extremities.
func (s *Server) latestIDs(ctx context.Context, r *room) ([]id.EventID, error) {
	h, err := s.db.Latest().Head(ctx, r.info.NID)
	if err != nil || h == nil {
		return nil, err
	}
	events, err := s.eventsOf(ctx, r.info, h.Latest)
	if err != nil {
		return nil, err
	}
	out := make([]id.EventID, len(events))
	for i, e := range events {
		out[i] = e.PDU.ID()
	}
	return out, nil
}

// claimedState asks a peer for the state before an event, and stores it.
//
// Spec: server-server-api/#get_matrixfederationv1state_idsroomid
func (s *Server) claimedState(ctx context.Context, r *room, origin string, eventID id.EventID) (claim, error) {
	stateIDs, authIDs, err := s.peers.StateIDs(ctx, origin, r.info.ID, eventID)
	if err != nil {
		return noClaim, err
	}
	missing, err := s.missing(ctx, r, append(slices.Clone(stateIDs), authIDs...))
	if err != nil {
		return noClaim, err
	}
	var pdus []*event.PDU
	if len(missing) > maxSingly {
		var raws []json.RawMessage
		collect := func(_ client.Part, raw json.RawMessage) error {
			raws = append(raws, raw)
			return nil
		}
		if err := s.peers.State(ctx, origin, r.info.ID, eventID, collect); err != nil {
			return noClaim, err
		}
		pdus = s.parse(ctx, r, raws)
	} else {
		pdus = s.parse(ctx, r, s.fetchSingly(ctx, origin, missing))
	}
	if err := s.storeOutliers(ctx, r, pdus); err != nil {
		return noClaim, err
	}
	return s.storeState(ctx, r, stateIDs)
}

// storeState stores a full state as changes of the current one.
func (s *Server) storeState(ctx context.Context, r *room, stateIDs []id.EventID) (claim, error) {
	if err := r.hold(ctx); err != nil {
		return noClaim, err
	}
	defer r.unhold()
	if err := r.loadHeld(ctx); err != nil {
		return noClaim, err
	}
	known := map[id.EventID]*storage.Event{}
	for chunk := range slices.Chunk(stateIDs, 1000) {
		found, err := s.eventsByID(ctx, r.info, chunk)
		if err != nil {
			return noClaim, err
		}
		for k, v := range found {
			known[k] = v
		}
	}
	base := r.head.Root
	p := &proposal{ctx: ctx, server: s, room: r, head: r.head}
	want := map[state.KeyNum]event.NID{}
	for _, e := range known {
		key, ok := stateKey(e.PDU)
		if !ok || e.Status == storage.Rejected {
			continue
		}
		num, err := p.number(key)
		if err != nil {
			return noClaim, err
		}
		want[num] = e.NID
	}
	entries, err := r.changes(ctx, base, want)
	if err != nil {
		return noClaim, err
	}
	root, err := p.setAll(base, entries)
	if err != nil {
		return noClaim, err
	}
	return claim{root, r.head.Collection}, s.db.Stage(ctx, p.write...)
}

// changes are what turns the state at base into the wanted one.
func (r *room) changes(ctx context.Context, base state.Root, want map[state.KeyNum]event.NID) ([]state.Entry, error) {
	var out []state.Entry
	for entry, err := range r.state.All(ctx, base) {
		if err != nil {
			return nil, err
		}
		nid, ok := want[entry.Key]
		switch {
		case !ok:
			out = append(out, state.Entry{Key: entry.Key})
		case nid != entry.NID:
			out = append(out, state.Entry{Key: entry.Key, NID: nid})
		}
		delete(want, entry.Key)
	}
	for key, nid := range want {
		out = append(out, state.Entry{Key: key, NID: nid})
	}
	return out, nil
}
