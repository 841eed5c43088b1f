package storage

import (
	"context"
	"encoding/binary"
	"fmt"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/roomserver/stateres"

	"maunium.net/go/mautrix/id"
)

// Status says what became of an event.
type Status int64

// The statuses. They are stored.
const (
	// Outlier: known, but its place in the room is not.
	Outlier Status = 0
	// Accepted: passed every check that applies to it.
	Accepted Status = 1
	// SoftFailed: allowed by the state before it, not by the current state.
	// Spec: server-server-api/#soft-failure
	SoftFailed Status = 2
	// Rejected: kept only so that what cites it can be judged.
	// Spec: server-server-api/#rejection
	Rejected Status = 3
)

// Flags are what is computed once about an event.
type Flags int64

// The flags. They are stored.
const (
	// Notifies: the default push rules notify of it.
	Notifies Flags = 1
	// Encrypted: it is m.room.encrypted.
	Encrypted Flags = 2
	// MentionsRoom: it mentions the whole room.
	MentionsRoom Flags = 4
)

// Event is an event with its place in the room. As a Row it inserts the event.
type Event struct {
	NID  event.NID
	Room RoomNID
	PDU  *event.PDU
	// Pos is its place in the live timeline; zero is none.
	Pos    Position
	Status Status
	// Top is the highest depth of the live timeline before it.
	Top int64
	// Before and After are the state around it; -1 is not known.
	Before, After state.Root
	// Prev are the known previous events, Auth the auth events.
	Prev, Auth []event.NID
	// Place is its place in the chain-cover index, and ChainPrev the rank of
	// the event below it in its chain.
	Place     stateres.Pos
	ChainPrev int64
	// RelType and RelTo are its m.relates_to.
	RelType string
	RelTo   id.EventID
	// RedactedBy is the redaction that was applied to it.
	RedactedBy event.NID
	// Replaces is the state event that it replaced.
	Replaces event.NID
	Flags    Flags
	// Destinations are the servers that we must send it to.
	Destinations Servers
	// Reason says why it was rejected or soft-failed.
	Reason string

	live bool // as a row: it takes a position
	tick int
}

// UnknownRoot stands for a state that this server has not computed.
const UnknownRoot state.Root = -1

// At makes the event's position the i-th of its commit. Without, an event is
// inserted outside the live timeline.
func (e *Event) At(i int) *Event { e.live, e.tick = true, i; return e }

// Placed is the event with the position that a commit starting at first gave
// it.
func (e *Event) Placed(first Position) *Event {
	placed := *e
	if e.live {
		placed.Pos = first + Position(e.tick)
	}
	return &placed
}

const eventColumns = `nid, room, event_id, pos, status, top, before_root, after_root, prev, auth, chain, chain_seq, chain_prev,
	rel_type, rel_to, redacted_by, replaces, flags, dests, reason, json`

const (
	insertEvent = `INSERT INTO event (nid, room, event_id, pos, status, type, state_key, sender, depth, ts, top, before_root, after_root,
		prev, auth, chain, chain_seq, chain_prev, rel_type, rel_to, redacts, redacted_by, replaces, flags, dests, reason, json)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)`
	// placeEvent gives an outlier its place in the room.
	placeEvent = `UPDATE event SET pos = $2, status = $3, top = $4, before_root = $5, after_root = $6, prev = $7, replaces = $8,
		flags = $9, dests = $10, reason = $11, depth = $12 WHERE nid = $1`
	selectRedaction = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND redacts = $2 AND status = 1 ORDER BY nid LIMIT 100`
	markRedacted    = `UPDATE event SET redacted_by = $2, json = $3, rel_type = NULL, rel_to = NULL WHERE nid = $1`
	setEventRoots   = `UPDATE event SET before_root = $2, after_root = $3 WHERE nid = $1`
	selectEventsNID = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND nid = ANY($2)`
	selectEventsID  = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND event_id = ANY($2)`
	selectAfter     = `SELECT ` + eventColumns + ` FROM event WHERE room = $1 AND pos > $2 ORDER BY pos LIMIT 1000`
	selectRoomsOf   = `SELECT room FROM event WHERE event_id = $1 LIMIT 20`
	selectNIDs      = `SELECT event_id, nid FROM event WHERE room = $1 AND event_id = ANY($2)`
)

const codecPlain = 0

func (e *Event) write(w *writer) {
	var stateKey any
	if k, ok := e.PDU.StateKey(); ok {
		stateKey = k
	}
	w.exec(insertEvent, int64(e.NID), int64(e.Room), string(e.PDU.ID()), e.position(), int64(e.Status), w.number(types, e.PDU.Type()), stateKey,
		w.number(users, string(e.PDU.Sender())), e.PDU.Depth(), e.PDU.Timestamp(), e.Top, nullRoot(e.Before), nullRoot(e.After),
		packNIDs(e.Prev), packNIDs(e.Auth), int64(e.Place.Chain), e.Place.Seq, e.ChainPrev, nullText(e.RelType), nullText(string(e.RelTo)), nullText(string(e.PDU.Redacts())),
		nullNID(e.RedactedBy), nullNID(e.Replaces), int64(e.Flags), e.destinations(w), nullText(e.Reason), encodeJSON(e.PDU.JSON()))
}

func (e *Event) position() any {
	if !e.live {
		return nil
	}
	return tick(e.tick)
}

func (e *Event) destinations(w *writer) any {
	if e.Destinations == "" {
		return nil
	}
	return w.number(serverSets, string(e.Destinations))
}

// PlaceEvent gives a stored outlier its place in the room: what Event says of
// it, all but the PDU, its auth events and its place in the index.
type PlaceEvent struct{ *Event }

func (p PlaceEvent) write(w *writer) {
	e := p.Event
	w.exec(placeEvent, int64(e.NID), e.position(), int64(e.Status), e.Top, nullRoot(e.Before), nullRoot(e.After), packNIDs(e.Prev),
		nullNID(e.Replaces), int64(e.Flags), e.destinations(w), nullText(e.Reason), e.PDU.Depth())
}

// Redaction replaces a stored event by its redacted form.
type Redaction struct {
	NID  event.NID
	By   event.NID
	Form *event.PDU
}

func (r *Redaction) write(w *writer) {
	w.exec(markRedacted, int64(r.NID), int64(r.By), encodeJSON(r.Form.JSON()))
}

// Roots says what the state around a stored event is, once computed.
type Roots struct {
	NID           event.NID
	Before, After state.Root
}

func (r *Roots) write(w *writer) {
	w.exec(setEventRoots, int64(r.NID), nullRoot(r.Before), nullRoot(r.After))
}

// Events finds events of a room by number, in no order.
func (v *View) Events(ctx context.Context, room *RoomInfo, nids []event.NID) ([]*Event, error) {
	return v.events(ctx, room, selectEventsNID, int64(room.NID), numbers(nids))
}

// EventsByID finds events of a room by ID, in no order. An event of another
// room is not found.
func (v *View) EventsByID(ctx context.Context, room *RoomInfo, ids []id.EventID) ([]*Event, error) {
	return v.events(ctx, room, selectEventsID, int64(room.NID), texts(ids))
}

// RedactionsOf finds accepted redactions that name an event.
func (v *View) RedactionsOf(ctx context.Context, room *RoomInfo, target id.EventID) ([]*Event, error) {
	return v.events(ctx, room, selectRedaction, int64(room.NID), string(target))
}

// EventsAfter lists a room's live timeline after a position, at most 1,000
// events.
func (v *View) EventsAfter(ctx context.Context, room *RoomInfo, after Position) ([]*Event, error) {
	return v.events(ctx, room, selectAfter, int64(room.NID), int64(after))
}

// RoomsOfEvent finds the rooms that have an event with this ID: one, but for
// room versions 1 and 2.
func (v *View) RoomsOfEvent(ctx context.Context, eventID id.EventID) (out []RoomNID, err error) {
	err = each(ctx, v.q, selectRoomsOf, []any{string(eventID)}, func(r rowScanner) error {
		var n int64
		err := r.Scan(&n)
		out = append(out, RoomNID(n))
		return err
	})
	return out, err
}

// NIDs finds the numbers of those events that the room has.
func (v *View) NIDs(ctx context.Context, room RoomNID, ids []id.EventID) (map[id.EventID]event.NID, error) {
	out := make(map[id.EventID]event.NID, len(ids))
	err := each(ctx, v.q, selectNIDs, []any{int64(room), texts(ids)}, func(r rowScanner) error {
		var eventID string
		var nid int64
		err := r.Scan(&eventID, &nid)
		out[id.EventID(eventID)] = event.NID(nid)
		return err
	})
	return out, err
}

// AllocateEvents takes n event numbers and returns the first.
func (db *DB) AllocateEvents(ctx context.Context, n int) (event.NID, error) {
	first, err := db.allocate(ctx, "event", int64(n))
	return event.NID(first), err
}

// events runs a query whose columns are eventColumns.
func (v *View) events(ctx context.Context, room *RoomInfo, sql string, args ...any) (out []*Event, err error) {
	rules, ok := event.RulesOf(room.Version)
	if !ok {
		return nil, fmt.Errorf("storage: room %s has unknown version %q", room.ID, room.Version)
	}
	var sets []int64 // parallel to out
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		e, set, err := scanEvent(r, rules)
		out, sets = append(out, e), append(sets, set)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, e := range out {
		if sets[i] != 0 {
			if e.Destinations, err = v.serverSet(ctx, sets[i]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func scanEvent(r rowScanner, rules *event.Rules) (*Event, int64, error) {
	var e Event
	var eventID string
	var pos, before, after, redactedBy, replaces, dests *int64
	var relType, relTo, reason *string
	var prev, auth, raw []byte
	err := r.Scan((*int64)(&e.NID), (*int64)(&e.Room), &eventID, &pos, (*int64)(&e.Status), &e.Top, &before, &after, &prev, &auth,
		(*int64)(&e.Place.Chain), &e.Place.Seq, &e.ChainPrev, &relType, &relTo, &redactedBy, &replaces, (*int64)(&e.Flags), &dests, &reason, &raw)
	if err != nil {
		return nil, 0, err
	}
	e.Pos = Position(deref(pos, 0))
	e.Before, e.After = state.Root(deref(before, int64(UnknownRoot))), state.Root(deref(after, int64(UnknownRoot)))
	e.RedactedBy, e.Replaces = event.NID(deref(redactedBy, 0)), event.NID(deref(replaces, 0))
	e.RelType, e.RelTo, e.Reason = deref(relType, ""), id.EventID(deref(relTo, "")), deref(reason, "")
	if e.Prev, err = unpackNIDs(prev); err != nil {
		return nil, 0, err
	}
	if e.Auth, err = unpackNIDs(auth); err != nil {
		return nil, 0, err
	}
	body, err := decodeJSON(raw)
	if err != nil {
		return nil, 0, err
	}
	e.PDU, err = event.Trusted(rules, id.EventID(eventID), body)
	return &e, deref(dests, 0), err
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func nullRoot(r state.Root) any {
	if r == UnknownRoot {
		return nil
	}
	return int64(r)
}

func nullText(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func nullNID(n event.NID) any {
	if n == 0 {
		return nil
	}
	return int64(n)
}

func texts[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

// encodeJSON puts the codec byte before an event's canonical JSON.
func encodeJSON(raw []byte) []byte {
	return append(append(make([]byte, 0, len(raw)+1), codecPlain), raw...)
}

func decodeJSON(stored []byte) ([]byte, error) {
	if len(stored) == 0 || stored[0] != codecPlain {
		return nil, errDamaged
	}
	return stored[1:], nil
}

// packNIDs packs event numbers as differences.
func packNIDs(nids []event.NID) []byte {
	out := make([]byte, 0, 4*len(nids))
	var last event.NID
	for _, n := range nids {
		out = binary.AppendVarint(out, int64(n-last))
		last = n
	}
	return out
}

func unpackNIDs(b []byte) ([]event.NID, error) {
	var out []event.NID
	var last event.NID
	for len(b) > 0 {
		d, n := binary.Varint(b)
		if n <= 0 {
			return nil, errDamaged
		}
		last += event.NID(d)
		out, b = append(out, last), b[n:]
	}
	return out, nil
}
