package event

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"iter"
	"slices"
	"strings"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

// Signer is a server's name and the key that it signs with.
type Signer struct {
	Server string
	KeyID  id.KeyID // such as ed25519:abc
	Key    ed25519.PrivateKey
}

// sign is the signature over message.
func (s Signer) sign(message []byte) Signature {
	return Signature{
		Server: s.Server, KeyID: s.KeyID,
		Value: base64.RawStdEncoding.EncodeToString(ed25519.Sign(s.Key, message)),
	}
}

// Signature is one signature of an event or of a signed object.
type Signature struct {
	Server string
	KeyID  id.KeyID
	Value  string // unpadded base64
}

// Verify reports whether the signature is the key's over signed.
func (s Signature) Verify(signed []byte, key ed25519.PublicKey) bool {
	encoded := strings.TrimRight(s.Value, "=")
	var buf [ed25519.SignatureSize + 2]byte
	if len(key) != ed25519.PublicKeySize || len(encoded) != base64.RawStdEncoding.EncodedLen(ed25519.SignatureSize) {
		return false
	}
	n, err := base64.RawStdEncoding.Decode(buf[:], []byte(encoded))
	return err == nil && n == ed25519.SignatureSize && ed25519.Verify(key, signed, buf[:n])
}

// Signatures are the event's signatures, in the order of servers and key IDs.
func (p *PDU) Signatures() iter.Seq[Signature] {
	return signaturesIn(Value(p.raw).Get("signatures"))
}

func signaturesIn(v Value) iter.Seq[Signature] {
	return func(yield func(Signature) bool) {
		for server, keys := range v.Members() {
			for keyID, value := range keys.Members() {
				s, ok := value.Str()
				if ok && !yield(Signature{Server: server, KeyID: id.KeyID(keyID), Value: s}) {
					return
				}
			}
		}
	}
}

// SignedBytes is what the event's signatures cover: the redacted event without
// signatures and unsigned. Each call makes it anew.
//
// Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
func (p *PDU) SignedBytes() []byte {
	return appendRedacted(make([]byte, 0, len(p.raw)), p.rules, p.raw, withoutSignatures)
}

// SigningServers are the servers that must have signed the event: the
// sender's, unless the event is a third-party invite, which any server may
// send; in room versions 1 and 2 that of the event ID; and, where restricted
// joins exist, that of the user who authorised the join. An empty name stands
// for an authoriser who is no user, whose signature cannot be had.
//
// Spec: server-server-api/#validating-hashes-and-signatures-on-received-events,
// rooms/v8/#authorisation-rules
func (p *PDU) SigningServers() []string {
	servers := make([]string, 0, 2)
	add := func(server string) {
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	var content Value
	if p.typ == typeMember {
		content = Value(p.Content())
	}
	if content.Get("third_party_invite") == nil || p.Membership() != "invite" {
		add(ServerOf(p.sender))
	}
	if p.rules.EventIDInBody {
		add(ServerOf(p.id))
	}
	if p.rules.RestrictedJoins {
		if authoriser := content.Get("join_authorised_via_users_server"); authoriser != nil {
			add(ServerOf(text(authoriser)))
		}
	}
	return servers
}

// WithSignature returns the event with s's signature added.
func (p *PDU) WithSignature(s Signer) *PDU {
	signed := *p
	signed.raw = appendSigned(make([]byte, 0, len(p.raw)+signatureRoom), p.raw, s.sign(p.SignedBytes()))
	signed.index()
	return &signed
}

// signatureRoom is space for a signature with its names, and a margin.
const signatureRoom = 192

// appendSigned appends the canonical object b with one more signature.
func appendSigned(dst, b []byte, add Signature) []byte {
	all := slices.Collect(signaturesIn(Value(b).Get("signatures")))
	all = slices.DeleteFunc(all, func(s Signature) bool { return s.Server == add.Server && s.KeyID == add.KeyID })
	all = append(all, add)
	slices.SortFunc(all, func(a, b Signature) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.KeyID, b.KeyID))
	})
	return setMember(dst, b, "signatures", appendSignatures(make([]byte, 0, len(all)*signatureRoom), all))
}

// setMember appends the canonical object b with the member key set to value.
func setMember(dst, b []byte, key string, value Value) []byte {
	written := false
	dst = append(dst, '{')
	write := func() {
		if !written {
			dst = appendString(separate(dst), key)
			dst = append(append(dst, ':'), value...)
		}
		written = true
	}
	for m, next, ok := nextMember(b, 1); ok; m, next, ok = nextMember(b, next) {
		order := strings.Compare(unquote(m.key(b)), key)
		if order >= 0 {
			write()
		}
		if order != 0 {
			dst = append(separate(dst), m.all(b)...)
		}
	}
	write()
	return append(dst, '}')
}

// separate appends a comma unless an object has only just begun.
func separate(dst []byte) []byte {
	if dst[len(dst)-1] == '{' {
		return dst
	}
	return append(dst, ',')
}

// appendSignatures appends the signatures object of sorted signatures.
func appendSignatures(dst []byte, all []Signature) []byte {
	dst = append(dst, '{')
	for i, s := range all {
		switch {
		case i == 0:
			dst = append(appendString(dst, s.Server), ':', '{')
		case s.Server == all[i-1].Server:
			dst = append(dst, ',')
		default:
			dst = append(dst, '}', ',')
			dst = append(appendString(dst, s.Server), ':', '{')
		}
		dst = append(appendString(dst, string(s.KeyID)), ':')
		dst = appendString(dst, s.Value)
	}
	if len(all) > 0 {
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// SignJSON adds s's signature to the object obj and returns it canonical.
// What is signed is obj without signatures and unsigned. Numbers that only old
// room versions allow are taken, since requests carry their events.
//
// Spec: appendices/#signing-json
func SignJSON(obj []byte, s Signer) ([]byte, error) {
	canonical, signed, err := signedObject(obj)
	if err != nil {
		return nil, err
	}
	return appendSigned(make([]byte, 0, len(canonical)+signatureRoom), canonical, s.sign(signed)), nil
}

// VerifyJSON checks that the server signed obj with the key.
//
// Spec: appendices/#checking-for-a-signature
func VerifyJSON(obj []byte, server string, keyID id.KeyID, key ed25519.PublicKey) error {
	canonical, signed, err := signedObject(obj)
	if err != nil {
		return err
	}
	value, ok := Value(canonical).Get("signatures").Get(server).Get(string(keyID)).Str()
	if !ok {
		return fault.New(fault.Unauthorized, "No signature of %s with key %s", server, keyID)
	}
	if !(Signature{Server: server, KeyID: keyID, Value: value}).Verify(signed, key) {
		return fault.New(fault.Unauthorized, "The signature of %s with key %s is not valid", server, keyID)
	}
	return nil
}

// signedObject returns obj canonical, and the part of it that signatures
// cover.
func signedObject(obj []byte) (canonical, signed []byte, err error) {
	var stack [24]member
	e := encoder{in: obj, out: make([]byte, 0, len(obj)), members: stack[:0], numbers: anyNumber}
	if err := e.objectDocument(); err != nil {
		return nil, nil, err
	}
	signed = append(make([]byte, 0, len(e.out)), '{')
	for _, m := range e.members {
		if key := m.key(e.out); string(key) != "signatures" && string(key) != "unsigned" {
			signed = append(separate(signed), m.all(e.out)...)
		}
	}
	return e.out, append(signed, '}'), nil
}
