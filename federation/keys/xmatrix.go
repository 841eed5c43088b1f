package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

const (
	scheme = "X-Matrix"
	// maxAuthorization bounds the headers of one request: a stranger's, and
	// each may cost a signature check.
	maxAuthorization      = 4
	maxAuthorizationBytes = 4 << 10
)

// Authorization is an Authorization header of the X-Matrix scheme.
//
// Spec: server-server-api/#request-authentication
type Authorization struct {
	Origin      string
	Destination string // empty when an older peer does not say it
	KeyID       id.KeyID
	Signature   string // unpadded base64
}

// String is the header's value.
func (a Authorization) String() string {
	var b strings.Builder
	b.Grow(len(scheme) + len(a.Origin) + len(a.Destination) + len(a.KeyID) + len(a.Signature) + 48)
	b.WriteString(scheme + ` origin="`)
	b.WriteString(a.Origin)
	b.WriteString(`",destination="`)
	b.WriteString(a.Destination)
	b.WriteString(`",key="`)
	b.WriteString(string(a.KeyID))
	b.WriteString(`",sig="`)
	b.WriteString(a.Signature)
	b.WriteByte('"')
	return b.String()
}

// SignRequest is the Authorization header of a request to destination. The
// uri is the path and query as sent, and content is the body in canonical
// JSON, empty for a request without one.
//
// Spec: server-server-api/#request-authentication
func SignRequest(s event.Signer, method, uri, destination string, content []byte) string {
	signed := appendRequest(nil, request{method, uri, s.Server, destination, content})
	return Authorization{
		Origin: s.Server, Destination: destination, KeyID: s.KeyID,
		Signature: base64.RawStdEncoding.EncodeToString(ed25519.Sign(s.Key, signed)),
	}.String()
}

// request is what a request's signature covers.
type request struct {
	method, uri, origin, destination string
	content                          []byte // canonical, or empty
}

// appendRequest appends the signed object, canonical.
func appendRequest(dst []byte, r request) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(r.content)+len(r.uri)+len(r.origin)+len(r.destination)+80)
	}
	dst = append(dst, '{')
	if len(r.content) > 0 {
		dst = append(dst, `"content":`...)
		dst = append(dst, r.content...)
		dst = append(dst, ',')
	}
	dst = appendString(append(dst, `"destination":`...), r.destination)
	dst = appendString(append(dst, `,"method":`...), r.method)
	dst = appendString(append(dst, `,"origin":`...), r.origin)
	dst = appendString(append(dst, `,"uri":`...), r.uri)
	return append(dst, '}')
}

// appendString appends a string of visible ASCII as canonical JSON: all that
// a server name, a method or the target of a valid request can hold.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// visible reports whether s is visible ASCII only.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Authenticate says which server made the request. It checks that the server
// signed the request and meant it for us, fetching its keys when they are not
// known. Every failure is of kind fault.Unauthorized.
//
// Spec: server-server-api/#request-authentication
func (r *Ring) Authenticate(req *http.Request, body []byte) (origin string, err error) {
	auths, err := r.authorizations(req.Header)
	if err != nil {
		return "", err
	}
	signed := request{method: req.Method, uri: target(req), origin: auths[0].Origin}
	if !visible(signed.uri) || !visible(signed.method) {
		return "", fault.New(fault.Unauthorized, "the request target is not ASCII")
	}
	if len(body) > 0 && !json.Valid(body) {
		return "", fault.New(fault.Unauthorized, "the body is not JSON, so it cannot have been signed")
	}
	for _, a := range auths {
		// A peer that does not write the destination signs it all the same.
		if signed.destination = a.Destination; signed.destination == "" {
			signed.destination = r.own.Name()
		}
		if err = r.checkRequest(req.Context(), a, signed, body); err == nil {
			return a.Origin, nil
		}
	}
	return "", err
}

// authorizations are the request's X-Matrix headers: at least one, all of the
// same origin, all for us.
func (r *Ring) authorizations(h http.Header) ([]Authorization, error) {
	var out []Authorization
	for _, value := range h.Values("Authorization") {
		if !isXMatrix(value) {
			continue
		}
		if len(out) == maxAuthorization {
			return nil, fault.New(fault.Unauthorized, "too many Authorization headers")
		}
		a, err := ParseAuthorization(value)
		if err != nil {
			return nil, err
		}
		if a.Destination != "" && !r.own.Is(a.Destination) {
			return nil, fault.New(fault.Unauthorized, "the request is for %q, which is not this server", a.Destination)
		}
		if len(out) > 0 && out[0].Origin != a.Origin {
			return nil, fault.New(fault.Unauthorized, "the Authorization headers name different origins")
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, fault.New(fault.Unauthorized, "the request has no X-Matrix Authorization header")
	}
	return out, nil
}

func (r *Ring) checkRequest(ctx context.Context, a Authorization, signed request, body []byte) error {
	now := r.now()
	key, err := r.lookup(ctx, want{server: a.Origin, id: a.KeyID, at: now.UnixMilli(), use: forRequest})
	if err != nil {
		return fault.Wrap(err, fault.Unauthorized, "no valid key %s of %s", a.KeyID, a.Origin)
	}
	if !signedStrict(a, signed, body, key) && !signedLenient(a, signed, body, key) {
		return fault.New(fault.Unauthorized, "the request is not signed by key %s of %s", a.KeyID, a.Origin)
	}
	return nil
}

// signedStrict checks the signature over the body in canonical JSON, which is
// what nearly every request has.
func signedStrict(a Authorization, signed request, body []byte, key ed25519.PublicKey) bool {
	if len(body) > 0 {
		content, err := event.Canonical(body)
		if err != nil {
			return false
		}
		signed.content = content
	}
	sig := event.Signature{Server: a.Origin, KeyID: a.KeyID, Value: a.Signature}
	return sig.Verify(appendRequest(nil, signed), key)
}

// signedLenient checks the signature over a body with numbers that canonical
// JSON does not have: events of old room versions hold them, and transactions
// hold events. The body must be valid JSON.
func signedLenient(a Authorization, signed request, body []byte, key ed25519.PublicKey) bool {
	if len(body) == 0 {
		return false
	}
	signed.content = body
	obj := appendRequest(nil, signed)
	obj = appendString(append(obj[:len(obj)-1], `,"signatures":{`...), a.Origin)
	obj = appendString(append(obj, ":{"...), string(a.KeyID))
	obj = appendString(append(obj, ':'), a.Signature)
	return event.VerifyJSON(append(obj, "}}}"...), a.Origin, a.KeyID, key) == nil
}

// target is the request target as it was signed: path and query.
func target(req *http.Request) string {
	if strings.HasPrefix(req.RequestURI, "/") {
		return req.RequestURI
	}
	return req.URL.RequestURI()
}

func isXMatrix(header string) bool {
	return len(header) >= len(scheme) && strings.EqualFold(header[:len(scheme)], scheme) &&
		(len(header) == len(scheme) || header[len(scheme)] == ' ')
}

// ParseAuthorization reads the value of an Authorization header of the
// X-Matrix scheme. Names are case-insensitive, values may be quoted or not,
// and unquoted ones may hold whatever cannot be mistaken for syntax: older
// servers leave colons unquoted. Unknown parameters are ignored, and a
// parameter given twice is refused.
//
// Spec: server-server-api/#request-authentication
func ParseAuthorization(header string) (Authorization, error) {
	if !isXMatrix(header) || len(header) > maxAuthorizationBytes {
		return Authorization{}, fault.New(fault.Unauthorized, "not an X-Matrix Authorization header")
	}
	var a Authorization
	for rest := header[len(scheme):]; ; {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			break
		}
		name, value, after, ok := cutParameter(rest)
		if !ok {
			return Authorization{}, fault.New(fault.Unauthorized, "the X-Matrix Authorization header is malformed")
		}
		rest = after
		if field := a.field(name); field != nil {
			if *field != "" {
				return Authorization{}, fault.New(fault.Unauthorized, "the X-Matrix Authorization header gives %s twice", name)
			}
			*field = value
		}
	}
	switch {
	case !event.ValidServerName(a.Origin):
		return Authorization{}, fault.New(fault.Unauthorized, "the X-Matrix origin is not a server name")
	case a.Destination != "" && !event.ValidServerName(a.Destination):
		return Authorization{}, fault.New(fault.Unauthorized, "the X-Matrix destination is not a server name")
	case !validKeyID(a.KeyID):
		return Authorization{}, fault.New(fault.Unauthorized, "the X-Matrix key is not an ed25519 key")
	case a.Signature == "" || !visible(a.Signature):
		return Authorization{}, fault.New(fault.Unauthorized, "the X-Matrix signature is missing or malformed")
	}
	return a, nil
}

// field is where the value of a parameter goes; nil for an unknown one. The
// specification names the signature both sig, in its example, and signature.
func (a *Authorization) field(name string) *string {
	switch {
	case strings.EqualFold(name, "origin"):
		return &a.Origin
	case strings.EqualFold(name, "destination"):
		return &a.Destination
	case strings.EqualFold(name, "key"):
		return (*string)(&a.KeyID)
	case strings.EqualFold(name, "sig"), strings.EqualFold(name, "signature"):
		return &a.Signature
	}
	return nil
}

// cutParameter takes the first name=value pair off s, which it leaves at the
// comma behind it.
func cutParameter(s string) (name, value, rest string, ok bool) {
	name, s, ok = strings.Cut(s, "=")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t,\"\\") {
		return "", "", "", false
	}
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, ',')
		if end < 0 {
			end = len(s)
		}
		value = strings.TrimRight(s[:end], " \t")
		return name, value, s[end:], !strings.ContainsAny(value, " \t\"\\")
	}
	value, s, ok = cutQuoted(s[1:])
	s = strings.TrimLeft(s, " \t")
	return name, value, s, ok && (s == "" || s[0] == ',')
}

// cutQuoted takes a quoted value off s, behind its opening quote.
func cutQuoted(s string) (value, rest string, ok bool) {
	end := strings.IndexAny(s, `"\`)
	if end >= 0 && s[end] == '"' {
		return s[:end], s[end+1:], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// validKeyID reports whether k is the ID of a key that we can use. What comes
// behind the algorithm is taken as it is, within reason: peers in the field
// use more characters than the specification has.
//
// Spec: appendices/#signing-details
func validKeyID(k id.KeyID) bool {
	version, ok := strings.CutPrefix(string(k), "ed25519:")
	return ok && version != "" && len(k) <= event.MaxIDSize && visible(version)
}

// decodeBase64 reads base64 as peers write it: standard alphabet, without
// padding, though some add it.
//
// Spec: appendices/#unpadded-base64
func decodeBase64(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}
