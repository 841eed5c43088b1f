package syncapi

import (
	"sync/atomic"
	"time"

	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// line is a room that someone who syncs has joined.
type line struct {
	nid     storage.RoomNID
	readers map[*reader]struct{} // who has joined it and is in memory

	// pos is a position after which neither the timeline nor the state has
	// changed; receiptPos likewise for public receipts.
	pos, receiptPos storage.Position
	// ring are the events of the live timeline after from, in order, and
	// deltas the changes of state; nothing that came after from is missing.
	// What they hold is never changed in place: readers share it.
	from   storage.Position
	ring   []*entry
	deltas []*storage.Delta
	bytes  int // what the ring takes
	// receipts are the public receipts that changed after receiptFrom.
	receiptFrom storage.Position
	receipts    []*storage.Receipt

	typing   map[id.UserID]time.Time // who types, and until when
	typingAt int64                   // the ephemeral counter when that changed
	typedAt  time.Time               // when that changed

	memberPos storage.Position // no membership has changed after this
	joined    int64            // members, as of joinedAt; nothing is known when that is zero
	joinedAt  storage.Position

	summary atomic.Pointer[summary]
}

const (
	ringEvents   = 64
	ringReceipts = 256
)

// entry is an event in the ring. What it looks like to clients is written when
// the first of them asks.
type entry struct {
	*storage.Event
	shape atomic.Pointer[shape]
}

func newEntry(e *storage.Event) *entry { return &entry{Event: e} }

// newLineLocked makes a line of which nothing is known but that it might have
// changed up to now.
func (s *Server) newLineLocked(nid storage.RoomNID) *line {
	l := &line{nid: nid, readers: map[*reader]struct{}{}, pos: s.pos, receiptPos: s.pos, memberPos: s.pos, from: s.pos, receiptFrom: s.pos}
	s.lines[nid] = l
	return l
}

// appendLocked adds what this node committed.
func (s *Server) appendLocked(l *line, done *roomserver.Committed) {
	for _, e := range done.Redacted() {
		s.redactLocked(l, e)
	}
	for _, e := range done.Events {
		if e.Pos == 0 {
			continue
		}
		l.ring = append(l.ring, newEntry(e))
		l.bytes += e.PDU.Size()
		s.ringBytes += e.PDU.Size()
	}
	l.deltas = append(l.deltas, done.Deltas...)
	for len(l.ring) > ringEvents {
		s.dropFirstLocked(l)
	}
	for s.ringBytes > s.opts.RingBytes {
		for _, other := range s.lines { // any one: what it held is read again
			if len(other.ring) > 0 {
				s.clearRingLocked(other, other.ring[len(other.ring)-1].Pos)
				break
			}
		}
	}
}

// redactLocked puts an event's redacted form in its place, and writes anew what
// showed its content.
func (s *Server) redactLocked(l *line, redacted *storage.Event) {
	ring := append([]*entry(nil), l.ring...)
	for i, e := range ring {
		switch redacted.NID {
		case e.NID:
			placed := *redacted
			placed.Pos = e.Pos
			ring[i] = newEntry(&placed)
		case e.Replaces:
			ring[i] = newEntry(e.Event)
		}
	}
	l.ring = ring
}

func (s *Server) dropFirstLocked(l *line) {
	first := l.ring[0]
	l.from = first.Pos
	l.bytes -= first.PDU.Size()
	s.ringBytes -= first.PDU.Size()
	l.ring = l.ring[1:]
	for len(l.deltas) > 0 && l.deltas[0].Pos <= l.from {
		l.deltas = l.deltas[1:]
	}
}

// clearRingLocked forgets the ring: from is a position after which nothing was
// in it.
func (s *Server) clearRingLocked(l *line, from storage.Position) {
	s.ringBytes -= l.bytes
	l.from, l.ring, l.deltas, l.bytes = max(l.from, from), nil, nil, 0
}

// follow applies a log entry.
func (s *Server) follow(e *storage.LogEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range e.Commits {
		s.applyLocked(&e.Commits[i])
	}
	s.pos = max(s.pos, e.Last)
}

// applyLocked applies one commit, or on another node than the one that wrote
// it, a group of them.
func (s *Server) applyLocked(c *storage.Applied) {
	s.applying = c.Last
	done, _ := c.Attachment.(*roomserver.Committed)
	inRoom := false
	for _, t := range c.Touched {
		switch t.Kind {
		case storage.Room:
			inRoom = true
			if l := s.lines[storage.RoomNID(t.ID)]; l != nil {
				s.roomChangedLocked(l, c, done)
			}
		case storage.RoomReceipts:
			if l := s.lines[storage.RoomNID(t.ID)]; l != nil {
				s.receiptsChangedLocked(l, c)
			}
		}
	}
	for _, t := range c.Touched {
		if t.Kind == storage.User {
			if r := s.readers[t.ID]; r != nil {
				r.changedLocked(c.Last, inRoom && !changes(done, r.user))
			}
		}
	}
}

// changes reports whether a commit changed a user's membership, and did not
// merely take it away.
func changes(done *roomserver.Committed, user id.UserID) bool {
	if done == nil {
		return false
	}
	for _, m := range done.Members {
		if m.User == user {
			return true
		}
	}
	return false
}

func (s *Server) roomChangedLocked(l *line, c *storage.Applied, done *roomserver.Committed) {
	l.pos = max(l.pos, c.Last)
	if done == nil || len(done.Deltas) > 0 {
		l.memberPos = l.pos
	}
	if done != nil && done.Room.NID == l.nid {
		s.appendLocked(l, done)
	} else {
		s.clearRingLocked(l, c.Last)
	}
	s.wakeRoomLocked(l)
}

// wakeRoomLocked wakes those who have joined a room.
func (s *Server) wakeRoomLocked(l *line) {
	now := max(s.pos, s.applying)
	for r := range l.readers {
		r.touchLocked(l.nid, now, s.ephemeral)
		r.wakeLocked()
	}
}
