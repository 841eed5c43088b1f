package roomserver

import (
	"context"
	"errors"
	"slices"

	"entente/internal/fault"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Receive processes an event that a peer sent, whose format, signatures and
// hashes are checked. It fetches what the event cites from origin. An event
// that the rules refuse is kept as rejected or soft-failed, which is no error.
// Errors of kind Unreachable and Unavailable may pass; others will not.
//
// Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
func (s *Server) Receive(ctx context.Context, origin string, pdu *event.PDU) error {
	resident, err := s.resident(ctx, pdu.RoomID())
	if err != nil {
		return err
	}
	if !resident {
		if err := s.policy.receive(origin, pdu); err != nil {
			return err
		}
		return s.receiveOutside(ctx, pdu)
	}
	return s.with(ctx, pdu.RoomID(), func(r *room) error {
		if r.rules != pdu.Rules() {
			return fault.New(fault.InvalidParam, "The event is not of the room's version")
		}
		return s.receive(ctx, r, origin, pdu, maxGapDepth)
	})
}

// receive makes sure that what the event cites is known, then lets it in. gap
// bounds how often filling a gap may find another.
func (s *Server) receive(ctx context.Context, r *room, origin string, pdu *event.PDU, gap int) error {
	return s.take(ctx, r, origin, pdu, gap, false)
}

// take is receive; past says that the event lies behind a gap of the history:
// others follow it, so it enters beside the timeline, and the current state,
// which came after it, says nothing about it.
func (s *Server) take(ctx context.Context, r *room, origin string, pdu *event.PDU, gap int, past bool) error {
	known, err := s.eventsByID(ctx, r.info, []id.EventID{pdu.ID()})
	if err != nil {
		return err
	}
	if e := known[pdu.ID()]; e != nil && e.Status != storage.Outlier {
		return nil
	}
	if err := s.fetchAuth(ctx, r, origin, pdu); err != nil {
		return err
	}
	claimed, err := s.fillGap(ctx, r, origin, pdu, gap)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, r, func(p *proposal) error {
		p.past = past
		if p.refusal = s.policy.receive(origin, pdu); fault.Is(p.refusal, fault.Unavailable) {
			return p.refusal
		}
		return p.receive(pdu, claimed)
	})
	return err
}

// receive lets an event of a peer into the room. claimed, where it is known, is
// the state before the event as a peer stated it, for lack of previous events.
func (p *proposal) receive(pdu *event.PDU, claimed claim) error {
	known, err := p.citations(pdu)
	if err != nil {
		return err
	}
	stored := known[pdu.ID()]
	if stored != nil && stored.Status != storage.Outlier {
		return nil
	}
	in := &incoming{proposal: p, known: known}
	in.event = &storage.Event{Room: p.room.info.NID, PDU: pdu}
	if stored != nil { // an outlier finds its place
		e := *stored
		in.event, in.outlier = &e, true
	}
	for _, a := range pdu.AuthEvents() {
		if known[a] == nil {
			return fault.New(fault.Unavailable, "The event cites %s, which no one can give us", a)
		}
		in.authEvents = append(in.authEvents, known[a])
	}
	if len(p.run) > 0 && in.meetsForks() {
		return errForks
	}
	if err := in.stateBefore(claimed); err != nil {
		return err
	}
	if err := in.judge(); err != nil {
		return err
	}
	if err := in.enter(); err != nil {
		return err
	}
	if p.run != nil {
		p.run[pdu.ID()] = in.event
	}
	return nil
}

// incoming is a peer's event on its way into the room.
type incoming struct {
	*proposal
	event      *storage.Event
	outlier    bool // the event is stored, without a place
	known      map[id.EventID]*storage.Event
	authEvents []*storage.Event
	missing    []id.EventID // previous events that we do not have
	bulk       *bulkState   // when the state changes too much for one commit
}

// stateBefore settles the state before the event, from those of its previous
// events and what was claimed about those that are missing.
func (in *incoming) stateBefore(claimed claim) error {
	var roots []state.Root
	for _, eventID := range in.event.PDU.PrevEvents() {
		prev := in.known[eventID]
		if prev == nil || prev.After == storage.UnknownRoot {
			in.missing = append(in.missing, eventID)
			continue
		}
		in.event.Prev = append(in.event.Prev, prev.NID)
		roots = append(roots, prev.After)
	}
	if len(in.missing) > 0 {
		if claimed.root == storage.UnknownRoot || claimed.epoch != in.head.Collection {
			return fault.New(fault.Unavailable, "The event follows events that no one can give us")
		}
		roots = append(roots, claimed.root)
	}
	var err error
	in.event.Before, err = in.resolve(roots)
	return err
}

// judge decides the event's status: by its auth events, by the state before
// it, by the current state, and by governance. What governance refuses is kept
// as soft-failed: users do not see it, and the graph stays whole.
func (in *incoming) judge() error {
	pdu := in.event.PDU
	create, err := in.room.eventAt(in.ctx, in.head.Root, event.Key{Type: typeCreate})
	if err != nil {
		return err
	}
	var createPDU *event.PDU
	if create != nil && in.room.rules.RoomIDIsCreateHash {
		createPDU = create.PDU
	}
	in.event.Status = storage.Accepted
	checks := []struct {
		fails storage.Status
		check func() error
	}{
		{storage.Rejected, func() error { return in.room.allowedByAuthEvents(pdu, in.authEvents, createPDU) }},
		{storage.Rejected, func() error { return in.room.checker.Check(pdu, in.room.lookup(in.ctx, in.event.Before)) }},
		{storage.SoftFailed, func() error { return in.room.checker.Check(pdu, in.room.lookup(in.ctx, in.head.Root)) }},
	}
	if in.past || in.event.Before == in.head.Root {
		checks = checks[:len(checks)-1]
	}
	if create != nil && pdu.Type() == typeCreate && pdu.ID() != create.PDU.ID() {
		in.event.Status, in.event.Reason = storage.Rejected, "the room has another create event"
		return nil
	}
	for _, c := range checks {
		err := c.check()
		var refusal *auth.Refusal
		if errors.As(err, &refusal) {
			in.event.Status, in.event.Reason = c.fails, refusal.Error()
			return nil
		}
		if err != nil {
			return err
		}
	}
	if in.refusal != nil {
		in.event.Status, in.event.Reason = storage.SoftFailed, in.refusal.Error()
	}
	return nil
}

// enter writes the event: at the end of the room, or beside the timeline when
// it was rejected, soft-failed, or others already follow it.
func (in *incoming) enter() error {
	e := in.event
	if !in.outlier {
		var err error
		if e.NID, err = in.nid(); err != nil {
			return err
		}
		if err := in.describe(e, in.authEvents); err != nil {
			return err
		}
	}
	e.After = e.Before
	if key, ok := stateKey(e.PDU); ok && e.Status != storage.Rejected {
		var err error
		if e.Replaces, err = in.room.at(in.ctx, e.Before, key); err != nil {
			return err
		}
		if e.After, _, err = in.set(e.Before, key, e.NID); err != nil {
			return err
		}
	}
	cited, err := in.isCited(e)
	if err != nil {
		return err
	}
	if e.Status != storage.Rejected {
		for _, eventID := range in.missing {
			in.write = append(in.write, &storage.MissingPrev{Room: e.Room, EventID: eventID, CitedBy: e.NID})
		}
	}
	if cited {
		in.write = append(in.write, &storage.FoundPrev{Room: e.Room, EventID: e.PDU.ID()})
	}
	e.Destinations = in.relayTo()
	if e.Status != storage.Accepted || cited || in.past {
		return in.beside()
	}
	return in.atEnd()
}

// relayTo are the servers that we must send the event to: none, unless it was
// accepted for a server that is not in the room.
func (in *incoming) relayTo() storage.Servers {
	if !in.relay || in.event.Status != storage.Accepted {
		return ""
	}
	return in.destinations(in.event.PDU, nil)
}

// beside writes the event outside the live timeline.
func (in *incoming) beside() error {
	in.server.events.put(in.event)
	if in.outlier {
		in.write = append(in.write, storage.PlaceEvent{Event: in.event})
	} else {
		in.write = append(in.write, in.event)
	}
	in.positions = max(in.positions, 1)
	if in.event.Status != storage.Accepted {
		return nil
	}
	return in.redactions()
}

// atEnd makes the event a forward extremity in the place of those it follows,
// and settles the current state.
func (in *incoming) atEnd() error {
	e := in.event
	latest := []*storage.Event{e}
	for _, l := range in.head.latest {
		if !slices.Contains(e.PDU.PrevEvents(), l.PDU.ID()) {
			latest = append(latest, l)
		}
	}
	in.proposal.enter(e, latest)
	in.server.events.put(e)
	if in.outlier {
		in.write = append(in.write, storage.PlaceEvent{Event: e})
	} else {
		in.write = append(in.write, e)
	}
	roots := make([]state.Root, len(latest))
	for i, l := range latest {
		roots[i] = l.After
	}
	root, err := in.resolve(roots)
	if err != nil {
		return err
	}
	if err := in.moveTo(root); err != nil {
		return err
	}
	return in.redactions()
}

// redactions applies the event if it is a redaction, and those of it.
func (in *incoming) redactions() error {
	if err := in.applyRedaction(in.event); err != nil {
		return err
	}
	return in.redactedAlready(in.event)
}

// redactedAlready applies a redaction that arrived before its target.
func (in *incoming) redactedAlready(e *storage.Event) error {
	if !in.mayBeRedacted(e) {
		return nil
	}
	found, err := in.server.db.Latest().RedactionsOf(in.ctx, in.room.info, e.PDU.ID())
	if err != nil {
		return err
	}
	for _, redaction := range found {
		may, err := in.mayRedact(redaction.PDU, e.PDU)
		if err != nil {
			return err
		}
		if may {
			e.PDU, e.RedactedBy = e.PDU.Redact(), redaction.NID
			e.RelType, e.RelTo, e.Flags = "", "", 0
			if in.outlier {
				in.write = append(in.write, &storage.Redaction{NID: e.NID, By: e.RedactedBy, Form: e.PDU})
			}
			return nil
		}
	}
	return nil
}
