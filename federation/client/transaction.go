package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// Limits of a transaction. Spec: server-server-api/#transactions
const (
	MaxPDUs = 50
	MaxEDUs = 100

	transactionLimit = 1 << 20
)

// Transaction is what one server pushes to another.
type Transaction struct {
	// ID is the transaction's ID; the same again for a retry.
	ID string
	// Timestamp is when it was first made, in milliseconds since 1970.
	Timestamp int64
	// PDUs are events, canonical as they are stored; 50 at most.
	PDUs []json.RawMessage
	// EDUs are ephemeral units; 100 at most.
	EDUs []json.RawMessage
}

// Send pushes a transaction. It answers what the peer said about the events
// that it refused; about the others it has nothing to say.
//
// Spec: server-server-api/#put_matrixfederationv1sendtxnid
func (c *Client) Send(ctx context.Context, server string, t Transaction) (refused map[id.EventID]string, err error) {
	body, err := t.body(c.o.Signer().Server)
	if err != nil {
		return nil, err
	}
	var answer struct {
		PDUs map[id.EventID]struct {
			Error string `json:"error"`
		} `json:"pdus"`
	}
	err = c.do(ctx, call{
		server: server, method: http.MethodPut, body: body, limit: transactionLimit,
		uri: path(federationV1+"/send", t.ID),
	}, &answer)
	if err != nil {
		return nil, err
	}
	for event, result := range answer.PDUs {
		if result.Error != "" {
			if refused == nil {
				refused = map[id.EventID]string{}
			}
			refused[event] = printable(result.Error, maxErrorText)
		}
	}
	return refused, nil
}

// body is the transaction in canonical JSON. The events are that already.
func (t *Transaction) body(origin string) ([]byte, error) {
	if len(t.PDUs) > MaxPDUs || len(t.EDUs) > MaxEDUs {
		return nil, fmt.Errorf("client: a transaction of %d PDUs and %d EDUs is too large", len(t.PDUs), len(t.EDUs))
	}
	size := 128 + len(origin)
	for _, pdu := range t.PDUs {
		size += len(pdu) + 1
	}
	for _, edu := range t.EDUs {
		size += len(edu) + 1
	}
	var err error
	body := append(make([]byte, 0, size), `{"edus":[`...)
	for i, edu := range t.EDUs {
		if i > 0 {
			body = append(body, ',')
		}
		if body, err = event.AppendCanonical(body, edu); err != nil {
			return nil, fmt.Errorf("client: EDU %d of transaction %s: %w", i, t.ID, err)
		}
	}
	body = append(body, `],"origin":"`...)
	body = append(body, origin...)
	body = append(body, `","origin_server_ts":`...)
	body = strconv.AppendInt(body, t.Timestamp, 10)
	body = append(body, `,"pdus":`...)
	return append(appendArray(body, t.PDUs), '}'), nil
}
