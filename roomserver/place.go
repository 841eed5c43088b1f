package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/stateres"
	"entente/storage"
)

// placer puts the state events of one room into the chain-cover index, for a
// batch that is stored together.
type placer struct {
	ctx    context.Context
	server *Server
	placer *stateres.Placer
	failed error // to allocate a chain
}

func (s *Server) newPlacer(ctx context.Context) *placer {
	p := &placer{ctx: ctx, server: s}
	p.placer = stateres.NewPlacer(func() stateres.Chain {
		n, err := s.db.AllocateChain(ctx)
		if err != nil {
			p.failed = err
		}
		return stateres.Chain(n)
	})
	return p
}

// place sets an event's place. The links are to be written with the event.
func (p *placer) place(e *storage.Event, authEvents []*storage.Event) ([]stateres.Link, error) {
	key, _ := stateKey(e.PDU)
	cited := make([]stateres.Cited, 0, len(authEvents))
	var below stateres.Pos
	for _, a := range authEvents {
		c := stateres.Cited{Pos: a.Place}
		c.Key, _ = stateKey(a.PDU)
		if c.Key == key && c.Pos.Chain != 0 {
			tip, err := p.server.db.Latest().ChainTip(p.ctx, e.Room, c.Pos.Chain)
			if err != nil {
				return nil, err
			}
			c.Tip = c.Pos.Seq >= tip
			below = c.Pos
		}
		cited = append(cited, c)
	}
	pos, links := p.placer.Place(key, cited)
	e.Place = pos
	if pos.Chain != 0 && pos.Chain == below.Chain {
		e.ChainPrev = below.Seq
	}
	return links, p.failed
}

// stateKey is the key of state that an event sets, if it is a state event.
func stateKey(e *event.PDU) (event.Key, bool) {
	k, ok := e.StateKey()
	return event.Key{Type: e.Type(), StateKey: k}, ok
}
