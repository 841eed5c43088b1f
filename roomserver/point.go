package roomserver

import (
	"math"

	"entente/roomserver/event"
	"entente/storage"
)

// Point is a place between the events of a room, in one of two orders.
//
// History is ordered by (depth, number): a point of history lies just after
// Depth and NID. The live timeline is ordered by position: a point
// of it lies just before Pos, and NID is [Live].
//
// The two meet in one rule, the seam. Going back from a point of the live
// timeline goes through history from Depth downwards, leaving out what the live
// timeline has at Pos and after it. So nothing that a sync showed from Pos on
// comes again, and what this server fetched to fill the time before Pos, when it
// was not in the room, does come.
type Point struct {
	Pos   storage.Position
	Depth int64
	NID   event.NID
}

// Live is the NID of points of the live timeline.
const Live event.NID = math.MaxInt64

// Seam is the point just before a live event, looking back: at its position,
// and the highest depth that can lie before it.
func Seam(e *storage.Event) Point {
	return Point{Pos: e.Pos, Depth: max(e.Top, e.PDU.Depth()-1), NID: Live}
}

// Before is the point of history just before an event.
func Before(e *storage.Event) Point { return Point{Depth: e.PDU.Depth(), NID: e.NID - 1} }

// After is the point of history just after an event.
func After(e *storage.Event) Point { return Point{Depth: e.PDU.Depth(), NID: e.NID} }

// IsLive reports whether it is a point of the live timeline.
func (p Point) IsLive() bool { return p.NID == Live }
