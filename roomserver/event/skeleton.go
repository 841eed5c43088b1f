package event

import (
	"crypto/ed25519"
	"encoding/json"
	"iter"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

var errUnbuilt = fault.New(fault.Internal, "event: not built yet")

// Parse reads an event that a stranger sent: checks its format, brings it to
// canonical form without unsigned, computes its ID and checks its content
// hash. An event whose hash does not match comes back redacted. Signatures are
// not checked here.
func Parse(rules *Rules, raw []byte) (*PDU, error) { return nil, errUnbuilt }

// Trusted reads an event from our own database: raw is what JSON returned
// once. The event keeps raw, which must not change any more.
func Trusted(rules *Rules, eventID id.EventID, raw []byte) (*PDU, error) { return nil, errUnbuilt }

// Canonical returns raw as canonical JSON.
//
// Spec: appendices/#canonical-json
func Canonical(raw []byte) ([]byte, error) { return nil, errUnbuilt }

// AppendCanonical appends raw as canonical JSON to dst.
func AppendCanonical(dst, raw []byte) ([]byte, error) { return nil, errUnbuilt }

// Signer is a server's name and signing key.
type Signer struct {
	Server string
	KeyID  id.KeyID // ed25519:abc
	Key    ed25519.PrivateKey
}

// SignJSON adds s's signature to the object obj, and returns it canonical.
//
// Spec: appendices/#signing-json
func SignJSON(obj []byte, s Signer) ([]byte, error) { return nil, errUnbuilt }

// VerifyJSON checks that the server signed obj with the key.
//
// Spec: appendices/#checking-for-a-signature
func VerifyJSON(obj []byte, server string, keyID id.KeyID, key ed25519.PublicKey) error {
	return errUnbuilt
}

// Signature is one signature of an event or a signed object.
type Signature struct {
	Server string
	KeyID  id.KeyID
	Value  string // unpadded base64
}

// Verify reports whether the signature is the key's over signed.
func (s Signature) Verify(signed []byte, key ed25519.PublicKey) bool { return false }

// Signatures are the event's signatures.
func (p *PDU) Signatures() iter.Seq[Signature] { return func(func(Signature) bool) {} }

// SignedBytes is what signatures cover: the redacted event without signatures
// and unsigned. It is made anew by each call.
func (p *PDU) SignedBytes() []byte { return nil }

// SigningServers are the servers whose signatures the event needs.
func (p *PDU) SigningServers() []string { return nil }

// WithSignature returns the event with s's signature added.
func (p *PDU) WithSignature(s Signer) *PDU { return p }

// Redact returns the redacted form of the event.
func (p *PDU) Redact() *PDU { return p }

// Size is about how many bytes of memory the event takes.
func (p *PDU) Size() int { return len(p.raw) }

// Membership is content.membership, empty when there is none.
func (p *PDU) Membership() string { return "" }

// Ref refers to an event. SHA256 is its reference hash in unpadded base64,
// which room versions 1 and 2 write beside the ID.
type Ref struct {
	ID     id.EventID
	SHA256 string
}

// Ref is the event as others refer to it.
func (p *PDU) Ref() Ref { return Ref{ID: p.id} }

// Draft is an event to be built and signed.
type Draft struct {
	// EventID is for room versions 1 and 2 only: "$random:server".
	EventID   id.EventID
	Room      id.RoomID // empty for the create event of room version 12
	Type      string
	StateKey  *string
	Sender    id.UserID
	Content   json.RawMessage
	Prev      []Ref
	Auth      []Ref
	Depth     int64
	Timestamp int64 // milliseconds since 1970
	// Redacts is the event that an m.room.redaction names; Build puts it where
	// the room version wants it.
	Redacts id.EventID
	// Origin is written when not empty; only older peers want it.
	Origin string
}

// Build makes the event: canonical, hashed, signed and identified.
func (d *Draft) Build(rules *Rules, s Signer) (*PDU, error) { return nil, errUnbuilt }

// Template is the draft as make_join, make_leave and make_knock answer it.
func (d *Draft) Template(rules *Rules) (json.RawMessage, error) { return nil, errUnbuilt }

// Expected is what the asking server wants to see in a membership template.
type Expected struct {
	Room       id.RoomID
	User       id.UserID
	Membership string
}

// ParseTemplate reads a resident server's answer to make_join, make_leave or
// make_knock and checks that it is the membership event asked for.
func ParseTemplate(rules *Rules, raw []byte, want Expected) (*Draft, error) { return nil, errUnbuilt }

// ClientFields say how an event is shown to a client.
type ClientFields struct {
	// OmitRoomID leaves room_id out, as sync does.
	OmitRoomID bool
	// Unsigned is the unsigned object, left out when empty.
	Unsigned json.RawMessage
}

// AppendClient appends the event in the format that clients see.
//
// Spec: client-server-api/#room-event-format
func (p *PDU) AppendClient(dst []byte, fields ClientFields) []byte { return dst }

// AppendStripped appends the event as stripped state.
//
// Spec: client-server-api/#stripped-state
func (p *PDU) AppendStripped(dst []byte) []byte { return dst }

// Value is a value of canonical JSON, read without copying; the content of an
// event is one. A nil Value is no value: its accessors answer zero.
type Value []byte

// Get is the member of an object; nil when there is none.
func (v Value) Get(key string) Value { return nil }

// Str is the value of a string.
func (v Value) Str() (s string, ok bool) { return "", false }

// Int is the value of an integer.
func (v Value) Int() (n int64, ok bool) { return 0, false }

// Bool is the value of true or false.
func (v Value) Bool() (b, ok bool) { return false, false }

// IsObject reports whether v is an object.
func (v Value) IsObject() bool { return len(v) > 0 && v[0] == '{' }

// IsArray reports whether v is an array.
func (v Value) IsArray() bool { return len(v) > 0 && v[0] == '[' }

// Members are the members of an object, by key.
func (v Value) Members() iter.Seq2[string, Value] { return func(func(string, Value) bool) {} }

// Elements are the elements of an array.
func (v Value) Elements() iter.Seq[Value] { return func(func(Value) bool) {} }
