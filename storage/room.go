package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"entente/roomserver/event"
	"entente/roomserver/state"

	"maunium.net/go/mautrix/id"
)

// RoomNID is the number that this server gave a room: a handle that means
// nothing outside one database. Zero is no room.
type RoomNID int64

// RoomInfo is what never changes about a room, and whether it is published.
type RoomInfo struct {
	NID       RoomNID
	ID        id.RoomID
	Version   event.Version
	Published bool
}

const (
	insertRoom = `INSERT INTO room (nid, room_id, version) VALUES ($1, $2, $3) ON CONFLICT (room_id) DO UPDATE SET version = excluded.version
		WHERE NOT EXISTS (SELECT 1 FROM room_head h WHERE h.room = room.nid)`
	selectRoom   = `SELECT nid, room_id, version, published FROM room WHERE room_id = $1`
	selectRooms  = `SELECT nid, room_id, version, published FROM room WHERE nid = ANY($1)`
	publishRoom  = `UPDATE room SET published = $2 WHERE nid = $1`
	selectPublic = `SELECT nid, room_id, version, published FROM room WHERE published ORDER BY nid`
)

func scanRoom(r rowScanner) (*RoomInfo, error) {
	var i RoomInfo
	err := r.Scan((*int64)(&i.NID), (*string)(&i.ID), (*string)(&i.Version), &i.Published)
	return &i, err
}

// Room finds a room by its ID; nil when this server has not heard of it.
func (v *View) Room(ctx context.Context, room id.RoomID) (info *RoomInfo, err error) {
	err = each(ctx, v.q, selectRoom, []any{string(room)}, func(r rowScanner) error {
		info, err = scanRoom(r)
		return err
	})
	return info, err
}

// Rooms finds rooms by their numbers, in no order.
func (v *View) Rooms(ctx context.Context, rooms []RoomNID) ([]*RoomInfo, error) {
	return v.roomList(ctx, selectRooms, numbers(rooms))
}

// PublicRooms lists the published rooms, oldest first.
func (v *View) PublicRooms(ctx context.Context) ([]*RoomInfo, error) {
	return v.roomList(ctx, selectPublic)
}

func (v *View) roomList(ctx context.Context, sql string, args ...any) (out []*RoomInfo, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		info, err := scanRoom(r)
		out = append(out, info)
		return err
	})
	return out, err
}

// AddRoom numbers a room that this server has now heard of, or finds it. What
// was said of the version of a room that this server was never in is corrected:
// whoever said it may have been wrong, or lied.
func (db *DB) AddRoom(ctx context.Context, room id.RoomID, version event.Version) (*RoomInfo, error) {
	n, err := db.allocate(ctx, "room", 1)
	if err != nil {
		return nil, err
	}
	err = db.driver.exec(ctx, func(q querier) error {
		return discard(q.query(ctx, insertRoom, []any{n, string(room), string(version)}))
	})
	if err != nil {
		return nil, fmt.Errorf("number the room %s: %w", room, err)
	}
	return db.Latest().Room(ctx, room)
}

// Publish lists a room in the directory, or takes it out.
type Publish struct {
	Room      RoomNID
	Published bool
}

func (p *Publish) write(w *writer) { w.exec(publishRoom, int64(p.Room), p.Published) }

// Head is where a room stands. As a Row it moves the head; the commit expects
// the head that it was built on, with RoomHead.
type Head struct {
	Room RoomNID
	// Version is a number that no other head ever has: that of the event that
	// made it.
	Version event.NID
	// Collection is the room's gc epoch. Moving a head does not change it.
	Collection int64
	// Pos is the position of the latest event. As a row: of this commit.
	Pos Position
	// Depth is the highest depth of the live timeline.
	Depth int64
	// Root is the current state.
	Root state.Root
	// Latest are the forward extremities.
	Latest []event.NID
	// Joined and Invited count members.
	Joined, Invited int64
	// Destinations is the set of servers that have joined members, without
	// this one.
	Destinations Servers

	tick int // which of the commit's positions is Pos
}

// At says that the head's Pos is the i-th position of its commit.
func (h *Head) At(i int) *Head { h.tick = i; return h }

const (
	upsertHead = `INSERT INTO room_head (room, version, collection, pos, depth, root, latest, joined, invited, dests)
		VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (room) DO UPDATE SET version = excluded.version, pos = excluded.pos, depth = excluded.depth, root = excluded.root,
		latest = excluded.latest, joined = excluded.joined, invited = excluded.invited, dests = excluded.dests`
	selectHead = `SELECT room, version, collection, pos, depth, root, latest, joined, invited, dests FROM room_head WHERE room = $1`
	// selectPositions reads where every room stands, for the index of positions.
	selectPositions  = `SELECT room, pos FROM room_head`
	updateCollection = `UPDATE room_head SET collection = $2 WHERE room = $1`
)

func (h *Head) write(w *writer) {
	w.exec(upsertHead, int64(h.Room), int64(h.Version), tick(h.tick), h.Depth, int64(h.Root),
		packNIDs(h.Latest), h.Joined, h.Invited, w.number(serverSets, string(h.Destinations)))
}

// Head reads where a room stands; nil when this server is not in it.
func (v *View) Head(ctx context.Context, room RoomNID) (*Head, error) {
	var h Head
	var latest []byte
	var dests int64
	found, err := one(ctx, v.q, selectHead, []any{int64(room)}, (*int64)(&h.Room), (*int64)(&h.Version), &h.Collection, (*int64)(&h.Pos),
		&h.Depth, (*int64)(&h.Root), &latest, &h.Joined, &h.Invited, &dests)
	if err != nil || !found {
		return nil, err
	}
	if h.Latest, err = unpackNIDs(latest); err != nil {
		return nil, err
	}
	h.Destinations, err = v.serverSet(ctx, dests)
	return &h, err
}

// Positions calls fn with the latest position of every room that we are in.
func (v *View) Positions(ctx context.Context, fn func(RoomNID, Position)) error {
	return each(ctx, v.q, selectPositions, nil, func(r rowScanner) error {
		var room, pos int64
		err := r.Scan(&room, &pos)
		fn(RoomNID(room), Position(pos))
		return err
	})
}

// CollectionEpoch raises a room's gc epoch, so that no commit adds nodes that
// share what is being collected.
type CollectionEpoch struct {
	Room  RoomNID
	Epoch int64
}

func (c *CollectionEpoch) write(w *writer) { w.exec(updateCollection, int64(c.Room), c.Epoch) }

// Servers is a set of server names: sorted, joined by line feeds.
type Servers string

// ServerSet makes a set of sorted, distinct names.
func ServerSet(sorted []string) Servers { return Servers(strings.Join(sorted, "\n")) }

// Names are the members, sorted.
func (s Servers) Names() []string {
	if s == "" {
		return nil
	}
	return strings.Split(string(s), "\n")
}

// Has reports whether name is a member.
func (s Servers) Has(name string) bool {
	rest := string(s)
	for rest != "" {
		var member string
		if member, rest, _ = strings.Cut(rest, "\n"); member == name {
			return true
		}
	}
	return false
}

// With is the set with name in it.
func (s Servers) With(name string) Servers {
	if s.Has(name) {
		return s
	}
	names := append(s.Names(), name)
	slices.Sort(names)
	return ServerSet(names)
}

// Without is the set without name in it.
func (s Servers) Without(name string) Servers {
	if !s.Has(name) {
		return s
	}
	return ServerSet(slices.DeleteFunc(s.Names(), func(n string) bool { return n == name }))
}

func (v *View) serverSet(ctx context.Context, n int64) (Servers, error) {
	names, err := v.db.interner.resolve(ctx, v.q, serverSets, []int64{n})
	return Servers(names[n]), err
}

const (
	upsertRoomServer = `INSERT INTO room_server (room, server, joined) VALUES ($1, $2, $3)
		ON CONFLICT (room, server) DO UPDATE SET joined = excluded.joined`
	deleteRoomServer  = `DELETE FROM room_server WHERE room = $1 AND server = $2`
	selectRoomServers = `SELECT s.name, r.joined FROM room_server r JOIN server_name s ON s.nid = r.server WHERE r.room = $1`
)

// ServerMembers says how many members of a room a server has joined; none
// removes it.
type ServerMembers struct {
	Room   RoomNID
	Server string
	Joined int64
}

func (s *ServerMembers) write(w *writer) {
	n := w.number(servers, s.Server)
	if s.Joined == 0 {
		w.exec(deleteRoomServer, int64(s.Room), n)
		return
	}
	w.exec(upsertRoomServer, int64(s.Room), n, s.Joined)
}

// RoomServers counts the joined members of each server in a room.
func (v *View) RoomServers(ctx context.Context, room RoomNID) (map[string]int64, error) {
	out := map[string]int64{}
	err := each(ctx, v.q, selectRoomServers, []any{int64(room)}, func(r rowScanner) error {
		var name string
		var joined int64
		err := r.Scan(&name, &joined)
		out[name] = joined
		return err
	})
	return out, err
}

// numbers turns handles into what a driver takes.
func numbers[N ~int64](handles []N) []int64 {
	out := make([]int64, len(handles))
	for i, h := range handles {
		out[i] = int64(h)
	}
	return out
}

var errDamaged = errors.New("storage: a packed column is damaged")
