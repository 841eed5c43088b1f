package roomserver

import (
	"context"
	"errors"
	"slices"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// ReceiveAll is Receive for events of one room that a peer sent in this order;
// the errors are parallel to them. Events that follow one another ride in one
// commit.
func (s *Server) ReceiveAll(ctx context.Context, origin string, pdus []*event.PDU) []error {
	errs := make([]error, len(pdus))
	resident, err := s.resident(ctx, pdus[0].RoomID())
	if err == nil && resident && len(pdus) > 1 {
		err = s.with(ctx, pdus[0].RoomID(), func(r *room) error {
			b := &arrivals{server: s, room: r, origin: origin, pdus: pdus, errs: errs, taken: map[id.EventID]bool{}}
			return b.receive(ctx)
		})
		if err == nil {
			return errs
		}
	}
	for i, pdu := range pdus {
		if errs[i] = err; err == nil {
			errs[i] = s.Receive(ctx, origin, pdu)
		}
	}
	return errs
}

// arrivals are events of one room that a peer sent together.
type arrivals struct {
	server *Server
	room   *room
	origin string
	pdus   []*event.PDU
	errs   []error

	taken   map[id.EventID]bool // those before the current one, that it may follow
	pending []int               // to be let in by the next commit
}

// receive lets the events in, in runs of those whose citations are known or in
// the same run; others have their gaps filled first.
func (b *arrivals) receive(ctx context.Context) error {
	known, err := b.known(ctx)
	if err != nil {
		return err
	}
	for i, pdu := range b.pdus {
		if pdu.Rules() != b.room.rules {
			b.errs[i] = fault.New(fault.InvalidParam, "The event is not of the room's version")
			continue
		}
		if e := known[pdu.ID()]; e != nil && e.Status != storage.Outlier || b.taken[pdu.ID()] {
			continue
		}
		b.taken[pdu.ID()] = true
		if b.cites(pdu, known) {
			b.pending = append(b.pending, i)
			continue
		}
		b.flush(ctx)
		b.errs[i] = b.server.receive(ctx, b.room, b.origin, pdu, maxGapDepth)
	}
	b.flush(ctx)
	return nil
}

// known reads all that the events cite.
func (b *arrivals) known(ctx context.Context) (map[id.EventID]*storage.Event, error) {
	var ids []id.EventID
	for _, pdu := range b.pdus {
		ids = append(append(append(ids, pdu.ID()), pdu.AuthEvents()...), pdu.PrevEvents()...)
	}
	return b.server.eventsByID(ctx, b.room.info, distinct(ids))
}

// cites reports whether all that an event cites is known, with its state, or
// comes before it in the run.
func (b *arrivals) cites(pdu *event.PDU, known map[id.EventID]*storage.Event) bool {
	for _, a := range pdu.AuthEvents() {
		if known[a] == nil && !b.taken[a] {
			return false
		}
	}
	for _, p := range pdu.PrevEvents() {
		if e := known[p]; (e == nil || e.After == storage.UnknownRoot) && !b.taken[p] {
			return false
		}
	}
	return true
}

// errForks: the event meets forks, and what settles them is read from the
// database, where the events before it must be first.
var errForks = errors.New("the events before must be committed first")

// flush lets the pending events in, with as few commits as their forks allow.
func (b *arrivals) flush(ctx context.Context) {
	for len(b.pending) > 0 {
		n := 0
		_, err := b.server.update(ctx, b.room, func(p *proposal) error {
			var err error
			n, err = b.propose(p)
			return err
		})
		if err != nil {
			n = max(n, 1)
			for _, i := range b.pending[:n] {
				b.errs[i] = err
			}
		}
		b.pending = b.pending[n:]
	}
	b.pending = nil
}

// propose lets in as many of the pending events as one commit may have, and
// answers how many it dealt with. An error is of the whole proposal.
func (b *arrivals) propose(p *proposal) (int, error) {
	p.run = map[id.EventID]*storage.Event{}
	if err := p.foresee(b.pdus, b.pending); err != nil {
		return 0, err
	}
	for n, i := range b.pending {
		pdu := b.pdus[i]
		alone := pdu.Type() == typeRedaction // it and its target are in different commits
		if alone && n > 0 {
			return n, nil
		}
		var err error
		if p.refusal = b.server.policy.receive(b.origin, pdu); fault.Is(p.refusal, fault.Unavailable) {
			err = p.refusal
		} else {
			err = p.receive(pdu, noClaim)
		}
		switch {
		case errors.Is(err, errForks):
			return n, nil
		case err == nil:
			b.errs[i] = nil
		case errors.Is(err, storage.ErrConflict), errors.Is(err, state.ErrMissing), fault.Is(err, fault.Internal):
			return n + 1, err
		default:
			b.errs[i] = err
		}
		if alone {
			return 1, nil
		}
	}
	return len(b.pending), nil
}

// foresee reads for a run of events at once what receiving each would read:
// what it cites, who cites it already, and who redacts it.
func (p *proposal) foresee(pdus []*event.PDU, run []int) error {
	own := make([]id.EventID, len(run))
	var all []id.EventID
	for n, i := range run {
		own[n] = pdus[i].ID()
		all = append(append(append(all, own[n]), pdus[i].AuthEvents()...), pdus[i].PrevEvents()...)
	}
	known, err := p.server.eventsByID(p.ctx, p.room.info, distinct(all))
	if err != nil {
		return err
	}
	view := p.server.db.Latest()
	cited, err := view.Cited(p.ctx, p.room.info.NID, own)
	if err != nil {
		return err
	}
	redacted, err := view.Redacted(p.ctx, p.room.info.NID, own)
	p.foreseen = &foreseen{known: known, cited: cited, redacted: redacted}
	return err
}

// foreseen is what foresee read.
type foreseen struct {
	known           map[id.EventID]*storage.Event
	cited, redacted map[id.EventID]bool
}

// citations are what an event cites, as far as it is known, and the event
// itself if it is.
func (p *proposal) citations(pdu *event.PDU) (map[id.EventID]*storage.Event, error) {
	ids := append(append([]id.EventID{pdu.ID()}, pdu.AuthEvents()...), pdu.PrevEvents()...)
	if p.foreseen == nil {
		return p.server.eventsByID(p.ctx, p.room.info, ids)
	}
	out := make(map[id.EventID]*storage.Event, len(ids))
	for _, eventID := range ids {
		if e := p.run[eventID]; e != nil {
			out[eventID] = e
		} else if e := p.foreseen.known[eventID]; e != nil {
			out[eventID] = e
		}
	}
	return out, nil
}

// isCited reports whether stored events follow an event already.
func (p *proposal) isCited(e *storage.Event) (bool, error) {
	if p.foreseen != nil {
		return p.foreseen.cited[e.PDU.ID()], nil
	}
	citers, err := p.server.db.Latest().Citers(p.ctx, e.Room, e.PDU.ID())
	return len(citers) > 0, err
}

// mayBeRedacted reports whether a stored redaction may name an event.
func (p *proposal) mayBeRedacted(e *storage.Event) bool {
	return p.foreseen == nil || p.foreseen.redacted[e.PDU.ID()]
}

// meetsForks reports whether letting an event in settles forks: its previous
// events have several states, or it does not follow all forward extremities.
func (in *incoming) meetsForks() bool {
	var roots []state.Root
	for _, eventID := range in.event.PDU.PrevEvents() {
		if prev := in.known[eventID]; prev != nil {
			roots = append(roots, prev.After)
		}
	}
	if len(distinct(roots)) > 1 {
		return true
	}
	for _, l := range in.head.latest {
		if !slices.Contains(in.event.PDU.PrevEvents(), l.PDU.ID()) {
			return true
		}
	}
	return false
}
