package storage

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"

	"maunium.net/go/mautrix/id"
)

const (
	selectTimeline = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND pos IS NOT NULL AND pos > $2 AND pos <= $3 AND status = 1
		ORDER BY pos DESC LIMIT $4`
	selectUnread = `SELECT COUNT(*) FROM event WHERE room = $1 AND pos > $2 AND pos <= $3 AND flags <> 0 AND flags % 2 = 1 AND sender <> $4`
	selectFirst  = `SELECT u.user_id, m.event FROM member m JOIN user_name u ON u.nid = m.user_nid
		WHERE m.room = $1 AND m.membership = $2 ORDER BY m.pos LIMIT $3`
	selectUserRoomsSince = `SELECT ` + memberColumns + memberTables + `WHERE m.user_nid = $1 AND m.pos > $2 AND m.local`
	selectUserPositions  = `SELECT h.room, h.pos, COALESCE((SELECT MAX(r.pos) FROM receipt r WHERE r.room = h.room), 0)
		FROM member m JOIN room_head h ON h.room = m.room WHERE m.user_nid = $1 AND m.membership = 1 AND m.local`
	selectKeysExcept = `SELECT num FROM state_key WHERE room = $1 AND (type < $2 OR type > $2)`
	selectShared     = `SELECT EXISTS (SELECT 1 FROM member a JOIN member b ON b.room = a.room
		WHERE a.user_nid = $1 AND a.membership = 1 AND a.local AND b.user_nid = $2 AND b.membership = 1)`
)

// Timeline reads the latest events of a room's live timeline after since and
// not after until, the latest first, at most limit.
func (v *View) Timeline(ctx context.Context, room *RoomInfo, since, until Position, limit int) ([]*Event, error) {
	return v.events(ctx, room, selectTimeline, int64(room.NID), int64(since), int64(until), int64(limit))
}

// UnreadCount counts the events of a room's live timeline, after since and not
// after until, that the default push rules notify of and that others sent.
func (v *View) UnreadCount(ctx context.Context, room RoomNID, user id.UserID, since, until Position) (count int64, err error) {
	n, _, err := v.userNumber(ctx, user)
	if err != nil {
		return 0, err
	}
	_, err = one(ctx, v.q, selectUnread, []any{int64(room), int64(since), int64(until), n}, &count)
	return count, err
}

// Hero is one of a room's first members.
//
// Spec: client-server-api/#get_matrixclientv3sync
type Hero struct {
	User  id.UserID
	Event event.NID
}

// FirstMembers lists the users who have had a membership of a room for the
// longest, at most limit, in the order of when it last changed.
func (v *View) FirstMembers(ctx context.Context, room RoomNID, with Membership, limit int) (out []Hero, err error) {
	err = each(ctx, v.q, selectFirst, []any{int64(room), int64(with), int64(limit)}, func(r rowScanner) error {
		var h Hero
		err := r.Scan((*string)(&h.User), (*int64)(&h.Event))
		out = append(out, h)
		return err
	})
	return out, err
}

// UserRoomsSince lists a local user's memberships of every kind that changed
// after since, in no order, forgotten ones included.
func (v *View) UserRoomsSince(ctx context.Context, user id.UserID, since Position) ([]*Member, error) {
	n, ok, err := v.userNumber(ctx, user)
	if err != nil || !ok {
		return nil, err
	}
	return v.members(ctx, selectUserRoomsSince, n, int64(since))
}

// UserPositions calls fn with where the rooms stand that a local user has
// joined: the position of the latest event and that of the latest receipt.
func (v *View) UserPositions(ctx context.Context, user id.UserID, fn func(room RoomNID, latest, receipt Position)) error {
	n, ok, err := v.userNumber(ctx, user)
	if err != nil || !ok {
		return err
	}
	return each(ctx, v.q, selectUserPositions, []any{n}, func(r rowScanner) error {
		var room, latest, receipt int64
		err := r.Scan(&room, &latest, &receipt)
		fn(RoomNID(room), Position(latest), Position(receipt))
		return err
	})
}

// KeysExcept lists the state keys of a room that are not of one event type.
func (v *View) KeysExcept(ctx context.Context, room RoomNID, typ string) (out []state.KeyNum, err error) {
	found, err := v.db.interner.lookup(ctx, v.q, types, []string{typ})
	if err != nil {
		return nil, err
	}
	err = each(ctx, v.q, selectKeysExcept, []any{int64(room), found[typ]}, func(r rowScanner) error {
		var num int64
		err := r.Scan(&num)
		out = append(out, state.KeyNum(num))
		return err
	})
	return out, err
}

// ShareRoom reports whether a local user and another user have both joined
// some room.
func (v *View) ShareRoom(ctx context.Context, local, other id.UserID) (shared bool, err error) {
	found, err := v.db.interner.lookup(ctx, v.q, users, []string{string(local), string(other)})
	if err != nil {
		return false, err
	}
	a, ok := found[string(local)]
	b, known := found[string(other)]
	if !ok || !known {
		return false, nil
	}
	_, err = one(ctx, v.q, selectShared, []any{a, b}, &shared)
	return shared, err
}
