package syncapi

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"entente/internal/fault"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Presence is what a user shows of themselves.
//
// Spec: client-server-api/#presence
type Presence struct {
	User id.UserID
	// State is online, unavailable or offline.
	State string
	// Message is the status message; empty is none.
	Message string
	// LastActive is when the user last did something.
	LastActive time.Time
	// Active: they are active at this moment.
	Active bool
}

// The states of presence.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
)

const (
	// offlineAfter is how long after the last sync a user is gone.
	offlineAfter = 30 * time.Second
	// idleAfter is how long without activity a user is away.
	idleAfter = 5 * time.Minute
	// remoteLasts is how long what another server said is taken for true.
	remoteLasts = time.Hour
	maxStatus   = 1024
	// maxPresence bounds the users whose presence is kept.
	maxPresence = 50_000
)

// presence is a user's presence in memory; it is never stored.
type presence struct {
	Presence
	at      int64     // the ephemeral counter when it changed
	seen    time.Time // when the user last synced, or their server spoke
	syncing int       // requests under way
	chosen  string    // the state that the user set by hand; empty: none
	remote  bool
}

// syncing notes that a device begins or ends waiting for what changed.
func (s *Server) syncing(user id.UserID, _ id.DeviceID, as string, begins bool) {
	if !s.opts.Presence || as == Offline {
		return
	}
	if as == "" {
		as = Online
	}
	s.mu.Lock()
	p := s.presenceOfLocked(user)
	if p == nil {
		s.mu.Unlock()
		return
	}
	now := s.now()
	p.seen = now
	if !begins {
		p.syncing--
		s.mu.Unlock()
		return
	}
	p.syncing++
	if as == Online && p.chosen != "" && p.chosen != Online {
		as = p.chosen
	}
	if as == Online {
		p.LastActive = now
	}
	told := s.showLocked(p, as, p.Message)
	s.mu.Unlock()
	s.tellPresence(told)
}

// presenceOfLocked is a user's presence, begun now if there is none; nil when
// there are too many.
func (s *Server) presenceOfLocked(user id.UserID) *presence {
	p := s.presence[user]
	if p == nil && len(s.presence) < maxPresence {
		p = &presence{Presence: Presence{User: user, State: Offline}}
		s.presence[user] = p
	}
	return p
}

// showLocked changes what others see, and answers what to tell them; nil when
// nothing changed.
func (s *Server) showLocked(p *presence, as, message string) *Presence {
	active := as == Online
	if p.State == as && p.Message == message && p.Active == active {
		return nil
	}
	p.State, p.Message, p.Active = as, message, active
	s.ephemeral++
	p.at, s.presenceAt = s.ephemeral, s.ephemeral
	s.wakeSharersLocked(p.User)
	told := p.Presence
	return &told
}

// wakeSharersLocked wakes those who share a room with a user, and the user.
func (s *Server) wakeSharersLocked(user id.UserID) {
	r := s.names[user]
	if r == nil { // not one of ours, or not in memory: who is concerned looks
		for _, other := range s.readers {
			other.wakeLocked()
		}
		return
	}
	r.wakeLocked()
	for nid, m := range r.rooms {
		if l := s.lines[nid]; l != nil && m.Membership == storage.Join {
			for other := range l.readers {
				other.wakeLocked()
			}
		}
	}
}

func (s *Server) tellPresence(p *Presence) {
	if p != nil && s.opts.OnPresence != nil {
		s.opts.OnPresence(*p)
	}
}

// SetPresence sets a local user's presence by hand.
//
// Spec: client-server-api/#put_matrixclientv3presenceuseridstatus
func (s *Server) SetPresence(user id.UserID, state, message string) error {
	switch state {
	case Online, Unavailable, Offline:
	default:
		return fault.New(fault.InvalidParam, "presence is online, unavailable or offline")
	}
	if len(message) > maxStatus {
		return fault.New(fault.InvalidParam, "The status message is longer than %d bytes", maxStatus)
	}
	if !s.opts.Presence {
		return nil
	}
	s.mu.Lock()
	p := s.presenceOfLocked(user)
	if p == nil {
		s.mu.Unlock()
		return fault.New(fault.Unavailable, "Too many users are present")
	}
	now := s.now()
	p.seen, p.LastActive, p.chosen = now, now, state
	told := s.showLocked(p, state, message)
	s.mu.Unlock()
	s.tellPresence(told)
	return nil
}

// ReceivePresence notes what another server says of its users.
//
// Spec: server-server-api/#presence
func (s *Server) ReceivePresence(p Presence) {
	if !s.opts.Presence || s.rooms.Local(p.User) || len(p.Message) > maxStatus {
		return
	}
	switch p.State {
	case Online, Unavailable, Offline:
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.presenceOfLocked(p.User)
	if kept == nil {
		return
	}
	kept.remote, kept.seen, kept.LastActive = true, s.now(), p.LastActive
	s.showLocked(kept, p.State, p.Message)
}

// PresenceOf is a user's presence as another user may see it: their own, and
// that of those they share a room with.
//
// Spec: client-server-api/#get_matrixclientv3presenceuseridstatus
func (s *Server) PresenceOf(ctx context.Context, viewer, user id.UserID) (Presence, error) {
	if viewer != user {
		shared, err := s.db.Latest().ShareRoom(ctx, viewer, user)
		if err != nil {
			return Presence{}, err
		}
		if !shared {
			return Presence{}, fault.New(fault.Forbidden, "You share no room with %s", user)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.presence[user]; p != nil {
		return p.Presence, nil
	}
	return Presence{User: user, State: Offline}, nil
}

// sweepPresence notices who has gone, or is away.
func (s *Server) sweepPresence() {
	var told []*Presence
	s.mu.Lock()
	now := s.now()
	for user, p := range s.presence {
		switch {
		case p.remote:
			if now.Sub(p.seen) > remoteLasts {
				delete(s.presence, user)
			}
		case p.syncing == 0 && now.Sub(p.seen) > offlineAfter:
			if t := s.showLocked(p, Offline, p.Message); t != nil {
				told = append(told, t)
			}
			if now.Sub(p.seen) > remoteLasts {
				delete(s.presence, user)
			}
		case p.State == Online && now.Sub(p.LastActive) > idleAfter:
			if t := s.showLocked(p, Unavailable, p.Message); t != nil {
				told = append(told, t)
			}
		}
	}
	s.mu.Unlock()
	for _, t := range told {
		s.tellPresence(t)
	}
}

// presenceLocked lists whose presence changed since, and that the reader may
// see as far as the index tells; remote users are looked up later.
func (s *Server) presenceLocked(c *composer) []Presence {
	if !s.opts.Presence || c.since != nil && c.since.Boot == s.boot && c.since.Ephemeral >= s.presenceAt {
		return nil
	}
	var out []Presence
	for user, p := range s.presence {
		if p.at == 0 || c.since != nil && c.since.Boot == s.boot && p.at <= c.since.Ephemeral {
			continue
		}
		if c.since == nil && p.State == Offline {
			continue
		}
		if user == c.req.User || p.remote || s.shareLocked(c.reader, user) {
			out = append(out, p.Presence)
		}
	}
	slices.SortFunc(out, func(a, b Presence) int { return cmp.Compare(a.User, b.User) })
	return out
}

// shareLocked reports whether a reader shares a room with another user who
// syncs.
func (s *Server) shareLocked(r *reader, user id.UserID) bool {
	other := s.names[user]
	if other == nil {
		return false
	}
	for nid, m := range r.rooms {
		if m.Membership != storage.Join {
			continue
		}
		if l := s.lines[nid]; l != nil {
			if _, in := l.readers[other]; in {
				return true
			}
		}
	}
	return false
}

// appendPresence adds presence to the answer.
//
// Spec: client-server-api/#mpresence
func (c *composer) appendPresence() error {
	for i := range c.presence {
		p := &c.presence[i]
		if c.ignored[p.User] || !admits(&c.filter.Presence, "m.presence", p.User) {
			continue
		}
		if !c.server.rooms.Local(p.User) {
			shared, err := c.server.db.Latest().ShareRoom(c.ctx, c.req.User, p.User)
			if err != nil {
				return err
			}
			if !shared {
				continue
			}
		}
		if c.presenceData != nil {
			c.presenceData = append(c.presenceData, ',')
		}
		c.presenceData = append(c.presenceData, `{"content":`...)
		c.presenceData = p.Append(c.presenceData, c.now)
		c.presenceData = appendString(append(c.presenceData, `,"sender":`...), string(p.User))
		c.presenceData = append(c.presenceData, `,"type":"m.presence"}`...)
		c.tells = true
	}
	return nil
}

// Append appends the presence as JSON; now is in milliseconds.
func (p *Presence) Append(dst []byte, now int64) []byte {
	dst = append(dst, `{"presence":"`...)
	dst = append(append(dst, p.State...), '"')
	if !p.LastActive.IsZero() {
		dst = append(dst, `,"last_active_ago":`...)
		dst = strconv.AppendInt(dst, max(0, now-p.LastActive.UnixMilli()), 10)
	}
	if p.State == Online {
		dst = strconv.AppendBool(append(dst, `,"currently_active":`...), p.Active)
	}
	if p.Message != "" {
		dst = appendString(append(dst, `,"status_msg":`...), p.Message)
	}
	return append(dst, '}')
}
