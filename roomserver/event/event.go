// Package event holds persistent data units: how each room version writes,
// hashes, signs, redacts and identifies them. It is pure: no clock, no
// network, no database.
//
// An event is its canonical JSON. Parse makes one from a stranger's bytes,
// Trusted from bytes of ours, Draft.Build from what we want to say. Everything
// else is read from those bytes in place.
//
// Where the specification leaves room, this package decides so:
//
//   - A key that an object names twice makes the JSON invalid. Others keep the
//     last one, but what they pass on has one; so nothing is lost, and no two
//     readers of the same bytes see different events.
//   - JSON nests at most 512 levels deep.
//   - In room versions 1 to 5, integers of any size stay as they are, and
//     fractions are written as Python writes them, since nearly all such events
//     were hashed by a server in Python. Numbers beyond a double's range are
//     refused.
//   - The size limit holds for an event with its signatures, without unsigned.
//   - An event type or a state key that holds NUL is refused.
//
// Spec: server-server-api/#pdus, rooms/
package event

import (
	"encoding/json"
	"unsafe"

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
// of shared memory: callers must not modify them, and should clone a string
// that is to outlive the event for long.
type PDU struct {
	rules *Rules
	id    id.EventID
	raw   []byte // canonical JSON, as signed; with event_id in room versions 1 and 2

	roomID    id.RoomID
	typ       string
	stateKey  string
	sender    id.UserID
	refs      []id.EventID // auth events, then previous events
	depth     int64
	timestamp int64

	contentStart, contentEnd uint32 // in raw
	authCount                uint16 // in refs
	isState                  bool
	redacted                 bool
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
func (p *PDU) StateKey() (key string, ok bool) { return p.stateKey, p.isState }

// IsState reports whether the event is of type typ with state key key.
func (p *PDU) IsState(typ, key string) bool {
	return p.isState && p.stateKey == key && p.typ == typ
}

// Sender is the sending user.
func (p *PDU) Sender() id.UserID { return p.sender }

// Depth is the depth as the sender claimed it.
func (p *PDU) Depth() int64 { return p.depth }

// Timestamp is origin_server_ts, in milliseconds since 1970.
func (p *PDU) Timestamp() int64 { return p.timestamp }

// PrevEvents are the events that this one follows.
func (p *PDU) PrevEvents() []id.EventID { return p.refs[p.authCount:] }

// AuthEvents are the events that allow this one. In room version 12 the create
// event is not among them.
func (p *PDU) AuthEvents() []id.EventID { return p.refs[:p.authCount:p.authCount] }

// Content is the content object, canonical. Value(p.Content()) reads it
// without unmarshalling.
func (p *PDU) Content() json.RawMessage {
	return json.RawMessage(p.raw[p.contentStart:p.contentEnd:p.contentEnd])
}

// Redacts is the event that an m.room.redaction names, wherever the room
// version puts it; empty when it names none.
//
// Spec: rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
func (p *PDU) Redacts() id.EventID {
	if p.typ != typeRedaction {
		return ""
	}
	from := Value(p.raw)
	if p.rules.UpdatedRedaction {
		from = Value(p.Content())
	}
	redacts, _ := from.Get("redacts").Str()
	return id.EventID(redacts)
}

// Membership is the membership that an m.room.member event gives; empty for
// other events, and for what is not a string.
func (p *PDU) Membership() string {
	if p.typ != typeMember {
		return ""
	}
	membership, _ := Value(p.Content()).Get("membership").Str()
	return membership
}

// Redacted reports whether the event came out of Redact, or was redacted by
// Parse because its content hash did not match. Trusted cannot tell: what the
// database knows of it is the database's to say.
func (p *PDU) Redacted() bool { return p.redacted }

// JSON is the event's canonical JSON without unsigned: what is stored and
// what is sent to peers.
func (p *PDU) JSON() []byte { return p.raw[:len(p.raw):len(p.raw)] }

// Size is about how many bytes of memory the event takes.
func (p *PDU) Size() int {
	return int(unsafe.Sizeof(*p)) + cap(p.raw) + len(p.id) + cap(p.refs)*int(unsafe.Sizeof(p.id))
}

// The event types that formats, redaction and signatures treat specially.
const (
	typeCreate            = "m.room.create"
	typeMember            = "m.room.member"
	typeRedaction         = "m.room.redaction"
	typeJoinRules         = "m.room.join_rules"
	typePowerLevels       = "m.room.power_levels"
	typeAliases           = "m.room.aliases"
	typeHistoryVisibility = "m.room.history_visibility"
)
