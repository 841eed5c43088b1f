package syncapi

import (
	"context"
	"slices"
	"sync"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// reader is a local user who syncs.
type reader struct {
	user   id.UserID
	number int64

	loading sync.Mutex // held while it is read from the database

	// guarded by Server.mu
	stale   staleness
	version int              // counts what made it stale
	upto    storage.Position // what the database held up to here is known
	newest  storage.Position // of the memberships that are known
	changed storage.Position // nothing about the user changed after this
	rooms   map[storage.RoomNID]*membership
	// touched are the rooms in which something may have changed after
	// touchedFrom, or after the ephemeral counter was at touchedAt: so that an
	// answer need not look at every room.
	touched     []storage.RoomNID
	touchedFrom storage.Position
	touchedAt   int64
	wake        chan struct{} // closed when something may have changed; nil when nobody waits
	waiting     int           // requests under way
	used        time.Time
	// answered is when the reader was last answered.
	answered time.Time

	counting sync.Mutex
	unread   map[storage.RoomNID]*unread // guarded by counting

	mu         sync.Mutex
	ignored    map[id.UserID]bool // guarded by mu
	ignoredAt  storage.Position   // as of when ignored was read; guarded by mu
	rules      *ruleset           // guarded by mu
	shownNames map[storage.RoomNID]shownName
}

// staleness says how much of a reader must be read again.
type staleness int

const (
	fresh      staleness = iota
	somewhat             // what changed since
	altogether           // everything
)

// membership is a reader's membership of a room. It is never changed in place.
type membership struct {
	*storage.Member
	// read are the reader's own receipts in the room.
	read []*storage.Receipt
}

// changedLocked notes that something about the user changed.
func (r *reader) changedLocked(at storage.Position, all bool) {
	r.changed = max(r.changed, at)
	r.version++
	if all {
		r.stale = altogether
	} else if r.stale == fresh {
		r.stale = somewhat
	}
	r.wakeLocked()
}

// maxTouched bounds how many rooms are remembered to have changed.
const maxTouched = 64

// touchLocked remembers that something of a room may have changed; now is the
// position up to which the index will stand when everything is remembered.
func (r *reader) touchLocked(room storage.RoomNID, now storage.Position, ephemeral int64) {
	if slices.Contains(r.touched, room) {
		return
	}
	if len(r.touched) >= maxTouched {
		r.touched, r.touchedFrom, r.touchedAt = r.touched[:0], now, ephemeral
	}
	r.touched = append(r.touched, room)
}

func (r *reader) wakeLocked() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// reader finds a user who syncs, in memory and up to date, and marks them as
// waiting: done must be called.
func (s *Server) reader(ctx context.Context, user id.UserID) (*reader, error) {
	s.mu.Lock()
	r := s.names[user]
	s.mu.Unlock()
	if r == nil {
		subject, err := s.db.UserSubject(ctx, storage.User, user)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		if r = s.readers[subject.ID]; r == nil {
			r = &reader{user: user, number: subject.ID, stale: altogether, changed: s.pos}
			s.readers[subject.ID], s.names[user] = r, r
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	r.waiting++
	r.used = s.now()
	s.mu.Unlock()
	return r, nil
}

func (s *Server) done(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.waiting--
	r.used = s.now()
	s.answeredLocked(r)
}

// loadAttempts bounds how often a reader is read again because it changed while
// it was read.
const loadAttempts = 10

// refresh reads what has changed about a reader.
func (s *Server) refresh(ctx context.Context, r *reader) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	for range loadAttempts {
		s.mu.Lock()
		stale, version, upto, pos := r.stale, r.version, r.upto, s.pos
		s.mu.Unlock()
		if stale == fresh {
			return nil
		}
		got, err := s.read(ctx, r.user, stale, upto)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.adoptLocked(r, got, stale == altogether, pos)
		r.upto = pos
		if r.version == version {
			r.stale = fresh
		}
		s.mu.Unlock()
	}
	return fault.New(fault.Unavailable, "Your rooms are changing too fast; try again")
}

// reading is what the database holds about a reader.
type reading struct {
	members  []*storage.Member
	receipts []*storage.Receipt
	lines    map[storage.RoomNID][2]storage.Position
}

func (s *Server) read(ctx context.Context, user id.UserID, stale staleness, upto storage.Position) (*reading, error) {
	if stale == altogether {
		upto = 0
	}
	got := &reading{}
	err := s.db.View(ctx, func(v *storage.View) error {
		var err error
		if got.members, err = v.UserRoomsSince(ctx, user, upto); err != nil {
			return err
		}
		if got.receipts, err = v.UserReceipts(ctx, user, upto); err != nil {
			return err
		}
		if stale != altogether {
			return nil
		}
		got.lines = map[storage.RoomNID][2]storage.Position{}
		return v.UserPositions(ctx, user, func(room storage.RoomNID, latest, receipt storage.Position) {
			got.lines[room] = [2]storage.Position{latest, receipt}
		})
	})
	return got, err
}

// adoptLocked makes a reading known; the index stood at pos before it was made.
func (s *Server) adoptLocked(r *reader, got *reading, all bool, pos storage.Position) {
	if all || r.rooms == nil {
		r.rooms = make(map[storage.RoomNID]*membership, len(got.members))
		r.touched, r.touchedFrom, r.touchedAt = nil, s.pos, s.ephemeral
	}
	for _, m := range got.members {
		old := r.rooms[m.Room]
		now := &membership{Member: m}
		if old != nil {
			now.read = old.read
		}
		r.rooms[m.Room] = now
		r.newest = max(r.newest, m.Pos)
		r.touchLocked(m.Room, s.pos, s.ephemeral)
	}
	s.adoptReceiptsLocked(r, got.receipts)
	if all {
		for nid, l := range s.lines {
			if m := r.rooms[nid]; m == nil || m.Membership != storage.Join {
				delete(l.readers, r)
			}
		}
		for _, m := range r.rooms {
			s.placeLocked(r, m.Member, got.lines, pos)
		}
		return
	}
	for _, m := range got.members {
		s.placeLocked(r, m, got.lines, pos)
	}
}

func (s *Server) adoptReceiptsLocked(r *reader, receipts []*storage.Receipt) {
	for _, read := range receipts {
		old := r.rooms[read.Room]
		if old == nil {
			continue
		}
		now := &membership{Member: old.Member, read: []*storage.Receipt{read}}
		for _, other := range old.read {
			if other.Kind != read.Kind || other.Thread != read.Thread {
				now.read = append(now.read, other)
			}
		}
		r.rooms[read.Room] = now
		r.touchLocked(read.Room, s.pos, s.ephemeral)
	}
}

// placeLocked puts a reader on the line of a room that they have joined, or
// takes them off it.
func (s *Server) placeLocked(r *reader, m *storage.Member, known map[storage.RoomNID][2]storage.Position, pos storage.Position) {
	l := s.lines[m.Room]
	if m.Membership != storage.Join {
		if l != nil {
			delete(l.readers, r)
		}
		return
	}
	if l == nil {
		l = s.newLineLocked(m.Room)
		if at, ok := known[m.Room]; ok && s.pos == pos {
			// Nothing has happened since the reading.
			l.pos, l.receiptPos = at[0], at[1]
		}
	}
	l.readers[r] = struct{}{}
}

// forgetReaders forgets who has not asked for long, and lines without readers.
func (s *Server) forgetReaders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.now().Add(-readerIdle)
	for number, r := range s.readers {
		if r.waiting > 0 || r.used.After(old) && len(s.readers) <= readersKept {
			continue
		}
		delete(s.readers, number)
		delete(s.names, r.user)
		for nid := range r.rooms {
			if l := s.lines[nid]; l != nil {
				delete(l.readers, r)
			}
		}
	}
	for nid, l := range s.lines {
		if len(l.readers) == 0 && l.typing == nil {
			s.clearRingLocked(l, l.pos)
			delete(s.lines, nid)
		}
	}
}

// memberKey is the state key of a membership.
func memberKey(user id.UserID) event.Key {
	return event.Key{Type: "m.room.member", StateKey: string(user)}
}
