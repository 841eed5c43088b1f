package syncapi

import (
	"slices"

	"entente/clientapi/token"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// look is what the index says about a reader's rooms at one moment: which have
// changed, and what of that is in memory.
type look struct {
	wake      <-chan struct{}
	joined    []view
	elsewhere []*membership // rooms that the reader is invited to, knocks on, or has left
}

// view is a joined room as the index had it.
type view struct {
	*membership
	line   *line
	pos    storage.Position
	from   storage.Position
	ring   []*entry
	deltas []*storage.Delta

	memberPos               storage.Position
	receiptPos, receiptFrom storage.Position
	receipts                []*storage.Receipt

	typing      []id.UserID
	tellsTyping bool
	owed        bool
}

// looks bounds how often the index is looked at again because the reader's
// rooms changed meanwhile.
const looks = 10

// look finds what has changed for the reader. What it answers stays as it is.
func (c *composer) look(wait bool) (*look, error) {
	s, r := c.server, c.reader
	for range looks {
		if err := s.refresh(c.ctx, r); err != nil {
			return nil, err
		}
		out := &look{}
		s.mu.Lock()
		if r.stale != fresh {
			s.mu.Unlock()
			continue
		}
		if ahead := r.newest; ahead > s.pos { // the database was faster than the log
			s.mu.Unlock()
			if err := s.db.CatchUp(c.ctx, ahead); err != nil {
				return nil, err
			}
			continue
		}
		if wait {
			if r.wake == nil {
				r.wake = make(chan struct{})
			}
			out.wake = r.wake
		}
		c.until = max(s.pos, c.from())
		changed := r.changed > c.from()
		if !changed {
			c.lookLocked(out)
		}
		s.mu.Unlock()
		if changed {
			if err := c.readAccountData(); err != nil {
				return nil, err
			}
			s.mu.Lock()
			c.lookLocked(out)
			s.mu.Unlock()
		}
		return out, c.readIgnored()
	}
	return nil, errChanging()
}

// lookLocked goes through the reader's rooms, or when it is known which of them
// can have changed, through those.
func (c *composer) lookLocked(out *look) {
	s, r := c.server, c.reader
	if c.knowsTouchedLocked() {
		for _, nid := range r.touched {
			if m := r.rooms[nid]; m != nil {
				c.lookAtLocked(out, m)
			}
		}
		for nid := range c.data {
			if m := r.rooms[nid]; m != nil && !slices.Contains(r.touched, nid) {
				c.lookAtLocked(out, m)
			}
		}
	} else {
		for _, m := range r.rooms {
			c.lookAtLocked(out, m)
		}
	}
	c.ephemeral = s.ephemeral
	c.presence = s.presenceLocked(c)
}

// knowsTouchedLocked reports whether all that has changed since is among the
// rooms that are remembered to have changed.
func (c *composer) knowsTouchedLocked() bool {
	r, since := c.reader, c.since
	return since != nil && !c.req.FullState && len(since.Owed) == 0 &&
		since.Pos >= r.touchedFrom && since.Boot == c.server.boot && since.Ephemeral >= r.touchedAt
}

func (c *composer) lookAtLocked(out *look, m *membership) {
	if m.Membership == storage.Join {
		if l := c.server.lines[m.Room]; l != nil && c.mightTellLocked(l, m) {
			out.joined = append(out.joined, c.viewLocked(l, m))
		}
		return
	}
	if m.Pos > c.from() && (c.since != nil || c.wantsInitially(m)) {
		out.elsewhere = append(out.elsewhere, m)
	}
}

// wantsInitially reports whether a room that the reader has not joined belongs
// into an answer that tells everything.
func (c *composer) wantsInitially(m *membership) bool {
	switch m.Membership {
	case storage.Invite, storage.Knock:
		return true
	}
	return c.filter.Room.IncludeLeave && !m.Forgotten
}

// mightTellLocked reports whether there may be something to tell of a room.
func (c *composer) mightTellLocked(l *line, m *membership) bool {
	from := c.from()
	if c.since == nil || c.req.FullState || l.pos > from || l.receiptPos > from || m.Pos > from || c.tellsTypingLocked(l) {
		return true
	}
	if len(c.data[l.nid]) > 0 || c.owes(l.nid) {
		return true
	}
	return slices.ContainsFunc(m.read, func(r *storage.Receipt) bool { return r.Pos > from })
}

func (c *composer) owes(room storage.RoomNID) bool {
	return c.since != nil && slices.ContainsFunc(c.since.Owed, func(o token.Owed) bool { return o.Room == room })
}

func (c *composer) viewLocked(l *line, m *membership) view {
	v := view{
		membership: m, line: l, pos: l.pos, from: l.from, ring: l.ring, deltas: l.deltas,
		memberPos: l.memberPos, receiptPos: l.receiptPos, receiptFrom: l.receiptFrom, receipts: l.receipts, owed: c.owes(l.nid),
	}
	if c.tellsTypingLocked(l) {
		v.tellsTyping = true
		for user := range l.typing {
			v.typing = append(v.typing, user)
		}
		slices.Sort(v.typing)
	}
	return v
}
