package event

import (
	"encoding/json"
	"strconv"
)

// ClientFields say how an event is shown to a client.
type ClientFields struct {
	// OmitRoomID leaves room_id out, as sync does.
	OmitRoomID bool
	// Unsigned is the unsigned object; nothing is written when it is empty.
	Unsigned json.RawMessage
}

// AppendClient appends the event in the format that clients see. A redaction
// names its target both beside content and in it, whatever the room version.
//
// Spec: client-server-api/#room-event-format,
// rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
func (p *PDU) AppendClient(dst []byte, fields ClientFields) []byte {
	redacts := string(p.Redacts())
	dst = append(dst, `{"content":`...)
	if redacts != "" && !p.rules.UpdatedRedaction {
		dst = setMember(dst, p.Content(), "redacts", appendString(nil, redacts))
	} else {
		dst = append(dst, p.Content()...)
	}
	dst = append(dst, `,"event_id":`...)
	dst = appendString(dst, string(p.id))
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, p.timestamp, 10)
	dst = append(dst, ',')
	if redacts != "" {
		dst = appendField(dst, "redacts", redacts)
	}
	if !fields.OmitRoomID {
		dst = appendField(dst, "room_id", string(p.roomID))
	}
	dst = p.appendWho(dst)
	if len(fields.Unsigned) > 0 {
		dst = append(dst, `,"unsigned":`...)
		dst = append(dst, fields.Unsigned...)
	}
	return append(dst, '}')
}

// AppendStripped appends a state event as stripped state.
//
// Spec: client-server-api/#stripped-state
func (p *PDU) AppendStripped(dst []byte) []byte {
	dst = append(dst, `{"content":`...)
	dst = append(dst, p.Content()...)
	return append(p.appendWho(append(dst, ',')), '}')
}

// appendWho appends sender, state_key and type, the last members of an event.
func (p *PDU) appendWho(dst []byte) []byte {
	dst = appendField(dst, "sender", string(p.sender))
	if p.isState {
		dst = appendField(dst, "state_key", p.stateKey)
	}
	dst = append(dst, `"type":`...)
	return appendString(dst, p.typ)
}
