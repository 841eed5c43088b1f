// Package token holds the tokens by which clients name a point of a stream or
// of a room's history. Clients must not look into them; other parts of the
// server do not write them down.
//
// The two meet where a timeline of sync begins: its prev_batch is a [Point] of
// the room's history, as [roomserver.Point] explains.
package token

import (
	"strconv"
	"strings"

	"entente/internal/fault"
	"entente/roomserver"
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

// Point is a point of a room's history: prev_batch of a timeline, start and end
// of a page.
type Point struct {
	// Epoch is the database's.
	Epoch int64
	roomserver.Point
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
	for _, n := range [...]int64{int64(p.Pos), p.Depth, int64(p.NID)} {
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
	p := Point{Epoch: r.number(parts[0])}
	p.Pos, p.Depth, p.NID = storage.Position(r.number(parts[1])), r.number(parts[2]), event.NID(r.number(parts[3]))
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
