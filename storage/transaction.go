package storage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"maunium.net/go/mautrix/id"
)

// TransactionKey identifies a client's request, so that repeating it makes one
// event.
//
// Spec: client-server-api/#transaction-identifiers
type TransactionKey string

// NewTransactionKey is the key of a request to a path, which ends in the
// client's transaction ID, by a device.
func NewTransactionKey(user id.UserID, device id.DeviceID, method, path string) TransactionKey {
	h := sha256.New()
	for _, part := range []string{string(user), string(device), method, path} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return TransactionKey(base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18]))
}

// Transaction notes which event a request made. The commit expects Once.
type Transaction struct {
	Key     TransactionKey
	EventID id.EventID
}

const (
	insertTransaction = `INSERT INTO client_txn (key, event_id, at) VALUES ($1, $2, $3)`
	selectTransaction = `SELECT event_id FROM client_txn WHERE key = $1`
)

func (t *Transaction) write(w *writer) {
	w.exec(insertTransaction, string(t.Key), string(t.EventID), now())
}

// Transaction finds the event that a request made before; empty if none.
func (v *View) Transaction(ctx context.Context, key TransactionKey) (made id.EventID, err error) {
	_, err = one(ctx, v.q, selectTransaction, []any{string(key)}, (*string)(&made))
	return made, err
}
