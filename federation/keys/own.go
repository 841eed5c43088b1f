package keys

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

const (
	defaultValidity = 24 * time.Hour
	// minValidity is what a published document is good for at the least.
	// Spec: server-server-api/#get_matrixkeyv2server
	minValidity = time.Hour
)

// OwnKey is one of our signing keys and when it signs. To rotate without a
// gap, add the new key with a From at least one validity period ahead: it is
// published at once, so peers know it before they see it used. Give the old
// key the same time as Until: from then on it is published as an old key, good
// for the events that it signed.
type OwnKey struct {
	ID id.KeyID
	// Private signs; nil for an old key of which only Public was kept.
	Private ed25519.PrivateKey
	// Public verifies; derived from Private when nil.
	Public ed25519.PublicKey
	// From is when the key begins to sign; zero is always.
	From time.Time
	// Until is when the key expires; zero is never.
	Until time.Time
}

// OwnOptions describe this server to NewOwn.
type OwnOptions struct {
	// Name is our server name.
	Name string
	// Aliases are other server names that requests to us may be meant for.
	Aliases []string
	// Keys are our keys, past, present and future.
	Keys []OwnKey
	// Validity is how long peers may rely on the published document; a day
	// when zero, and never less than an hour.
	Validity time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Own is this server as its peers know it: its name and its signing keys.
type Own struct {
	name     string
	aliases  []string
	keys     []OwnKey // by From
	validity time.Duration
	now      func() time.Time

	mu       sync.Mutex
	document json.RawMessage // guarded by mu
	renewAt  time.Time       // guarded by mu
}

// NewOwn checks the keys: at every time from now on, one of them must sign.
func NewOwn(o OwnOptions) (*Own, error) {
	own := &Own{name: o.Name, aliases: o.Aliases, keys: slices.Clone(o.Keys), validity: o.Validity, now: o.Now}
	if own.now == nil {
		own.now = time.Now
	}
	if own.validity == 0 {
		own.validity = defaultValidity
	}
	own.validity = max(own.validity, minValidity)
	if !event.ValidServerName(o.Name) {
		return nil, fmt.Errorf("keys: %q is not a server name", o.Name)
	}
	if err := own.checkKeys(); err != nil {
		return nil, err
	}
	_, err := own.Document()
	return own, err
}

func (o *Own) checkKeys() error {
	seen := map[id.KeyID]bool{}
	for i := range o.keys {
		k := &o.keys[i]
		if !validKeyID(k.ID) || seen[k.ID] {
			return fmt.Errorf("keys: %q is not the ID of an ed25519 key, or is used twice", k.ID)
		}
		seen[k.ID] = true
		if k.Private != nil {
			if len(k.Private) != ed25519.PrivateKeySize {
				return fmt.Errorf("keys: %s is no ed25519 private key", k.ID)
			}
			k.Public = k.Private.Public().(ed25519.PublicKey)
		}
		if len(k.Public) != ed25519.PublicKeySize {
			return fmt.Errorf("keys: %s is no ed25519 public key", k.ID)
		}
	}
	slices.SortStableFunc(o.keys, func(a, b OwnKey) int { return a.From.Compare(b.From) })
	now := o.now()
	if _, ok := o.signerAt(now); !ok {
		return fmt.Errorf("keys: no signing key of %s is in force", o.name)
	}
	for _, k := range o.keys {
		if _, ok := o.signerAt(k.Until); !ok && k.Until.After(now) {
			return fmt.Errorf("keys: no signing key of %s is in force when %s expires", o.name, k.ID)
		}
	}
	return nil
}

// Name is our server name.
func (o *Own) Name() string { return o.name }

// Is reports whether server is us, by our name or an alias.
func (o *Own) Is(server string) bool { return server == o.name || slices.Contains(o.aliases, server) }

// Signer is the key to sign with now.
func (o *Own) Signer() event.Signer {
	k, _ := o.signerAt(o.now())
	return event.Signer{Server: o.name, KeyID: k.ID, Key: k.Private}
}

// signerAt is the latest key that signs at a time.
func (o *Own) signerAt(at time.Time) (key OwnKey, ok bool) {
	for _, k := range o.keys {
		if k.Private != nil && !k.From.After(at) && !k.expiredAt(at) {
			key, ok = k, true
		}
	}
	return key, ok
}

func (k OwnKey) expiredAt(at time.Time) bool { return !k.Until.IsZero() && !at.Before(k.Until) }

// lookup is one of our keys as a peer would know it now.
func (o *Own) lookup(key id.KeyID) (Key, bool) {
	now := o.now()
	for _, k := range o.keys {
		if k.ID == key {
			return Key{Server: o.name, ID: k.ID, Public: k.Public, ValidUntil: math.MaxInt64, Expired: k.expiredTS(now)}, true
		}
	}
	return Key{}, false
}

// expiredTS is when the key expired, zero for a current one. What nobody can
// sign with any more is an old key, also when nobody wrote down since when.
func (k OwnKey) expiredTS(now time.Time) int64 {
	switch {
	case k.expiredAt(now):
		return k.Until.UnixMilli()
	case k.Private == nil:
		return now.UnixMilli()
	}
	return 0
}

// Document is our key document, signed by every key that is current. It is
// made again when a quarter of its validity is gone or a key expires.
//
// Spec: server-server-api/#get_matrixkeyv2server
func (o *Own) Document() (json.RawMessage, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if o.document != nil && now.Before(o.renewAt) {
		return o.document, nil
	}
	doc, renewAt, err := o.makeDocument(now)
	if err != nil {
		return nil, fmt.Errorf("make key document: %w", err)
	}
	o.document, o.renewAt = doc, renewAt
	return doc, nil
}

type publishedKey struct {
	Key     string `json:"key"`
	Expired int64  `json:"expired_ts,omitempty"`
}

func (o *Own) makeDocument(now time.Time) (doc []byte, renewAt time.Time, err error) {
	validUntil, renewAt := now.Add(o.validity), now.Add(o.validity/4)
	current, old := map[id.KeyID]publishedKey{}, map[id.KeyID]publishedKey{}
	var signers []event.Signer
	for _, k := range o.keys {
		published := publishedKey{Key: base64.RawStdEncoding.EncodeToString(k.Public), Expired: k.expiredTS(now)}
		if published.Expired != 0 {
			old[k.ID] = published
			continue
		}
		if !k.Until.IsZero() {
			validUntil, renewAt = earlier(validUntil, k.Until), earlier(renewAt, k.Until)
		}
		current[k.ID] = published
		signers = append(signers, event.Signer{Server: o.name, KeyID: k.ID, Key: k.Private})
	}
	if least := now.Add(minValidity); validUntil.Before(least) {
		validUntil = least
	}
	doc, err = json.Marshal(map[string]any{
		"server_name": o.name, "valid_until_ts": validUntil.UnixMilli(), "verify_keys": current, "old_verify_keys": old,
	})
	for _, s := range signers {
		if err == nil {
			doc, err = event.SignJSON(doc, s)
		}
	}
	return doc, renewAt, err
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
