package event

import (
	"strings"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

// format checks the fields of an event, member by member.
//
// Spec: rooms/v1/#event-format, rooms/v3/#event-format, rooms/v12/#event-format
type format struct {
	rules *Rules
	seen  fieldSet

	eventID  string
	roomID   string
	typ      string
	stateKey string
	sender   string
	hash     string // content hash, as given
}

// fieldSet is a set of the fields that an event can need.
type fieldSet uint16

const (
	hasAuthEvents fieldSet = 1 << iota
	hasContent
	hasDepth
	hasEventID
	hasHashes
	hasPrevEvents
	hasRoomID
	hasSender
	hasSignatures
	hasStateKey
	hasTimestamp
	hasType

	hasAlways = hasAuthEvents | hasContent | hasDepth | hasHashes | hasPrevEvents |
		hasSender | hasSignatures | hasTimestamp | hasType
)

// fieldNames are the names of the fields, in the order of their bits.
const fieldNames = "auth_events content depth event_id hashes prev_events room_id sender " +
	"signatures state_key origin_server_ts type"

// check checks the canonical event b with its members.
func (f *format) check(b []byte, members []member) error {
	for _, m := range members {
		if err := f.field(view(m.key(b)), m.val(b)); err != nil {
			return err
		}
	}
	need := hasAlways
	if f.rules.EventIDInBody {
		need |= hasEventID
	}
	// Spec: rooms/v12/#event-format: the create event's room ID is its own hash.
	if create := f.rules.RoomIDIsCreateHash && f.typ == typeCreate; !create {
		need |= hasRoomID
	} else if f.seen&hasRoomID != 0 {
		return fault.New(fault.BadJSON, "The create event must not have a room_id in room version %s", f.rules.Version)
	}
	if missing := need &^ f.seen; missing != 0 {
		for i, name := range strings.Fields(fieldNames) {
			if missing&(1<<i) != 0 {
				return fault.New(fault.BadJSON, "The event has no %s", name)
			}
		}
	}
	return f.identifiers()
}

// field checks the type of one field and remembers it.
func (f *format) field(name string, v Value) error {
	switch name {
	case "auth_events":
		return f.refs(hasAuthEvents, name, v, MaxAuthEvents)
	case "prev_events":
		return f.refs(hasPrevEvents, name, v, MaxPrevEvents)
	case "content":
		return f.object(hasContent, name, v)
	case "depth":
		return f.depth(v)
	case "event_id":
		return f.text(hasEventID, name, v, &f.eventID)
	case "hashes":
		return f.hashes(v)
	case "origin_server_ts":
		f.seen |= hasTimestamp
		if _, ok := v.Int(); !ok {
			return wrongType(name, "an integer")
		}
	case "room_id":
		return f.text(hasRoomID, name, v, &f.roomID)
	case "sender":
		return f.text(hasSender, name, v, &f.sender)
	case "signatures":
		return f.signatures(v)
	case "state_key":
		return f.text(hasStateKey, name, v, &f.stateKey)
	case "type":
		return f.text(hasType, name, v, &f.typ)
	}
	return nil
}

func wrongType(name, want string) error {
	return fault.New(fault.BadJSON, "The event's %s must be %s", name, want)
}

func (f *format) text(bit fieldSet, name string, v Value, to *string) error {
	s, ok := v.Str()
	if !ok {
		return wrongType(name, "a string")
	}
	if len(s) > MaxIDSize {
		return fault.New(fault.TooLarge, "The event's %s is longer than %d bytes", name, MaxIDSize)
	}
	f.seen |= bit
	*to = s
	return nil
}

func (f *format) object(bit fieldSet, name string, v Value) error {
	if !v.IsObject() {
		return wrongType(name, "an object")
	}
	f.seen |= bit
	return nil
}

func (f *format) depth(v Value) error {
	depth, ok := v.Int()
	if !ok || depth < 0 || depth > f.rules.MaxDepth() {
		return wrongType("depth", "an integer within range")
	}
	f.seen |= hasDepth
	return nil
}

func (f *format) hashes(v Value) error {
	hash, ok := v.Get("sha256").Str()
	if !ok {
		return wrongType("hashes", "an object with a string sha256")
	}
	f.seen |= hasHashes
	f.hash = hash
	return nil
}

func (f *format) signatures(v Value) error {
	if !v.IsObject() {
		return wrongType("signatures", "an object")
	}
	for _, keys := range v.Members() {
		if !keys.IsObject() {
			return wrongType("signatures", "an object of objects")
		}
		for _, signature := range keys.Members() {
			if !signature.IsString() {
				return wrongType("signatures", "an object of objects of strings")
			}
		}
	}
	f.seen |= hasSignatures
	return nil
}

// refs checks prev_events or auth_events: event IDs, in room versions 1 and 2
// each in a pair with the event's hashes.
func (f *format) refs(bit fieldSet, name string, list Value, most int) error {
	if !list.IsArray() {
		return wrongType(name, "an array")
	}
	count := 0
	for ref := range list.Elements() {
		if count++; count > most {
			return fault.New(fault.BadJSON, "The event has more than %d %s", most, name)
		}
		if f.rules.EventIDInBody {
			var ok bool
			if ref, ok = firstOfPair(ref); !ok {
				return wrongType(name, "an array of pairs of an event ID and an object of hashes")
			}
		}
		event, ok := ref.Str()
		if !ok {
			return wrongType(name, "an array of event IDs")
		}
		if !ValidEventID(id.EventID(event)) {
			return fault.New(fault.InvalidParam, "The event's %s hold an invalid event ID", name)
		}
	}
	f.seen |= bit
	return nil
}

func firstOfPair(pair Value) (first Value, ok bool) {
	n := 0
	for v := range pair.Elements() {
		switch n++; n {
		case 1:
			first = v
		case 2:
			ok = v.IsObject()
		default:
			return nil, false
		}
	}
	return first, ok
}

// identifiers checks the grammar of what names something. A NUL in a type or a
// state key is refused too: no identifier has one, and databases keep no text
// with one.
//
// Spec: appendices/#identifier-grammar
func (f *format) identifiers() error {
	if !ValidUserID(id.UserID(f.sender)) {
		return invalid("sender")
	}
	if f.seen&hasRoomID != 0 && !f.rules.ValidRoomID(id.RoomID(f.roomID)) {
		return invalid("room_id")
	}
	if f.rules.EventIDInBody && !validWithDomain(f.eventID, '$') {
		return invalid("event_id")
	}
	if strings.IndexByte(f.typ, 0) >= 0 || strings.IndexByte(f.stateKey, 0) >= 0 {
		return fault.New(fault.BadJSON, "The event's type and state_key must not hold NUL")
	}
	return nil
}

func invalid(name string) error {
	return fault.New(fault.InvalidParam, "The event's %s is not valid", name)
}
