package clientapi

import (
	"bytes"
	"context"
	"encoding/json"

	"entente/clientapi/render"
	"entente/internal/web"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// eventAnswer names an event.
type eventAnswer struct {
	EventID id.EventID `json:"event_id"`
}

// AppendJSON implements web.Appender: sends are many.
func (a eventAnswer) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"event_id":`...)
	dst = render.AppendString(dst, string(a.EventID))
	return append(dst, '}'), nil
}

const typeRedaction = "m.room.redaction"

// sendEvent sends a message event.
func (s *Server) sendEvent(ctx context.Context, c *web.Call) (any, error) {
	content, err := c.JSON()
	if err != nil {
		return nil, err
	}
	draft := roomserver.Draft{Type: c.Path("eventType"), Sender: c.User(), Content: bytes.TrimSpace(content)}
	if draft.Type == typeRedaction {
		var target struct {
			Redacts id.EventID `json:"redacts"`
		}
		if err := c.Decode(&target); err != nil {
			return nil, err
		}
		draft.Redacts = target.Redacts
	}
	return s.send(ctx, c, draft)
}

// redactEvent redacts an event.
func (s *Server) redactEvent(ctx context.Context, c *web.Call) (any, error) {
	target, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	content := json.RawMessage("{}")
	if len(bytes.TrimSpace(c.Body())) > 0 {
		if content, err = c.JSON(); err != nil {
			return nil, err
		}
	}
	return s.send(ctx, c, roomserver.Draft{Type: typeRedaction, Sender: c.User(), Content: bytes.TrimSpace(content), Redacts: target})
}

// send sends an event under the transaction ID that ends the path.
//
// Spec: client-server-api/#transaction-identifiers
func (s *Server) send(ctx context.Context, c *web.Call, draft roomserver.Draft) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	r := c.Request()
	sent, err := s.rooms.Send(ctx, roomserver.SendRequest{
		Room: room, Draft: draft, Device: c.Device(), TransactionID: c.Path("txnId"),
		Transaction: storage.NewTransactionKey(c.User(), c.Device(), r.Method, r.URL.EscapedPath()),
	})
	return eventAnswer{sent.EventID}, hideRoom(c, err)
}
