package stateres

import "entente/roomserver/event"

// Chain numbers a chain of the cover within a room. Zero is no chain.
type Chain int64

// Pos places a state event in the chain cover of its room.
//
// Seq is the event's rank in the graph of auth events: one more than the
// highest Seq among its auth events. Every auth edge therefore leads from a
// higher to a lower Seq, whatever the chains, and Seq grows along a chain,
// with gaps.
//
// A chain holds events of one state key, each citing the one below it, so an
// event reaches everything below it in its chain. Events that no rule lets
// others cite (topics, names and the like) are in no chain: their Chain is
// zero and their Seq still their rank.
type Pos struct {
	Chain Chain
	Seq   int64
}

// Link is one auth edge that leaves a chain: the event at From, whose state
// key is Key, cites the event at To. Links to the create event are not kept,
// as every event reaches it. An event without a chain has a zero From: what
// counts is that an event at Key cites To.
type Link struct {
	From Pos
	Key  event.Key
	To   Pos
}

// Ceiling is a bound on the chains of an event and of its whole auth chain,
// or of all events of a state: no chain among them has a higher number. With
// chains numbered as they begin, it tells what was known from what came later;
// it holds whatever the order of the numbers.
type Ceiling = Chain

// CeilingOf is the ceiling of an event placed at pos, given those of its auth
// events. For the state after an event, take the highest of this and the
// ceilings of the states before; what state resolution adds is below those.
func CeilingOf(pos Pos, auth ...Ceiling) Ceiling {
	top := pos.Chain
	for _, a := range auth {
		top = max(top, a)
	}
	return top
}

// Cited is an auth event of an event to be placed.
type Cited struct {
	Key event.Key
	Pos Pos
	// Tip: no stored event follows it in its chain. Only asked of the auth
	// event that has the same key as the event to be placed, unless the same
	// Placer placed an event in that chain: it knows.
	Tip bool
}

// Citable reports whether events of a type can be auth events of others, and
// so have a chain.
//
// Spec: server-server-api/#auth-events-selection
func Citable(typ string) bool {
	switch typ {
	case typeCreate, typeMember, typePowerLevels, typeJoinRules, typeThirdPartyInvite:
		return true
	}
	return false
}

// Place puts a state event into the chain cover of its room, once all its auth
// events are placed. Any order that respects that will do, so outliers and
// backfilled events are placed when they arrive. alloc gives a new chain
// number of the room, and is called at most once. The links are to be stored
// unless they are there already.
//
// Two events that take the same place, because what Tip says was out of date,
// must not both be stored: the one that comes second is to be placed again.
func Place(key event.Key, auth []Cited, alloc func() Chain) (Pos, []Link) {
	return NewPlacer(alloc).Place(key, auth)
}

// Placer places the events of a batch, which may cite one another. It must not
// be used concurrently.
type Placer struct {
	alloc func() Chain
	tips  map[Chain]int64 // of the chains that it extended
}

// NewPlacer returns a Placer for events of one room that are stored together.
func NewPlacer(alloc func() Chain) *Placer {
	return &Placer{alloc: alloc, tips: map[Chain]int64{}}
}

// Place is Place for the next event of the batch.
func (p *Placer) Place(key event.Key, auth []Cited) (Pos, []Link) {
	pos := Pos{Seq: 1}
	for _, a := range auth {
		pos.Seq = max(pos.Seq, a.Pos.Seq+1)
	}
	if Citable(key.Type) {
		pos.Chain = p.chain(key, auth)
		p.tips[pos.Chain] = pos.Seq
	}
	links := make([]Link, 0, len(auth))
	for _, a := range auth {
		if a.Pos.Chain == 0 || a.Pos.Chain == pos.Chain || a.Key.Type == typeCreate {
			continue
		}
		l := Link{Key: key, To: a.Pos}
		if pos.Chain != 0 {
			l.From = pos
		}
		links = append(links, l)
	}
	return pos, links
}

// chain is the chain that an event goes on in, or a new one.
func (p *Placer) chain(key event.Key, auth []Cited) Chain {
	for _, a := range auth {
		if a.Key != key {
			continue
		}
		tip, mine := p.tips[a.Pos.Chain]
		if mine && tip == a.Pos.Seq || !mine && a.Tip {
			return a.Pos.Chain
		}
	}
	return p.alloc()
}
