package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"maunium.net/go/mautrix/id"
)

// Limits of answers about rooms.
const (
	stateLimit  = 512 << 20
	idsLimit    = 64 << 20
	chainLimit  = 64 << 20
	eventsLimit = 32 << 20
	eventLimit  = 1 << 20
)

// Part says where in an answer an event stood.
type Part int

// The parts of an answer that holds the state of a room.
const (
	StatePart Part = iota
	AuthPart
)

// Receiver gets the events of an answer as they arrive, in whatever order the
// peer sends the parts. It may keep pdu. Its error ends the call, and is the
// call's error.
type Receiver func(part Part, pdu json.RawMessage) error

func (each Receiver) of(part Part) func(json.RawMessage) error {
	return func(pdu json.RawMessage) error { return each(part, pdu) }
}

// stream makes a call whose answer is read as it arrives.
func (c *Client) stream(ctx context.Context, q call, fields map[string]field) error {
	q.long = true
	return c.open(ctx, q, func(body io.Reader) error {
		err := streamObject(body, fields)
		var own *callbackError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return unreachable(q.server, ctx.Err())
		}
		return malformed(q.server, err)
	})
}

// collect streams the arrays of events of one name into a list.
func (c *Client) collect(ctx context.Context, q call, name string) ([]json.RawMessage, error) {
	var out []json.RawMessage
	err := c.stream(ctx, q, map[string]field{name: {required: true, each: func(pdu json.RawMessage) error {
		out = append(out, pdu)
		return nil
	}}})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Event gets one event.
//
// Spec: server-server-api/#get_matrixfederationv1eventeventid
func (c *Client) Event(ctx context.Context, server string, event id.EventID) (json.RawMessage, error) {
	var answer struct {
		PDUs []json.RawMessage `json:"pdus"`
	}
	q := call{server: server, method: http.MethodGet, uri: path(federationV1+"/event", string(event)), limit: eventLimit}
	if err := c.do(ctx, q, &answer); err != nil {
		return nil, err
	}
	if len(answer.PDUs) != 1 {
		return nil, malformed(server, errors.New("not one event"))
	}
	return answer.PDUs[0], nil
}

// State gets the state of the room before the event, and its auth chain.
//
// Spec: server-server-api/#get_matrixfederationv1stateroomid
func (c *Client) State(ctx context.Context, server string, room id.RoomID, event id.EventID, each Receiver) error {
	return c.stream(ctx, call{
		server: server, method: http.MethodGet, limit: stateLimit,
		uri: withQuery(path(federationV1+"/state", string(room)), url.Values{"event_id": {string(event)}}),
	}, map[string]field{
		"pdus":       {required: true, each: each.of(StatePart)},
		"auth_chain": {required: true, each: each.of(AuthPart)},
	})
}

// StateIDs gets the IDs of the state of the room before the event, and of its
// auth chain.
//
// Spec: server-server-api/#get_matrixfederationv1state_idsroomid
func (c *Client) StateIDs(ctx context.Context, server string, room id.RoomID, event id.EventID) (pdus, auth []id.EventID, err error) {
	var answer struct {
		PDUs []id.EventID `json:"pdu_ids"`
		Auth []id.EventID `json:"auth_chain_ids"`
	}
	err = c.do(ctx, call{
		server: server, method: http.MethodGet, limit: idsLimit, long: true,
		uri: withQuery(path(federationV1+"/state_ids", string(room)), url.Values{"event_id": {string(event)}}),
	}, &answer)
	return answer.PDUs, answer.Auth, err
}

// EventAuth gets the whole auth chain of an event.
//
// Spec: server-server-api/#get_matrixfederationv1event_authroomideventid
func (c *Client) EventAuth(ctx context.Context, server string, room id.RoomID, event id.EventID) ([]json.RawMessage, error) {
	return c.collect(ctx, call{
		server: server, method: http.MethodGet, limit: chainLimit,
		uri: path(federationV1+"/event_auth", string(room), string(event)),
	}, "auth_chain")
}

// Backfill gets up to limit events: those named and what came before them.
//
// Spec: server-server-api/#get_matrixfederationv1backfillroomid
func (c *Client) Backfill(ctx context.Context, server string, room id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, event := range from {
		query.Add("v", string(event))
	}
	return c.collect(ctx, call{
		server: server, method: http.MethodGet, limit: eventsLimit,
		uri: withQuery(path(federationV1+"/backfill", string(room)), query),
	}, "pdus")
}

// MissingRequest asks for the events between Latest and Earliest.
type MissingRequest struct {
	// Earliest are events that we have.
	Earliest []id.EventID `json:"earliest_events"`
	// Latest are events whose predecessors are wanted.
	Latest []id.EventID `json:"latest_events"`
	// Limit is how many events to answer at most.
	Limit int `json:"limit"`
	// MinDepth is the least depth of interest.
	MinDepth int64 `json:"min_depth"`
}

// GetMissingEvents gets the events that lead from Earliest to Latest.
//
// Spec: server-server-api/#post_matrixfederationv1get_missing_eventsroomid
func (c *Client) GetMissingEvents(ctx context.Context, server string, room id.RoomID, req MissingRequest) ([]json.RawMessage, error) {
	if req.Earliest == nil {
		req.Earliest = []id.EventID{}
	}
	body, err := canonical(req)
	if err != nil {
		return nil, err
	}
	return c.collect(ctx, call{
		server: server, method: http.MethodPost, body: body, limit: eventsLimit,
		uri: path(federationV1+"/get_missing_events", string(room)),
	}, "events")
}
