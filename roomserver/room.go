package roomserver

import (
	"context"
	"fmt"
	"sync/atomic"

	"entente/internal/fault"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"
)

// The event types that the room server itself understands.
const (
	typeCreate            = "m.room.create"
	typeMember            = "m.room.member"
	typePowerLevels       = "m.room.power_levels"
	typeJoinRules         = "m.room.join_rules"
	typeHistoryVisibility = "m.room.history_visibility"
	typeRedaction         = "m.room.redaction"
	typeServerACL         = "m.room.server_acl"
	typeCanonicalAlias    = "m.room.canonical_alias"
	typeGuestAccess       = "m.room.guest_access"
	typeName              = "m.room.name"
	typeTopic             = "m.room.topic"
	typeAvatar            = "m.room.avatar"
	typeEncryption        = "m.room.encryption"
)

// waitersPerRoom bounds the requests that wait for one room on this node.
const waitersPerRoom = 2048

// room is a room in memory: one queue, and the head that the next proposal
// builds on.
type room struct {
	server *Server
	info   *storage.RoomInfo
	rules  *event.Rules
	state  state.Room
	users  int // requests that hold it; guarded by Server.mu

	held    chan struct{} // full while a proposal is built: the room's queue
	waiting atomic.Int64
	stale   atomic.Bool // another node has moved the head

	// guarded by held
	head       *head                      // where the room will stand when all that is under way is committed; nil: not read
	last       *storage.Ticket            // the commit that was enqueued last
	checker    auth.Checker               // keeps parsed power levels
	nextKey    int64                      // the next number of a state key
	generation int                        // counts how often head was thrown away
	keys       map[event.Key]state.KeyNum // numbered by what is under way
}

func newRoom(s *Server, info *storage.RoomInfo, rules *event.Rules) *room {
	return &room{
		server: s, info: info, rules: rules, state: s.states.Room(int64(info.NID)),
		held: make(chan struct{}, 1), keys: map[event.Key]state.KeyNum{},
	}
}

// head is where a room stands.
type head struct {
	storage.Head
	latest  []*storage.Event // the forward extremities
	servers map[string]int64 // joined members of each server; nil: not read
	levels  *auth.PowerLevels
}

// hold takes the room's turn.
func (r *room) hold(ctx context.Context) error {
	if r.waiting.Add(1) > waitersPerRoom {
		r.waiting.Add(-1)
		return fault.New(fault.Unavailable, "Too many requests wait for this room")
	}
	defer r.waiting.Add(-1)
	select {
	case r.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *room) unhold() { <-r.held }

// resetHeld throws the head away, unless that was done since generation.
func (r *room) resetHeld(generation int) {
	if r.generation != generation {
		return
	}
	r.generation++
	r.head, r.last = nil, nil
	clear(r.keys)
}

// loadHeld reads the head when it is not in memory. A room without a head has
// one of no version: this server is not in it.
func (r *room) loadHeld(ctx context.Context) error {
	if r.stale.Swap(false) {
		r.resetHeld(r.generation)
	}
	if r.head != nil {
		return nil
	}
	stored, err := r.server.db.Latest().Head(ctx, r.info.NID)
	if err != nil {
		return fmt.Errorf("read where %s stands: %w", r.info.ID, err)
	}
	h := &head{Head: storage.Head{Room: r.info.NID}}
	if stored != nil {
		h.Head = *stored
		if h.latest, err = r.server.eventsOf(ctx, r.info, stored.Latest); err != nil {
			return err
		}
	}
	if r.nextKey, err = r.server.db.Latest().KeyCount(ctx, r.info.NID); err != nil {
		return err
	}
	r.head = h
	return nil
}

// fresh bounds the state keys that are kept as being under way. Forgetting one
// that still is costs a conflict, and the proposal is built again.
const fresh = 4096

// keyNum finds the number of a state key: of those that are stored, and for the
// room's holder those under way.
func (r *room) keyNum(ctx context.Context, key event.Key) (state.KeyNum, bool, error) {
	if num, ok := r.keys[key]; ok {
		return num, true, nil
	}
	return r.server.keyNum(ctx, r.info.NID, key)
}

// at reads the state at a root, for the room's holder: the number of the event that holds key, or
// zero.
func (r *room) at(ctx context.Context, root state.Root, key event.Key) (event.NID, error) {
	num, ok, err := r.keyNum(ctx, key)
	if err != nil || !ok {
		return 0, err
	}
	return r.state.Get(ctx, root, num)
}

// eventAt is at, with the event; nil when there is none.
func (r *room) eventAt(ctx context.Context, root state.Root, key event.Key) (*storage.Event, error) {
	nid, err := r.at(ctx, root, key)
	if err != nil || nid == 0 {
		return nil, err
	}
	return r.server.eventOf(ctx, r.info, nid)
}

// lookup reads the state at a root for package auth.
func (r *room) lookup(ctx context.Context, root state.Root) auth.Lookup {
	return func(key event.Key) (*event.PDU, error) {
		e, err := r.eventAt(ctx, root, key)
		if err != nil || e == nil {
			return nil, err
		}
		return e.PDU, nil
	}
}
