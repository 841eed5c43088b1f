package roomserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	backfillLimit   = 50               // events asked for in one go
	backfillServers = 3                // servers that are asked, one after another
	backfillTime    = 20 * time.Second // a reader waits no longer
)

// Backfill fetches from other servers what lies behind gaps of a room's
// history. What cannot be had stays a gap; that is no error.
//
// Spec: server-server-api/#backfilling-and-retrieving-missing-events
func (s *Server) Backfill(ctx context.Context, info *storage.RoomInfo, gaps []storage.Gap) error {
	if s.peers == nil || len(gaps) == 0 {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, backfillTime)
	defer cancel()
	err := s.with(within, info.ID, func(r *room) error { return s.backfill(within, r, gaps) })
	if err != nil && ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || !fault.Is(err, fault.Internal)) {
		s.log.Info("history could not be fetched", "room", info.ID, "error", err)
		return nil
	}
	return err
}

func (s *Server) backfill(ctx context.Context, r *room, gaps []storage.Gap) error {
	from := make([]id.EventID, 0, len(gaps))
	citers := make([]event.NID, 0, len(gaps))
	for _, g := range gaps {
		from, citers = append(from, g.Missing), append(citers, g.CitedBy)
	}
	servers, err := s.historians(ctx, r, citers)
	if err != nil {
		return err
	}
	for _, server := range servers {
		var raws []json.RawMessage
		if raws, err = s.peers.Backfill(ctx, server, r.info.ID, distinct(from), backfillLimit); err != nil {
			continue
		}
		if err = s.takeHistory(ctx, r, server, s.parse(ctx, r, raws)); err == nil {
			return nil
		}
	}
	return err
}

// historians are the servers to ask for history: those whose events cite what
// is missing, then others of the room.
func (s *Server) historians(ctx context.Context, r *room, citers []event.NID) ([]string, error) {
	h, err := s.db.Latest().Head(ctx, r.info.NID)
	if err != nil || h == nil {
		return nil, err
	}
	events, err := s.eventsOf(ctx, r.info, citers)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range events {
		if server := event.ServerOf(e.PDU.Sender()); h.Destinations.Has(server) {
			out = append(out, server)
		}
	}
	out = distinct(append(out, h.Destinations.Names()...))
	return out[:min(len(out), backfillServers)], nil
}

// takeHistory lets in events that others follow already, oldest first.
func (s *Server) takeHistory(ctx context.Context, r *room, server string, pdus []*event.PDU) error {
	slices.SortStableFunc(pdus, func(a, b *event.PDU) int { return cmp.Compare(a.Depth(), b.Depth()) })
	for _, pdu := range pdus {
		err := s.take(ctx, r, server, pdu, 0, true)
		if err != nil && (fault.Is(err, fault.Internal) || ctx.Err() != nil) {
			return err
		}
	}
	return nil
}
