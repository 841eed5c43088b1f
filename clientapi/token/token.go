// Package token holds the tokens by which clients name a point of a stream or
// of a room's history. Clients must not look into them; other parts of the
// server do not write them down.
//
// # The seam
//
// Sync gives events in the order in which this server saw them (position),
// /messages in the order of history (depth, then number). Where a timeline of
// sync begins, its prev_batch joins the two: a [Point] names the position of
// the timeline's first event and a place in history just before it. Paging back
// from a Point gives the accepted events that stand before its place in
// history and are not in the live timeline at or after its position; each page
// ends in the Point of its oldest event, with the same position. So what the
// timeline gave is not given again, what came in by backfill later is not
// left out, and what stands between is given once.
package token

import (
	"math"
	"strconv"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"
)

// Sync is a point of the sync stream: next_batch and since.
type Sync struct {
	// Epoch is the database's: a token of another one gets a full resync.
	Epoch int64
	// Pos is how far the client has everything that is stored.
	Pos storage.Position
	// Boot and Ephemeral are how far it has what is not stored: a node's
	// identity at this start, and that node's counter.
	Boot      string
	Ephemeral int64
	// Owed is state that the client got wrong from the timeline before this
	// point, and that the next answer puts right.
	Owed []Owed
}

// Owed names a piece of a room's state.
type Owed struct {
	Room storage.RoomNID
	Num  state.KeyNum
}

// maxOwed bounds what a token can owe.
const maxOwed = 64

// Point is a point of a room's history, between two events: prev_batch of a
// timeline, start and end of a page.
type Point struct {
	// Epoch is the database's.
	Epoch int64
	// Live is the position at which the timeline begins that the client has:
	// events of the live timeline from there on are not given when paging
	// back. Zero: it has none, and nothing is left out.
	Live storage.Position
	// Depth and NID are the place in history: paging back gives what stands
	// before (Depth, NID) or at it, paging forward what stands after it.
	Depth int64
	NID   event.NID
}

// Before is the point before an event that begins a timeline.
//
// The events before it in the live timeline are at most e.Top deep, the events
// that it follows are less deep than itself; what is deeper than both came
// later.
func Before(epoch int64, e *storage.Event) Point {
	return Point{Epoch: epoch, Live: e.Pos, Depth: max(e.Top, e.PDU.Depth()-1), NID: math.MaxInt64}
}

// End is the point after everything that was in the live timeline before a
// position, when the highest depth was depth.
func End(epoch int64, next storage.Position, depth int64) Point {
	return Point{Epoch: epoch, Live: next, Depth: depth, NID: math.MaxInt64}
}

// Beyond is the point to page back on from, after a page that ended with e.
func (p Point) Beyond(e *storage.Event) Point {
	p.Depth, p.NID = e.PDU.Depth(), e.NID-1
	return p
}

// The first characters of tokens: what they name, and the version of how.
const (
	syncPrefix  = "s1."
	pointPrefix = "t1."
)

// String is the token.
func (s Sync) String() string { return string(s.Append(nil)) }

// Append appends the token. It needs no escaping in JSON or in a query.
func (s Sync) Append(dst []byte) []byte {
	dst = append(dst, syncPrefix...)
	dst = strconv.AppendInt(dst, s.Epoch, 36)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(s.Pos), 36)
	dst = append(dst, '.')
	dst = append(dst, s.Boot...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, s.Ephemeral, 36)
	for _, o := range s.Owed[:min(len(s.Owed), maxOwed)] {
		dst = append(dst, '~')
		dst = strconv.AppendInt(dst, int64(o.Room), 36)
		dst = append(dst, '-')
		dst = strconv.AppendInt(dst, int64(o.Num), 36)
	}
	return dst
}

// String is the token.
func (p Point) String() string { return string(p.Append(nil)) }

// Append appends the token. It needs no escaping in JSON or in a query.
func (p Point) Append(dst []byte) []byte {
	dst = append(dst, pointPrefix...)
	dst = strconv.AppendInt(dst, p.Epoch, 36)
	for _, n := range [...]int64{int64(p.Live), p.Depth, int64(p.NID)} {
		dst = append(dst, '.')
		dst = strconv.AppendInt(dst, n, 36)
	}
	return dst
}

// ParseSync reads a token that Sync wrote.
func ParseSync(text string) (Sync, error) {
	rest, ok := strings.CutPrefix(text, syncPrefix)
	if !ok {
		return Sync{}, invalid()
	}
	rest, owed, _ := strings.Cut(rest, "~")
	parts := strings.Split(rest, ".")
	if len(parts) != 4 || len(parts[2]) > 64 {
		return Sync{}, invalid()
	}
	s := Sync{Boot: parts[2]}
	r := reader{}
	s.Epoch, s.Pos, s.Ephemeral = r.number(parts[0]), storage.Position(r.number(parts[1])), r.number(parts[3])
	for owed != "" && len(s.Owed) < maxOwed {
		var one string
		one, owed, _ = strings.Cut(owed, "~")
		room, num, _ := strings.Cut(one, "-")
		s.Owed = append(s.Owed, Owed{storage.RoomNID(r.number(room)), state.KeyNum(r.number(num))})
	}
	if r.failed {
		return Sync{}, invalid()
	}
	return s, nil
}

// ParsePoint reads a token that Point wrote.
func ParsePoint(text string) (Point, error) {
	rest, ok := strings.CutPrefix(text, pointPrefix)
	if !ok {
		return Point{}, invalid()
	}
	parts := strings.Split(rest, ".")
	if len(parts) != 4 {
		return Point{}, invalid()
	}
	r := reader{}
	p := Point{r.number(parts[0]), storage.Position(r.number(parts[1])), r.number(parts[2]), event.NID(r.number(parts[3]))}
	if r.failed {
		return Point{}, invalid()
	}
	return p, nil
}

func invalid() error { return fault.New(fault.InvalidParam, "This is not a token of this server") }

// reader reads numbers and remembers whether one was none.
type reader struct{ failed bool }

func (r *reader) number(text string) int64 {
	n, err := strconv.ParseInt(text, 36, 64)
	if err != nil || n < 0 {
		r.failed = true
	}
	return n
}
