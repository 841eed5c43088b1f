package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/stateres"
	"entente/storage"
)

// place finds an event's place in the chain-cover index and sets it; the links
// are to be written with the event.
func (s *Server) place(ctx context.Context, e *storage.Event, key event.Key, authEvents []*storage.Event) ([]stateres.Link, error) {
	var cited []stateres.Cited
	var below stateres.Pos
	for _, a := range authEvents {
		stateKey, _ := a.PDU.StateKey()
		c := stateres.Cited{Key: event.Key{Type: a.PDU.Type(), StateKey: stateKey}, Pos: a.Place}
		if c.Key == key && c.Pos.Chain != 0 {
			tip, err := s.db.Latest().ChainTip(ctx, e.Room, c.Pos.Chain)
			if err != nil {
				return nil, err
			}
			c.Tip = c.Pos.Seq >= tip
			below = c.Pos
		}
		cited = append(cited, c)
	}
	var failed error
	pos, links := stateres.Place(key, cited, func() stateres.Chain {
		n, err := s.db.AllocateChain(ctx)
		failed = err
		return stateres.Chain(n)
	})
	e.Place = pos
	if pos.Chain != 0 && pos.Chain == below.Chain {
		e.ChainPrev = below.Seq
	}
	return links, failed
}
