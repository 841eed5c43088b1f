package inbound

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

// receivePDUs processes the events of a transaction: those of one room in
// order, rooms side by side. It returns when each has a result, is processed or
// is staged; its error is for the transaction as a whole.
//
// Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
func (s *Server) receivePDUs(ctx context.Context, origin string, raws []json.RawMessage, done results) error {
	if len(raws) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	events, err := s.parsePDUs(ctx, origin, raws, done)
	if err != nil {
		return err
	}
	s.verify(bounded, events)
	rooms := byRoom(events)
	batches := make([]batch, len(rooms))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, events := range rooms {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			batches[i] = s.receiveRoom(ctx, bounded, origin, events)
		})
	}
	wg.Wait()
	var left []received
	for i := range batches {
		if batches[i].err != nil {
			return batches[i].err
		}
		for eventID, r := range batches[i].done {
			done[eventID] = r
		}
		left = append(left, batches[i].left...)
	}
	return s.stage(ctx, origin, left)
}

// parsePDUs reads events, each by the rules of its room's version. What cannot
// be read has a result, if it can be named at all. An error is a failure of
// ours.
func (s *Server) parsePDUs(ctx context.Context, origin string, raws []json.RawMessage, done results) ([]received, error) {
	events := make([]received, 0, len(raws))
	seen := make(map[id.EventID]bool, len(raws))
	for _, raw := range raws {
		r, err := s.parsePDU(ctx, origin, raw)
		switch {
		case err != nil && transient(err):
			return nil, err
		case err != nil:
			s.metrics.pdus.WithLabelValues("refused").Inc()
			if named := nameOf(raw, r); named != "" {
				done[named] = result{Error: public(err)}
			}
		case !seen[r.pdu.ID()]:
			seen[r.pdu.ID()] = true
			events = append(events, r)
		}
	}
	return events, nil
}

func (s *Server) parsePDU(ctx context.Context, origin string, raw json.RawMessage) (received, error) {
	room := id.RoomID(gjson.GetBytes(raw, "room_id").Str)
	if !event.ValidRoomID(room) {
		return received{}, fault.New(fault.InvalidParam, "The event has no room ID")
	}
	info, err := s.rooms.Info(ctx, room)
	if err != nil {
		return received{}, err
	}
	rules, ok := event.RulesOf(info.Version)
	if !ok {
		return received{}, fault.New(fault.UnsupportedVersion, "This server does not speak room version %s", info.Version)
	}
	pdu, err := event.Parse(rules, raw)
	if err != nil {
		return received{}, malformed(err)
	}
	r := received{pdu: pdu, room: info}
	if pdu.RoomID() != room {
		return r, fault.New(fault.InvalidParam, "The event names two rooms")
	}
	return r, s.admit(ctx, info, origin)
}

// malformed makes sure that what is wrong with an event is not taken for a
// failure of ours.
func malformed(err error) error {
	if transient(err) {
		return fault.Wrap(err, fault.BadJSON, "The event is malformed")
	}
	return err
}

// nameOf is the ID of an event that was refused; empty when it is not known.
func nameOf(raw json.RawMessage, r received) id.EventID {
	if r.pdu != nil {
		return r.pdu.ID()
	}
	if named := id.EventID(gjson.GetBytes(raw, "event_id").Str); event.ValidEventID(named) {
		return named
	}
	return ""
}

// verify checks the signatures of all events.
func (s *Server) verify(ctx context.Context, events []received) {
	pdus := make([]*event.PDU, len(events))
	for i := range events {
		pdus[i] = events[i].pdu
	}
	for i, err := range s.o.Keys.VerifyPDUs(ctx, pdus) {
		events[i].err = err
	}
}

// byRoom groups events by room, in order.
func byRoom(events []received) [][]received {
	var out [][]received
	at := map[storage.RoomNID]int{}
	for _, e := range events {
		i, ok := at[e.room.NID]
		if !ok {
			i = len(out)
			at[e.room.NID] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], e)
	}
	return out
}

// batch is what became of the events of one room.
type batch struct {
	done results
	left []received // to be staged
	err  error
}

// receiveRun lets events of one room in, those that are well signed; the errors
// are parallel to the events.
func (s *Server) receiveRun(ctx context.Context, origin string, events []received) []error {
	errs := make([]error, len(events))
	var pdus []*event.PDU
	var at []int
	for i, e := range events {
		if errs[i] = e.err; e.err == nil {
			pdus, at = append(pdus, e.pdu), append(at, i)
		}
	}
	if len(pdus) > 0 {
		for n, err := range s.rooms.ReceiveAll(ctx, origin, pdus) {
			errs[at[n]] = err
		}
	}
	return errs
}

// receiveRoom processes events of one room in order, until one must wait:
// then those behind it wait too, as they do behind events that wait already.
// bounded ends when time is up.
func (s *Server) receiveRoom(ctx, bounded context.Context, origin string, events []received) batch {
	b := batch{done: results{}}
	waits, err := s.waits(ctx, events[0].room.NID, origin)
	if err != nil {
		return batch{err: err}
	}
	if waits {
		b.left = events
		return b
	}
	for i, err := range s.receiveRun(bounded, origin, events) {
		e := events[i]
		switch {
		case err == nil:
			s.metrics.pdus.WithLabelValues("processed").Inc()
			b.done[e.pdu.ID()] = result{}
		case ctx.Err() != nil:
			return batch{err: ctx.Err()}
		case transient(err):
			s.o.Log.Info("an event is staged", "origin", origin, "room", e.room.ID, "event", e.pdu.ID(), "error", err)
			b.left = events[i:]
			return b
		default:
			s.metrics.pdus.WithLabelValues("refused").Inc()
			b.done[e.pdu.ID()] = result{Error: public(err)}
		}
	}
	return b
}
