package roomserver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"entente/federation/client"
	"entente/federation/keys"
	"entente/internal/fault"
	"entente/internal/lru"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Options are what a room server is built from.
type Options struct {
	DB *storage.DB
	// ServerName is this server's name.
	ServerName string
	// Sign gives the key that signs new events.
	Sign func() event.Signer
	// Peers calls other servers; nil when there is no federation.
	Peers *client.Client
	// Keys verifies what other servers signed; nil when there is no federation.
	Keys *keys.Ring
	// Policy is asked before anything is committed; nil permits everything
	// that the room permits.
	Policy *Policy
	// Exists answers an error unless a user of this server can be invited; nil
	// takes every local user ID.
	Exists func(ctx context.Context, user id.UserID) error
	// Log receives what is worth an operator's attention.
	Log *slog.Logger
	// Now is the clock for timestamps; nil is time.Now.
	Now func() time.Time
	// CacheBytes bounds the cache of events, and that of state rows; zero is
	// 32 MiB each.
	CacheBytes int
}

// Server is the room server of one server name.
type Server struct {
	db     *storage.DB
	name   string
	sign   func() event.Signer
	peers  *client.Client
	keys   *keys.Ring
	policy *Policy
	exists func(ctx context.Context, user id.UserID) error
	log    *slog.Logger
	now    func() time.Time

	states *state.Store
	events *eventCache
	infos  *lru.Cache[id.RoomID, *storage.RoomInfo]
	byNID  *lru.Cache[storage.RoomNID, *storage.RoomInfo]
	nums   *lru.Cache[keyName, state.KeyNum]
	barren *lru.Cache[eventName, time.Time] // gaps that could not be filled, and until when they are let be

	mu    sync.Mutex
	rooms map[storage.RoomNID]*room // guarded by mu
}

const (
	defaultCache = 32 << 20
	infosKept    = 50_000
	numsKept     = 100_000
	roomsKept    = 20_000 // rooms with a head in memory
)

// New makes the room server. It follows the database's log from here on.
func New(o Options) *Server {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCache
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Policy == nil {
		o.Policy = &Policy{}
	}
	one := func(*storage.RoomInfo) int { return 1 }
	s := &Server{
		db: o.DB, name: o.ServerName, sign: o.Sign, peers: o.Peers, keys: o.Keys, policy: o.Policy, exists: o.Exists, log: o.Log, now: o.Now,
		states: state.NewStore(o.DB.StateSource(), state.NewCache(int64(o.CacheBytes)), o.DB.Secret()),
		events: newEventCache(o.CacheBytes),
		infos:  lru.New[id.RoomID](infosKept, one),
		byNID:  lru.New[storage.RoomNID](infosKept, one),
		nums:   lru.New[keyName](numsKept, func(state.KeyNum) int { return 1 }),
		barren: lru.New[eventName](barrenKept, func(time.Time) int { return 1 }),
		rooms:  map[storage.RoomNID]*room{},
	}
	o.DB.Follow(s.follow)
	return s
}

// Name is this server's name.
func (s *Server) Name() string { return s.name }

// Local reports whether a user is ours.
func (s *Server) Local(user id.UserID) bool { return event.ServerOf(user) == s.name }

// Info finds a room that this server has heard of. The error is NotFound when
// it has not.
func (s *Server) Info(ctx context.Context, roomID id.RoomID) (*storage.RoomInfo, error) {
	if info, ok := s.infos.Get(roomID); ok {
		return info, nil
	}
	info, err := s.db.Latest().Room(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if info == nil {
		return nil, fault.Wrap(ErrNotInRoom, fault.NotFound, "This server does not know the room %s", roomID)
	}
	s.infos.Put(roomID, info)
	s.byNID.Put(info.NID, info)
	return info, nil
}

// InfoOf finds a room by its number.
func (s *Server) InfoOf(ctx context.Context, nid storage.RoomNID) (*storage.RoomInfo, error) {
	if info, ok := s.byNID.Get(nid); ok {
		return info, nil
	}
	found, err := s.db.Latest().Rooms(ctx, []storage.RoomNID{nid})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "There is no such room")
	}
	s.infos.Put(found[0].ID, found[0])
	s.byNID.Put(nid, found[0])
	return found[0], nil
}

// follow gives what this node committed its positions, and keeps what is
// cached true when another node, or a command, changed a room.
func (s *Server) follow(e *storage.LogEntry) {
	for _, c := range e.Commits {
		if done, ok := c.Attachment.(*Committed); ok {
			s.placed(done, c.First)
		}
	}
	if e.Own {
		return
	}
	e.Touched(func(subject storage.Subject, _ storage.Position) {
		switch subject.Kind {
		case storage.Redacted:
			s.events.events.Remove(event.NID(subject.ID))
		case storage.Room:
			s.mu.Lock()
			r := s.rooms[storage.RoomNID(subject.ID)]
			s.mu.Unlock()
			if r != nil {
				r.stale.Store(true)
			}
		}
	})
}

// placed makes what was committed known under its position.
func (s *Server) placed(done *Committed, first storage.Position) {
	for i, e := range done.Events {
		done.Events[i] = e.Placed(first)
		s.events.put(done.Events[i])
		s.events.name(done.Events[i])
	}
	for _, d := range done.Deltas {
		d.Place(first)
	}
	for _, m := range done.Members {
		m.Place(first)
	}
	for _, e := range done.redacted {
		s.events.put(e)
	}
}

// room gives the in-memory room of a number. Rooms that are not in use may be
// forgotten when there are too many: their heads are read again.
func (s *Server) room(info *storage.RoomInfo) (*room, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[info.NID]; r != nil {
		r.users++
		return r, nil
	}
	rules, ok := event.RulesOf(info.Version)
	if !ok {
		return nil, fault.New(fault.UnsupportedVersion, "This server does not speak room version %s", info.Version)
	}
	if len(s.rooms) >= roomsKept {
		for nid, r := range s.rooms {
			if r.users == 0 {
				delete(s.rooms, nid)
				break
			}
		}
	}
	r := newRoom(s, info, rules)
	r.users++
	s.rooms[info.NID] = r
	return r, nil
}

func (s *Server) release(r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.users--
}

// with runs fn with the in-memory room.
func (s *Server) with(ctx context.Context, roomID id.RoomID, fn func(r *room) error) error {
	info, err := s.Info(ctx, roomID)
	if err != nil {
		return err
	}
	r, err := s.room(info)
	if err != nil {
		return err
	}
	defer s.release(r)
	return fn(r)
}

// ErrNotInRoom is the cause of errors about rooms that this server is not in.
var ErrNotInRoom = errors.New("this server is not in the room")

// NotInRoom is what users hear who are not in a room, and who ask for one that
// there is not: no more than that.
func NotInRoom(user id.UserID) error {
	return fault.New(fault.Forbidden, "%s is not in the room", user)
}
