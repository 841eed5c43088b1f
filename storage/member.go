package storage

import (
	"context"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Membership is a membership as it is stored.
type Membership int64

// The memberships. They are stored.
const (
	Leave  Membership = 0
	Join   Membership = 1
	Invite Membership = 2
	Knock  Membership = 3
	Ban    Membership = 4
)

var membershipNames = [...]string{Leave: "leave", Join: "join", Invite: "invite", Knock: "knock", Ban: "ban"}

// String is the specification's word for the membership.
func (m Membership) String() string { return membershipNames[m] }

// ParseMembership reads the specification's word; ok is false for others.
func ParseMembership(s string) (m Membership, ok bool) {
	for i, name := range membershipNames {
		if name == s {
			return Membership(i), true
		}
	}
	return 0, false
}

// Member is a user's membership of a room, by the room's current state. For a
// room that this server is not in, it is what a local user was told (an
// invite, an answered knock).
type Member struct {
	Room       RoomNID
	User       id.UserID
	Membership Membership
	// Event is the m.room.member event.
	Event event.NID
	// Pos is when it became so; as a row, the position that At names.
	Pos    Position
	Sender id.UserID
	// Local: the user is ours.
	Local bool
	// Forgotten: the user has forgotten the room. Spec: client-server-api/#post_matrixclientv3roomsroomidforget
	Forgotten bool
	// Stripped is the stripped state that came with an invite or knock, a
	// JSON array. Spec: client-server-api/#stripped-state
	Stripped []byte

	live bool // as a row: it takes a position
	tick int
}

// At makes the membership's position the i-th of its commit. Without, it has
// none: it is written before the room that it is of can be seen.
func (m *Member) At(i int) *Member { m.live, m.tick = true, i; return m }

// Place sets the position that a commit starting at first gave the membership.
func (m *Member) Place(first Position) { m.Pos = first + Position(m.tick) }

const memberColumns = `m.room, u.user_id, m.membership, m.event, m.pos, s.user_id, m.local, m.forgotten, m.stripped`

const memberTables = ` FROM member m JOIN user_name u ON u.nid = m.user_nid JOIN user_name s ON s.nid = m.sender `

const (
	upsertMember = `INSERT INTO member (room, user_nid, membership, event, pos, sender, local, forgotten, stripped)
		VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE, $8)
		ON CONFLICT (room, user_nid) DO UPDATE SET membership = excluded.membership, event = excluded.event, pos = excluded.pos,
		sender = excluded.sender, forgotten = FALSE, stripped = excluded.stripped`
	deleteMember       = `DELETE FROM member WHERE room = $1 AND user_nid = $2`
	forgetMember       = `UPDATE member SET forgotten = TRUE WHERE room = $1 AND user_nid = $2`
	selectMember       = `SELECT ` + memberColumns + memberTables + `WHERE m.room = $1 AND m.user_nid = $2`
	selectMembers      = `SELECT ` + memberColumns + memberTables + `WHERE m.room = $1 AND m.membership = ANY($2)`
	selectLocalMembers = `SELECT ` + memberColumns + memberTables + `WHERE m.room = $1 AND m.membership = $2 AND m.local`
	selectHasLocal     = `SELECT EXISTS (SELECT 1 FROM member WHERE room = $1 AND membership = 1 AND local)`
	selectUserRooms    = `SELECT ` + memberColumns + memberTables + `WHERE m.user_nid = $1 AND m.membership = ANY($2) AND m.local`
)

func (m *Member) write(w *writer) {
	var stripped any
	if m.Stripped != nil {
		stripped = m.Stripped
	}
	var pos any = int64(0)
	if m.live {
		pos = tick(m.tick)
	}
	w.exec(upsertMember, int64(m.Room), w.number(users, string(m.User)), int64(m.Membership), int64(m.Event), pos,
		w.number(users, string(m.Sender)), m.Local, stripped)
}

// NoMember removes a membership that the current state no longer has.
type NoMember struct {
	Room RoomNID
	User id.UserID
}

func (m *NoMember) write(w *writer) {
	w.exec(deleteMember, int64(m.Room), w.number(users, string(m.User)))
}

// Forget notes that a user has forgotten a room.
type Forget struct {
	Room RoomNID
	User id.UserID
}

func (f *Forget) write(w *writer) {
	w.exec(forgetMember, int64(f.Room), w.number(users, string(f.User)))
}

// UserSubject is the log's subject for a user.
func (db *DB) UserSubject(ctx context.Context, kind SubjectKind, user id.UserID) (Subject, error) {
	n, err := db.interner.number(ctx, users, string(user))
	return Subject{kind, n}, err
}

// ServerSubject is the log's subject for a server.
func (db *DB) ServerSubject(ctx context.Context, kind SubjectKind, server string) (Subject, error) {
	n, err := db.interner.number(ctx, servers, server)
	return Subject{kind, n}, err
}

// Member finds a user's membership of a room; nil when there never was one.
func (v *View) Member(ctx context.Context, room RoomNID, user id.UserID) (*Member, error) {
	n, ok, err := v.userNumber(ctx, user)
	if err != nil || !ok {
		return nil, err
	}
	found, err := v.members(ctx, selectMember, int64(room), n)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// Members lists a room's members with one of these memberships, in no order.
func (v *View) Members(ctx context.Context, room RoomNID, with ...Membership) ([]*Member, error) {
	return v.members(ctx, selectMembers, int64(room), numbers(with))
}

// LocalMembers lists our users with this membership of a room, in no order.
func (v *View) LocalMembers(ctx context.Context, room RoomNID, with Membership) ([]*Member, error) {
	return v.members(ctx, selectLocalMembers, int64(room), int64(with))
}

// HasLocalMember reports whether a user of ours has joined a room.
func (v *View) HasLocalMember(ctx context.Context, room RoomNID) (has bool, err error) {
	_, err = one(ctx, v.q, selectHasLocal, []any{int64(room)}, &has)
	return has, err
}

// UserRooms lists a local user's memberships among these, in no order,
// forgotten ones included.
func (v *View) UserRooms(ctx context.Context, user id.UserID, with ...Membership) ([]*Member, error) {
	n, ok, err := v.userNumber(ctx, user)
	if err != nil || !ok {
		return nil, err
	}
	return v.members(ctx, selectUserRooms, n, numbers(with))
}

func (v *View) userNumber(ctx context.Context, user id.UserID) (int64, bool, error) {
	found, err := v.db.interner.lookup(ctx, v.q, users, []string{string(user)})
	n, ok := found[string(user)]
	return n, ok, err
}

func (v *View) members(ctx context.Context, sql string, args ...any) (out []*Member, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var m Member
		err := r.Scan((*int64)(&m.Room), (*string)(&m.User), (*int64)(&m.Membership), (*int64)(&m.Event), (*int64)(&m.Pos),
			(*string)(&m.Sender), &m.Local, &m.Forgotten, &m.Stripped)
		out = append(out, &m)
		return err
	})
	return out, err
}
