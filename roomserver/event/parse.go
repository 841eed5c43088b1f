package event

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

// maxRawSize bounds what Parse looks at: an event with all its characters
// escaped, and unsigned beside it.
const maxRawSize = 64 * MaxSize

// scratchSize is the stack that hashing takes for an ordinary event.
const scratchSize = 2048

// Parse reads an event that a stranger sent: checks its format, brings it to
// canonical form without unsigned, computes its ID and checks its content
// hash. An event whose hash does not match comes back redacted. Signatures are
// for the caller to check, with SigningServers, Signatures and SignedBytes.
//
// Room versions 1 to 5 admit any number, later ones only what canonical JSON
// writes. An event ID that comes with an event of version 3 or later is
// ignored.
//
// Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
func Parse(rules *Rules, raw []byte) (*PDU, error) {
	if len(raw) > maxRawSize {
		return nil, tooLarge()
	}
	var stack [24]member
	e := encoder{
		in: raw, out: make([]byte, 0, len(raw)), members: stack[:0], numbers: rules.numbers(),
		dropUnsigned: true, dropEventID: !rules.EventIDInBody,
	}
	if err := e.objectDocument(); err != nil {
		return nil, err
	}
	if len(e.out) > MaxSize {
		return nil, tooLarge()
	}
	f := format{rules: rules}
	if err := f.check(e.out, e.members); err != nil {
		return nil, err
	}
	p := &PDU{rules: rules, raw: clip(e.out)}
	if sum := contentHash(e.out, e.members); !equalHash(f.hash, sum) {
		p.raw = appendRedacted(make([]byte, 0, len(e.out)), rules, e.out, withSignatures)
		p.redacted = true
	}
	if rules.EventIDInBody {
		p.id = id.EventID(strings.Clone(f.eventID))
	} else {
		p.id = rules.hashID(referenceHash(rules, p.raw))
	}
	p.index()
	return p, nil
}

func tooLarge() error {
	return fault.New(fault.TooLarge, "The event is larger than %d bytes", MaxSize)
}

func (r *Rules) numbers() numberRule {
	if r.StrictCanonicalJSON {
		return exactIntegers
	}
	return anyNumber
}

// contentHash is the hash of the canonical event b without hashes and
// signatures.
//
// Spec: server-server-api/#calculating-the-content-hash-for-an-event
func contentHash(b []byte, members []member) [sha256.Size]byte {
	var stack [scratchSize]byte
	buf := append(stack[:0], '{')
	for _, m := range members {
		if key := m.key(b); string(key) == "hashes" || string(key) == "signatures" {
			continue
		}
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		buf = append(buf, m.all(b)...)
	}
	return sha256.Sum256(append(buf, '}'))
}

// equalHash compares a hash in unpadded base64, possibly padded, with sum.
func equalHash(encoded string, sum [sha256.Size]byte) bool {
	encoded = strings.TrimRight(encoded, "=")
	var got [sha256.Size + 1]byte
	if len(encoded) != base64.RawStdEncoding.EncodedLen(sha256.Size) {
		return false
	}
	n, err := base64.RawStdEncoding.Decode(got[:], []byte(encoded))
	return err == nil && n == sha256.Size && [sha256.Size]byte(got[:n]) == sum
}

// referenceHash is the hash that identifies the canonical event in raw.
//
// Spec: server-server-api/#calculating-the-reference-hash-for-an-event
func referenceHash(rules *Rules, raw []byte) [sha256.Size]byte {
	var stack [scratchSize]byte
	return sha256.Sum256(appendRedacted(stack[:0], rules, raw, withoutSignatures))
}

// hashID is the event ID that a reference hash makes.
//
// Spec: rooms/v3/#event-ids, rooms/v4/#event-ids
func (r *Rules) hashID(sum [sha256.Size]byte) id.EventID {
	encoding := base64.RawStdEncoding
	if r.URLSafeEventID {
		encoding = base64.RawURLEncoding
	}
	var buf [hashIDLength]byte
	buf[0] = '$'
	encoding.Encode(buf[1:], sum[:])
	return id.EventID(buf[:])
}
