// Package event holds persistent data units: how each room version writes,
// hashes, signs, redacts and identifies them. It is pure: no clock, no
// network, no database.
//
// Spec: server-server-api/#pdus, rooms/
package event

import (
	"encoding/json"

	"maunium.net/go/mautrix/id"
)

// NID is the number that this server gave an event. It is an identity without
// order, and means nothing outside one server's database. Zero is no event.
type NID int64

// Key names a piece of room state.
type Key struct {
	Type     string
	StateKey string
}

// PDU is one event of a room, immutable once made. Its accessors return views
// of shared memory: callers must not modify them.
type PDU struct {
	rules *Rules
	id    id.EventID
	raw   []byte // canonical JSON, as signed; with event_id in room versions 1 and 2

	roomID    id.RoomID
	typ       string
	stateKey  *string
	sender    id.UserID
	depth     int64
	timestamp int64
	prev      []id.EventID
	auth      []id.EventID
	content   json.RawMessage
	redacts   id.EventID
	redacted  bool
}

// Rules are the room version's rules.
func (p *PDU) Rules() *Rules { return p.rules }

// ID is the event ID: carried by the event in room versions 1 and 2, the
// reference hash from version 3 on.
func (p *PDU) ID() id.EventID { return p.id }

// RoomID is the room. For a create event of room version 12 it is derived
// from the event ID.
func (p *PDU) RoomID() id.RoomID { return p.roomID }

// Type is the event type.
func (p *PDU) Type() string { return p.typ }

// StateKey is the state key; ok is false for a message event.
func (p *PDU) StateKey() (key string, ok bool) {
	if p.stateKey == nil {
		return "", false
	}
	return *p.stateKey, true
}

// IsState reports whether the event is of type typ with state key key.
func (p *PDU) IsState(typ, key string) bool {
	return p.stateKey != nil && p.typ == typ && *p.stateKey == key
}

// Sender is the sending user.
func (p *PDU) Sender() id.UserID { return p.sender }

// Depth is the depth as the sender claimed it.
func (p *PDU) Depth() int64 { return p.depth }

// Timestamp is origin_server_ts, in milliseconds since 1970.
func (p *PDU) Timestamp() int64 { return p.timestamp }

// PrevEvents are the events that this one follows.
func (p *PDU) PrevEvents() []id.EventID { return p.prev }

// AuthEvents are the events that allow this one. In room version 12 the create
// event is not among them.
func (p *PDU) AuthEvents() []id.EventID { return p.auth }

// Content is the content object, canonical.
func (p *PDU) Content() json.RawMessage { return p.content }

// Redacts is the event that an m.room.redaction names, wherever the room
// version puts it; empty when it names none.
func (p *PDU) Redacts() id.EventID { return p.redacts }

// Redacted reports whether this is the redacted form, or was redacted on
// arrival because its content hash did not match.
func (p *PDU) Redacted() bool { return p.redacted }

// JSON is the event's canonical JSON without unsigned: what is stored and
// what is sent to peers.
func (p *PDU) JSON() []byte { return p.raw }
