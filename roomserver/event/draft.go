package event

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

// Ref refers to an event. SHA256 is its reference hash in unpadded base64,
// which room versions 1 and 2 write beside the ID and others ignore.
type Ref struct {
	ID     id.EventID
	SHA256 string
}

// Ref is the event as later events of its room refer to it.
func (p *PDU) Ref() Ref {
	if !p.rules.EventIDInBody {
		return Ref{ID: p.id}
	}
	sum := referenceHash(p.rules, p.raw)
	return Ref{ID: p.id, SHA256: base64.RawStdEncoding.EncodeToString(sum[:])}
}

// Draft is an event to be built and signed.
type Draft struct {
	// EventID is for room versions 1 and 2 only, "$random:server"; later
	// versions derive it.
	EventID id.EventID
	// Room is empty for the create event of room version 12.
	Room     id.RoomID
	Type     string
	StateKey *string
	Sender   id.UserID
	// Content is any JSON object that the room version admits.
	Content json.RawMessage
	Prev    []Ref
	Auth    []Ref
	// Depth is lowered to the room version's limit where it exceeds it.
	Depth     int64
	Timestamp int64 // milliseconds since 1970
	// Redacts is the event that an m.room.redaction names. It goes where the
	// room version wants it: beside content, or from version 11 on into it.
	Redacts id.EventID
	// Origin is written when it is not empty; only old peers look for it.
	Origin string
}

// Build makes the event: canonical, hashed, signed and identified.
//
// Spec: server-server-api/#adding-hashes-and-signatures-to-outgoing-events
func (d *Draft) Build(rules *Rules, s Signer) (*PDU, error) {
	if rules.EventIDInBody && !validWithDomain(string(d.EventID), '$') {
		return nil, invalid("event_id")
	}
	if err := d.check(rules); err != nil {
		return nil, err
	}
	var stack [scratchSize]byte
	body, at, err := d.appendBody(stack[:0], rules)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	raw := make([]byte, 0, len(body)+hashesRoom+signatureRoom)
	raw = append(raw, body[:at.hashes]...)
	raw = append(raw, `"hashes":{"sha256":"`...)
	raw = base64.RawStdEncoding.AppendEncode(raw, sum[:])
	raw = append(raw, `"},`...)
	raw = append(raw, body[at.hashes:]...)
	at.signatures += len(raw) - len(body)

	signed := appendRedacted(body[:0], rules, raw, withoutSignatures)
	p := &PDU{rules: rules, id: d.EventID}
	if !rules.EventIDInBody {
		p.id = rules.hashID(sha256.Sum256(signed))
	}
	p.raw = d.insertSignature(raw, at.signatures, s.sign(signed))
	if len(p.raw) > MaxSize {
		return nil, tooLarge()
	}
	p.index()
	return p, nil
}

// hashesRoom is space for the hashes member.
const hashesRoom = 80

// insertSignature puts the signatures member at raw[i], before another.
func (d *Draft) insertSignature(raw []byte, i int, s Signature) []byte {
	var stack [scratchSize]byte
	tail := append(stack[:0], raw[i:]...)
	raw = append(raw[:i], `"signatures":{`...)
	raw = append(appendString(raw, s.Server), ':', '{')
	raw = append(appendString(raw, string(s.KeyID)), ':')
	raw = append(appendString(raw, s.Value), '}', '}', ',')
	return append(raw, tail...)
}

// check checks what the caller filled in, apart from the event ID.
func (d *Draft) check(rules *Rules) error {
	if create := rules.RoomIDIsCreateHash && d.Type == typeCreate; create && d.Room != "" {
		return fault.New(fault.InvalidParam, "The create event must not have a room_id in room version %s", rules.Version)
	} else if !create && !rules.ValidRoomID(d.Room) {
		return invalid("room_id")
	}
	if !ValidUserID(d.Sender) {
		return invalid("sender")
	}
	if d.Type == "" || strings.IndexByte(d.Type, 0) >= 0 {
		return invalid("type")
	}
	if len(d.Type) > MaxIDSize || d.StateKey != nil && len(*d.StateKey) > MaxIDSize {
		return fault.New(fault.TooLarge, "The event's type or state_key is longer than %d bytes", MaxIDSize)
	}
	if d.StateKey != nil && strings.IndexByte(*d.StateKey, 0) >= 0 {
		return invalid("state_key")
	}
	if len(d.Prev) > MaxPrevEvents || len(d.Auth) > MaxAuthEvents {
		return fault.New(fault.InvalidParam, "The event has too many prev_events or auth_events")
	}
	if d.Depth < 0 || rules.StrictCanonicalJSON && (d.Timestamp > MaxInteger || d.Timestamp < -MaxInteger) {
		return invalid("depth or origin_server_ts")
	}
	return nil
}

// places are where hashes and signatures belong in an event without them.
type places struct{ hashes, signatures int }

// appendBody appends the event without hashes and signatures, which is what
// the content hash covers. Its members are written in the order of their keys.
func (d *Draft) appendBody(dst []byte, rules *Rules) (body []byte, at places, err error) {
	dst = append(dst, `{"auth_events":`...)
	dst = appendRefs(dst, d.Auth, rules)
	dst = append(dst, `,"content":`...)
	if dst, err = d.appendContent(dst, rules); err != nil {
		return dst, at, err
	}
	dst = append(dst, `,"depth":`...)
	dst = strconv.AppendInt(dst, min(d.Depth, rules.MaxDepth()), 10)
	dst = append(dst, ',')
	if rules.EventIDInBody && d.EventID != "" {
		dst = appendField(dst, "event_id", string(d.EventID))
	}
	at.hashes = len(dst)
	if d.Origin != "" {
		dst = appendField(dst, "origin", d.Origin)
	}
	dst = append(dst, `"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, d.Timestamp, 10)
	dst = append(dst, `,"prev_events":`...)
	dst = appendRefs(dst, d.Prev, rules)
	dst = append(dst, ',')
	if d.Redacts != "" && d.Type == typeRedaction && !rules.UpdatedRedaction {
		dst = appendField(dst, "redacts", string(d.Redacts))
	}
	if d.Room != "" {
		dst = appendField(dst, "room_id", string(d.Room))
	}
	dst = appendField(dst, "sender", string(d.Sender))
	at.signatures = len(dst)
	if d.StateKey != nil {
		dst = appendField(dst, "state_key", *d.StateKey)
	}
	dst = append(dst, `"type":`...)
	return append(appendString(dst, d.Type), '}'), at, nil
}

func (d *Draft) appendContent(dst []byte, rules *Rules) ([]byte, error) {
	numbers, start := rules.numbers(), len(dst)
	dst, err := appendCanonical(dst, d.Content, numbers)
	if err != nil {
		return dst, err
	}
	if dst[start] != '{' {
		return dst, fault.New(fault.BadJSON, "The event's content must be an object")
	}
	if d.Redacts == "" || d.Type != typeRedaction || !rules.UpdatedRedaction {
		return dst, nil
	}
	content := append([]byte(nil), dst[start:]...)
	return setMember(dst[:start], content, "redacts", appendString(nil, string(d.Redacts))), nil
}

// appendField appends a string member and a comma.
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return append(appendString(dst, value), ',')
}

// appendRefs appends prev_events or auth_events.
//
// Spec: rooms/v1/#event-format, rooms/v3/#event-format
func appendRefs(dst []byte, refs []Ref, rules *Rules) []byte {
	dst = append(dst, '[')
	for i, ref := range refs {
		if i > 0 {
			dst = append(dst, ',')
		}
		if !rules.EventIDInBody {
			dst = appendString(dst, string(ref.ID))
			continue
		}
		dst = appendString(append(dst, '['), string(ref.ID))
		dst = append(dst, `,{"sha256":`...)
		dst = append(appendString(dst, ref.SHA256), `}]`...)
	}
	return append(dst, ']')
}
