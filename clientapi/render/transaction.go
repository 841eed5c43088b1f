package render

import (
	"entente/internal/lru"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Transactions remembers which device's request made an event, for the events
// of late: a client wants to know its own again. It follows the log, so that
// it knows before any reader is woken, if it was made before them.
//
// Spec: client-server-api/#transaction-identifiers
type Transactions struct {
	made *lru.Cache[id.EventID, transaction]
}

type transaction struct {
	user   id.UserID
	device id.DeviceID
	id     string
}

// transactionsKept bounds what is remembered.
const transactionsKept = 20_000

// NewTransactions makes an empty memory that follows db's log.
func NewTransactions(db *storage.DB) *Transactions {
	t := &Transactions{made: lru.New[id.EventID](transactionsKept, func(transaction) int { return 1 })}
	db.Follow(t.follow)
	return t
}

func (t *Transactions) follow(e *storage.LogEntry) {
	for _, c := range e.Commits {
		if done, ok := c.Attachment.(*roomserver.Committed); ok && done.Request != nil {
			r := done.Request
			t.made.Put(r.EventID, transaction{r.User, r.Device, r.ID})
		}
	}
}

// Of is the transaction ID of the request by which a device made an event;
// empty when it did not, or long ago.
func (t *Transactions) Of(made id.EventID, user id.UserID, device id.DeviceID) string {
	if t == nil || device == "" {
		return ""
	}
	if got, ok := t.made.Get(made); ok && got.device == device && got.user == user {
		return got.id
	}
	return ""
}
