package syncapi

import (
	"context"
	"strconv"

	"entente/clientapi/render"
	"entente/roomserver/event"
	"entente/storage"
)

// shape is how an event looks to everyone who gets it from sync, but for its
// age, the viewer's membership and the transaction ID.
type shape struct {
	head []byte // up to the age
	tail []byte // the rest of unsigned
}

// shapeOf writes an event once. Events that a member gets while they are in the
// room replace states that they could see.
func (s *Server) shapeOf(ctx context.Context, info *storage.RoomInfo, e *entry) (*shape, error) {
	if got := e.shape.Load(); got != nil {
		return got, nil
	}
	head := e.PDU.AppendClient(make([]byte, 0, len(e.PDU.JSON())), event.ClientFields{OmitRoomID: true})
	made := &shape{head: append(head[:len(head)-1], `,"unsigned":{"age":`...)}
	if e.Replaces != 0 {
		replaced, err := s.rooms.Events(ctx, info, []event.NID{e.Replaces})
		if err != nil {
			return nil, err
		}
		made.tail = append(made.tail, `,"prev_content":`...)
		made.tail = append(made.tail, replaced[0].PDU.Content()...)
		made.tail = append(made.tail, `,"replaces_state":`...)
		made.tail = appendString(made.tail, string(replaced[0].PDU.ID()))
	}
	if e.RedactedBy != 0 {
		redaction, err := s.rooms.Events(ctx, info, []event.NID{e.RedactedBy})
		if err != nil {
			return nil, err
		}
		made.tail = append(made.tail, `,"redacted_because":`...)
		made.tail = redaction[0].PDU.AppendClient(made.tail, event.ClientFields{})
	}
	e.shape.Store(made)
	return made, nil
}

// append appends the event for a member.
func (h *shape) append(dst []byte, age int64, transaction string) []byte {
	dst = append(dst, h.head...)
	dst = strconv.AppendInt(dst, age, 10)
	dst = append(dst, `,"membership":"join"`...)
	dst = append(dst, h.tail...)
	if transaction != "" {
		dst = append(dst, `,"transaction_id":`...)
		dst = appendString(dst, transaction)
	}
	return append(dst, "}}"...)
}

func appendString(dst []byte, s string) []byte { return render.AppendString(dst, s) }
