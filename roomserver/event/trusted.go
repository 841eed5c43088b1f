package event

import (
	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

// Trusted reads an event from our own database: raw is what JSON returned
// once, and is neither checked nor hashed again. The event keeps raw, which
// must not change any more.
func Trusted(rules *Rules, eventID id.EventID, raw []byte) (*PDU, error) {
	p := &PDU{rules: rules, id: eventID, raw: raw}
	p.index()
	if p.contentEnd == 0 || p.sender == "" || p.roomID == "" {
		return nil, fault.New(fault.Internal, "Stored event %s is damaged", eventID)
	}
	return p, nil
}

// index finds the fields in raw. It needs the event ID only for the room ID of
// a create event in room version 12.
func (p *PDU) index() {
	var buf [MaxAuthEvents + MaxPrevEvents]id.EventID
	refs := buf[:0]
	b := p.raw
	for m, next, ok := nextMember(b, 1); ok; m, next, ok = nextMember(b, next) {
		value := m.val(b)
		switch string(m.key(b)) {
		case "auth_events":
			refs = p.appendRefs(refs, value)
			p.authCount = uint16(len(refs))
		case "content":
			p.contentStart, p.contentEnd = m.value, m.end
		case "depth":
			p.depth, _ = value.Int()
		case "origin_server_ts":
			p.timestamp, _ = value.Int()
		case "prev_events":
			refs = p.appendRefs(refs, value)
		case "room_id":
			p.roomID = id.RoomID(text(value))
		case "sender":
			p.sender = id.UserID(text(value))
		case "state_key":
			p.stateKey, p.isState = text(value), true
		case "type":
			p.typ = text(value)
		}
	}
	if len(refs) > 0 {
		p.refs = append(make([]id.EventID, 0, len(refs)), refs...)
	}
	if p.rules.RoomIDIsCreateHash && p.typ == typeCreate && len(p.id) > 1 {
		p.roomID = id.RoomID("!" + p.id[1:])
	}
}

// appendRefs appends the event IDs of prev_events or auth_events.
func (p *PDU) appendRefs(refs []id.EventID, list Value) []id.EventID {
	for i := 1; i < len(list) && list[i] != ']'; {
		end := skipValue(list, i)
		if ref := list[i:end]; !p.rules.EventIDInBody {
			refs = append(refs, id.EventID(text(ref)))
		} else if ref.IsArray() {
			refs = append(refs, id.EventID(text(ref[1:skipValue(ref, 1)])))
		}
		i = end + 1
	}
	return refs
}

func text(v Value) string {
	s, _ := v.Str()
	return s
}
