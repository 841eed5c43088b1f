// Package render writes events as clients see them: with what this server adds
// in unsigned.
//
// Spec: client-server-api/#room-event-format
package render

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Extra is what unsigned says of an event.
type Extra struct {
	// Age is how long ago it was sent, in milliseconds.
	Age int64
	// Replaced is the state event that it replaced; nil is none.
	Replaced *storage.Event
	// HidePrevious leaves prev_content out: the viewer may not see Replaced.
	HidePrevious bool
	// Because is the redaction that was applied to it; nil is none.
	Because *storage.Event
	// Transaction is the transaction ID of the viewer's own request.
	Transaction string
	// Membership is the viewer's membership at the event; empty is not said.
	Membership string
	// Relations is the value of m.relations; nil is none.
	Relations json.RawMessage
}

// Append appends an event in the client format.
func Append(dst []byte, e *storage.Event, x *Extra, omitRoom bool) []byte {
	var stack [256]byte
	return e.PDU.AppendClient(dst, event.ClientFields{OmitRoomID: omitRoom, Unsigned: x.append(stack[:0])})
}

func (x *Extra) append(dst []byte) []byte {
	dst = append(dst, `{"age":`...)
	dst = strconv.AppendInt(dst, x.Age, 10)
	if x.Membership != "" {
		dst = append(dst, `,"membership":`...)
		dst = AppendString(dst, x.Membership)
	}
	if x.Replaced != nil {
		if !x.HidePrevious {
			dst = append(dst, `,"prev_content":`...)
			dst = append(dst, x.Replaced.PDU.Content()...)
		}
		dst = append(dst, `,"replaces_state":`...)
		dst = AppendString(dst, string(x.Replaced.PDU.ID()))
	}
	if x.Because != nil {
		dst = append(dst, `,"redacted_because":`...)
		dst = x.Because.PDU.AppendClient(dst, event.ClientFields{})
	}
	if x.Transaction != "" {
		dst = append(dst, `,"transaction_id":`...)
		dst = AppendString(dst, x.Transaction)
	}
	if x.Relations != nil {
		dst = append(dst, `,"m.relations":`...)
		dst = append(dst, x.Relations...)
	}
	return append(dst, '}')
}

// AppendString appends a JSON string.
func AppendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// Renderer renders events for one viewer at a time, with all that unsigned can
// say.
type Renderer struct {
	// Rooms is where events are read.
	Rooms *roomserver.Server
	// Transactions knows whose requests made which events; nil knows none.
	Transactions *Transactions
	// Now is the clock.
	Now func() time.Time
}

// For is whom events are rendered for.
type For struct {
	roomserver.Viewer
	// Device is the viewer's device.
	Device id.DeviceID
	// OmitRoom leaves room_id out, as sync does.
	OmitRoom bool
	// Relations are the bundled aggregations by event; nil is none.
	Relations map[event.NID]json.RawMessage
}

// AppendList appends a JSON array of events of one room.
func (r *Renderer) AppendList(ctx context.Context, dst []byte, info *storage.RoomInfo, to *For, events []*storage.Event) ([]byte, error) {
	extras, err := r.extras(ctx, info, to, events)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = Append(dst, e, &extras[i], to.OmitRoom)
	}
	return append(dst, ']'), nil
}

// AppendOne appends one event.
func (r *Renderer) AppendOne(ctx context.Context, dst []byte, info *storage.RoomInfo, to *For, e *storage.Event) ([]byte, error) {
	extras, err := r.extras(ctx, info, to, []*storage.Event{e})
	if err != nil {
		return nil, err
	}
	return Append(dst, e, &extras[0], to.OmitRoom), nil
}

func (r *Renderer) extras(ctx context.Context, info *storage.RoomInfo, to *For, events []*storage.Event) ([]Extra, error) {
	memberships, err := r.Rooms.Memberships(ctx, info, to.User, events)
	if err != nil {
		return nil, err
	}
	out := make([]Extra, len(events))
	now := r.Now().UnixMilli()
	var others []event.NID
	for i, e := range events {
		out[i] = Extra{
			Age: now - e.PDU.Timestamp(), Membership: memberships[i], Relations: to.Relations[e.NID],
			Transaction: r.Transactions.Of(e.PDU.ID(), to.User, to.Device),
		}
		if e.Replaces != 0 {
			others = append(others, e.Replaces)
		}
		if e.RedactedBy != 0 {
			others = append(others, e.RedactedBy)
		}
	}
	if others == nil {
		return out, nil
	}
	return out, r.addOthers(ctx, info, to, events, out, others)
}

// addOthers fills in what other events say of events.
func (r *Renderer) addOthers(ctx context.Context, info *storage.RoomInfo, to *For, events []*storage.Event, out []Extra, others []event.NID) error {
	found, err := r.Rooms.Events(ctx, info, others)
	if err != nil {
		return err
	}
	visible, err := r.Rooms.VisibleTo(ctx, info, to.Viewer, found)
	if err != nil {
		return err
	}
	next := 0
	for i, e := range events {
		if e.Replaces != 0 {
			out[i].Replaced, out[i].HidePrevious = found[next], !visible[next]
			next++
		}
		if e.RedactedBy != 0 {
			out[i].Because = found[next]
			next++
		}
	}
	return nil
}
