package syncapi

import (
	"context"
	"time"

	"entente/internal/fault"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	typingTimeout = 30 * time.Second // where the client says none
	maxTyping     = 2 * time.Minute
	// typingKept is for how long it is remembered that nobody types any more:
	// a client that comes from another node is told.
	typingKept = 5 * time.Minute
	// maxTypists bounds who types in one room at once.
	maxTypists = 1000
)

// Typing begins or ends a local user's typing in a room that they have joined.
//
// Spec: client-server-api/#put_matrixclientv3roomsroomidtypinguserid
func (s *Server) Typing(ctx context.Context, roomID id.RoomID, user id.UserID, typing bool, timeout time.Duration) error {
	info, err := s.joined(ctx, roomID, user)
	if err != nil {
		return err
	}
	changed := s.setTyping(info.NID, user, typing, timeout)
	if s.opts.OnTyping != nil && (changed || typing) {
		s.opts.OnTyping(ctx, info, user, typing)
	}
	return nil
}

// SetTyping notes that a user of another server, who is in the room, has begun
// or stopped typing.
//
// Spec: server-server-api/#typing-notifications
func (s *Server) SetTyping(room storage.RoomNID, user id.UserID, typing bool) {
	s.setTyping(room, user, typing, typingTimeout)
}

// joined finds a room that the user has joined; the error is Forbidden when
// they have not.
func (s *Server) joined(ctx context.Context, roomID id.RoomID, user id.UserID) (*storage.RoomInfo, error) {
	info, err := s.rooms.Info(ctx, roomID)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Forbidden, "You are not in this room")
	}
	if err != nil {
		return nil, err
	}
	m, err := s.db.Latest().Member(ctx, info.NID, user)
	if err != nil {
		return nil, err
	}
	if m == nil || m.Membership != storage.Join {
		return nil, fault.New(fault.Forbidden, "You are not in this room")
	}
	return info, nil
}

// setTyping reports whether anything changed for those who look on.
func (s *Server) setTyping(room storage.RoomNID, user id.UserID, typing bool, timeout time.Duration) bool {
	if timeout <= 0 {
		timeout = typingTimeout
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[room]
	_, was := l.typist(user)
	switch {
	case typing == was && !typing:
		return false
	case !typing:
		delete(l.typing, user)
	default:
		if l == nil {
			l = s.newLineLocked(room)
		}
		if l.typing == nil {
			l.typing = map[id.UserID]time.Time{}
		}
		if len(l.typing) >= maxTypists {
			return false
		}
		l.typing[user] = now.Add(min(timeout, maxTyping))
		s.typing[l] = struct{}{}
	}
	if was == typing {
		return false
	}
	s.typingChangedLocked(l, now)
	return true
}

func (l *line) typist(user id.UserID) (until time.Time, typing bool) {
	if l == nil {
		return until, false
	}
	until, typing = l.typing[user]
	return until, typing
}

func (s *Server) typingChangedLocked(l *line, now time.Time) {
	s.ephemeral++
	l.typingAt, l.typedAt = s.ephemeral, now
	s.wakeRoomLocked(l)
}

// sweepTyping ends typing that was not renewed.
func (s *Server) sweepTyping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for l := range s.typing {
		ended := false
		for user, until := range l.typing {
			if until.Before(now) {
				delete(l.typing, user)
				ended = true
			}
		}
		if ended {
			s.typingChangedLocked(l, now)
		}
		if len(l.typing) == 0 && now.Sub(l.typedAt) > typingKept {
			l.typing = nil
			delete(s.typing, l)
		}
	}
}

// tellsTypingLocked reports whether who types has changed since. Who comes
// from another node, or from before this one started, is told what is so now,
// also where it ended of late.
func (c *composer) tellsTypingLocked(l *line) bool {
	switch {
	case l.typing == nil:
		return false
	case c.since == nil:
		return len(l.typing) > 0
	case c.since.Boot != c.server.boot:
		return true
	}
	return l.typingAt > c.since.Ephemeral
}

// appendTyping appends who types.
//
// Spec: client-server-api/#mtyping
func appendTyping(dst []byte, users []id.UserID) []byte {
	dst = append(dst, `{"content":{"user_ids":[`...)
	for i, user := range users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, string(user))
	}
	return append(dst, `]},"type":"m.typing"}`...)
}

// Typists are who types in a room now, in no order.
func (s *Server) Typists(room storage.RoomNID) (out []id.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[room]; l != nil {
		for user := range l.typing {
			out = append(out, user)
		}
	}
	return out
}
