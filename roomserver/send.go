package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Sent is what a send made.
type Sent struct {
	EventID id.EventID
	// Pos is when; zero when the event was there already.
	Pos storage.Position
}

// SendRequest asks to send an event into a room.
type SendRequest struct {
	Room id.RoomID
	Draft
	// Transaction makes repeating the request harmless; empty is none.
	Transaction storage.TransactionKey
	// Device and TransactionID are what the sender's device called the request.
	Device        id.DeviceID
	TransactionID string
}

// ClientRequest is the request by which a device of a local user made an event.
type ClientRequest struct {
	EventID id.EventID
	User    id.UserID
	Device  id.DeviceID
	// ID is the transaction ID.
	ID string
}

// Send sends a message or state event of a local user.
//
// Spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid,
// client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey,
// client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
func (s *Server) Send(ctx context.Context, req SendRequest) (Sent, error) {
	if err := checkDraft(req.Draft); err != nil {
		return Sent{}, err
	}
	var sent Sent
	err := s.with(ctx, req.Room, func(r *room) error {
		done, err := s.update(ctx, r, func(p *proposal) error {
			return p.send(req)
		})
		var duplicate *storage.Duplicate
		switch {
		case errors.As(err, &duplicate):
			sent = Sent{EventID: duplicate.EventID}
			return nil
		case err != nil:
			sent.EventID, err = s.madeBefore(ctx, req, err)
			return err
		}
		sent = done.sent()
		return nil
	})
	return sent, err
}

// madeBefore answers a request that failed: what it made, if it is a repetition
// of one that did not. The room may have changed since.
func (s *Server) madeBefore(ctx context.Context, req SendRequest, failed error) (id.EventID, error) {
	if req.Transaction == "" || ctx.Err() != nil {
		return "", failed
	}
	made, err := s.db.Latest().Transaction(ctx, req.Transaction)
	if err != nil || made == "" {
		return "", failed
	}
	return made, nil
}

func (c *Committed) sent() Sent {
	if len(c.Events) == 0 {
		return Sent{EventID: c.existing}
	}
	e := c.Events[len(c.Events)-1]
	return Sent{EventID: e.PDU.ID(), Pos: c.Last}
}

// send appends the event, unless it would set a state to what it is.
func (p *proposal) send(req SendRequest) error {
	if err := p.mustBeInRoom(req.Sender); err != nil {
		return err
	}
	if req.Type == typeRedaction {
		if err := p.redactable(req.Draft); err != nil {
			return err
		}
	}
	if req.StateKey != nil {
		same, err := p.unchanged(req.Draft)
		if err != nil || same {
			return err
		}
	}
	e, err := p.append(req.Draft)
	if err != nil {
		return err
	}
	if req.Transaction != "" {
		p.once = &storage.Transaction{Key: req.Transaction, EventID: e.PDU.ID()}
		p.done.Request = &ClientRequest{EventID: e.PDU.ID(), User: req.Sender, Device: req.Device, ID: req.TransactionID}
	}
	return nil
}

// mustBeInRoom answers users who are not in the room without telling them more
// than that.
func (p *proposal) mustBeInRoom(user id.UserID) error {
	e, err := p.room.eventAt(p.ctx, p.head.Root, event.Key{Type: typeMember, StateKey: string(user)})
	if err != nil {
		return err
	}
	if e == nil || e.PDU.Membership() != "join" {
		return NotInRoom(user)
	}
	return nil
}

// redactable checks that a redaction of ours would be applied: its target is
// known to the room, and the sender may redact it.
func (p *proposal) redactable(d Draft) error {
	if d.Redacts == "" {
		return fault.New(fault.MissingParam, "The redaction names no event")
	}
	found, err := p.server.eventsByID(p.ctx, p.room.info, []id.EventID{d.Redacts})
	if err != nil {
		return err
	}
	target := found[d.Redacts]
	if target == nil || target.Status == storage.Rejected {
		return fault.New(fault.NotFound, "There is no such event in this room")
	}
	if target.PDU.Type() == typeCreate {
		return fault.New(fault.Forbidden, "The create event cannot be redacted")
	}
	levels, err := p.levels()
	if err != nil {
		return err
	}
	// Servers take a redaction from anyone of the author's server: that it is
	// the author's own, or by someone with the power, is for that server to see.
	// Spec: client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
	if target.PDU.Sender() != d.Sender && levels.UserLevel(d.Sender) < levels.RedactLevel() {
		return fault.New(fault.Forbidden, "You may not redact this event")
	}
	return nil
}

// unchanged reports whether a state is already what the draft would make it;
// the answer is then the event that made it so.
func (p *proposal) unchanged(d Draft) (bool, error) {
	e, err := p.room.eventAt(p.ctx, p.head.Root, event.Key{Type: d.Type, StateKey: *d.StateKey})
	if err != nil || e == nil || e.PDU.Sender() != d.Sender || e.RedactedBy != 0 {
		return false, err
	}
	content, err := event.Canonical(d.Content)
	if err != nil {
		return false, err
	}
	if string(content) != string(e.PDU.Content()) {
		return false, nil
	}
	p.done.existing = e.PDU.ID()
	return true, nil
}

// checkDraft refuses what clients may not send through the general endpoints.
func checkDraft(d Draft) error {
	if d.Type == "" || len(d.Type) > event.MaxIDSize || d.StateKey != nil && len(*d.StateKey) > event.MaxIDSize {
		return fault.New(fault.InvalidParam, "The event type or state key is empty or too long")
	}
	if !event.Value(d.Content).IsObject() {
		return fault.New(fault.BadJSON, "The content of an event is a JSON object")
	}
	if d.Type == typeCreate {
		return fault.New(fault.Forbidden, "A room has one create event, its first")
	}
	if d.Type == typeMember && d.StateKey != nil && !event.ValidUserID(id.UserID(*d.StateKey)) {
		return fault.New(fault.InvalidParam, "The state key of a membership is a user ID")
	}
	return nil
}

// content marshals what the room server itself puts into events.
func content(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("roomserver: content that cannot be JSON: " + err.Error())
	}
	return raw
}
