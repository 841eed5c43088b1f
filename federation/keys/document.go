package keys

import (
	"crypto/ed25519"
	"encoding/json"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

const (
	// MaxDocument is how long a key document may be.
	MaxDocument = 64 << 10
	// maxDocumentKeys bounds the keys of one document.
	maxDocumentKeys = 64
	// maxTrust is how long a key is relied on without asking again, whatever
	// its document says. Spec: rooms/v5/#signing-key-validity-period
	maxTrust = 7 * 24 * time.Hour
)

// Key is one key of a peer.
type Key struct {
	Server string
	ID     id.KeyID
	Public ed25519.PublicKey
	// ValidUntil is the time, in milliseconds since 1970, until which the key
	// was known to be current: what the document said, or a week after it was
	// fetched if that is earlier.
	ValidUntil int64
	// Expired is when the server stopped using the key, in milliseconds since
	// 1970; zero for a current key.
	Expired int64
	// Fetched is when we last saw the key in a document, in milliseconds.
	Fetched int64
	// Document is that document, as the server signed it.
	Document json.RawMessage
}

// use is what a signature is on.
type use int

const (
	forRequest      use = iota // a request, now
	forEvent                   // an event or object of its own time
	forLenientEvent            // an event of a room version that ignores valid_until_ts
)

// good reports whether the key's signature counts on something of time at.
//
// Spec: server-server-api/#validating-hashes-and-signatures-on-received-events,
// rooms/v5/#signing-key-validity-period
func (k *Key) good(at int64, u use) bool {
	if k.Expired != 0 {
		return u != forRequest && at <= k.Expired
	}
	return u == forLenientEvent || at <= k.ValidUntil
}

// document is a key document as a peer publishes it.
type document struct {
	ServerName    string                     `json:"server_name"`
	VerifyKeys    map[id.KeyID]publishedKey  `json:"verify_keys"`
	OldVerifyKeys map[id.KeyID]publishedKey  `json:"old_verify_keys"`
	ValidUntil    int64                      `json:"valid_until_ts"`
	Signatures    map[string]json.RawMessage `json:"signatures"`
}

// ParseDocument reads the key document that server published, fetched at now.
// It must be signed by at least one of its current keys, and by no current key
// wrongly. Keys of algorithms that we do not know are left out.
//
// Spec: server-server-api/#publishing-keys
func ParseDocument(raw []byte, server string, now time.Time) ([]Key, error) {
	if len(raw) > MaxDocument {
		return nil, fault.New(fault.TooLarge, "the key document of %s is too long", server)
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fault.Wrap(err, fault.BadJSON, "the key document of %s is malformed", server)
	}
	if doc.ServerName != server {
		return nil, fault.New(fault.Forbidden, "the key document of %s is of %q", server, doc.ServerName)
	}
	if len(doc.VerifyKeys)+len(doc.OldVerifyKeys) > maxDocumentKeys {
		return nil, fault.New(fault.TooLarge, "the key document of %s has too many keys", server)
	}
	kept := Key{
		Server: server, Fetched: now.UnixMilli(), Document: raw,
		ValidUntil: max(0, min(doc.ValidUntil, now.Add(maxTrust).UnixMilli())),
	}
	out, err := appendKeys(nil, kept, doc.VerifyKeys, false)
	if err != nil {
		return nil, err
	}
	if err := checkSelfSigned(raw, &doc, out); err != nil {
		return nil, err
	}
	for keyID, k := range doc.OldVerifyKeys {
		if _, current := doc.VerifyKeys[keyID]; current || k.Expired <= 0 {
			delete(doc.OldVerifyKeys, keyID)
		}
	}
	return appendKeys(out, kept, doc.OldVerifyKeys, true)
}

func appendKeys(out []Key, kept Key, published map[id.KeyID]publishedKey, old bool) ([]Key, error) {
	for keyID, k := range published {
		if !validKeyID(keyID) {
			continue
		}
		public, err := decodeBase64(k.Key)
		if err != nil || len(public) != ed25519.PublicKeySize {
			return nil, fault.New(fault.BadJSON, "key %s of %s is not an ed25519 key", keyID, kept.Server)
		}
		key := kept
		key.ID, key.Public = keyID, public
		if old {
			key.ValidUntil, key.Expired = 0, k.Expired
		}
		out = append(out, key)
	}
	return out, nil
}

func checkSelfSigned(raw []byte, doc *document, current []Key) error {
	var signatures map[id.KeyID]json.RawMessage
	if err := json.Unmarshal(doc.Signatures[doc.ServerName], &signatures); err != nil {
		return fault.Wrap(err, fault.Forbidden, "the key document of %s is not signed", doc.ServerName)
	}
	signed := false
	for i := range current {
		k := &current[i]
		if _, ok := signatures[k.ID]; !ok {
			continue
		}
		if err := event.VerifyJSON(raw, doc.ServerName, k.ID, k.Public); err != nil {
			return fault.Wrap(err, fault.Forbidden, "the key document of %s has a wrong signature by %s", doc.ServerName, k.ID)
		}
		signed = true
	}
	if !signed {
		return fault.New(fault.Forbidden, "the key document of %s is signed by none of its keys", doc.ServerName)
	}
	return nil
}
