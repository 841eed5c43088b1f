package clientapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/internal/web"
)

const (
	interactionLife   = 10 * time.Minute
	interactionsKept  = 10_000
	maxRemembered     = 8 << 10
	sessionNonceSize  = 12
	sessionExpirySize = 8
	sessionMACSize    = 16
)

// interactions are the sessions of user-interactive authentication. A
// session's ID proves itself, so that every node takes it; what was sent with
// it is remembered, for a while and within bounds, by the node it was sent to.
//
// Spec: client-server-api/#user-interactive-authentication-api
type interactions struct {
	key []byte
	now func() time.Time

	mu    sync.Mutex
	known map[string]*interaction // guarded by mu
	queue []string                // IDs in the order of their making; guarded by mu
}

// interaction is what is remembered of a session.
type interaction struct {
	body json.RawMessage // what was asked for, without auth
	done []string        // completed stages
}

func newInteractions(secret [32]byte, now func() time.Time) *interactions {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("user-interactive authentication"))
	return &interactions{key: mac.Sum(nil), now: now, known: map[string]*interaction{}}
}

// begin makes a session for an endpoint and a user, and remembers the body.
func (in *interactions) begin(endpoint string, user id.UserID, body json.RawMessage) string {
	b := make([]byte, sessionExpirySize, sessionExpirySize+sessionNonceSize+sessionMACSize)
	binary.BigEndian.PutUint64(b, uint64(in.now().Add(interactionLife).UnixMilli()))
	var nonce [sessionNonceSize]byte
	rand.Read(nonce[:]) // never fails
	b = append(b, nonce[:]...)
	session := base64.RawURLEncoding.EncodeToString(append(b, in.sign(b, endpoint, user)...))
	if len(body) > maxRemembered {
		body = nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.queue) >= interactionsKept || len(in.queue) > 0 && in.expired(in.queue[0]) {
		delete(in.known, in.queue[0])
		in.queue = in.queue[1:]
	}
	in.known[session] = &interaction{body: body}
	in.queue = append(in.queue, session)
	return session
}

func (in *interactions) sign(head []byte, endpoint string, user id.UserID) []byte {
	mac := hmac.New(sha256.New, in.key)
	mac.Write(head)
	mac.Write([]byte(endpoint + "\x00" + string(user)))
	return mac.Sum(nil)[:sessionMACSize]
}

// expired reports whether a session that we made is over.
func (in *interactions) expired(session string) bool {
	b, err := base64.RawURLEncoding.DecodeString(session)
	return err != nil || len(b) < sessionExpirySize || in.now().UnixMilli() >= int64(binary.BigEndian.Uint64(b))
}

// resume reports whether a session is one of ours for this endpoint and user,
// and what this node remembers of it.
func (in *interactions) resume(session, endpoint string, user id.UserID) (interaction, bool) {
	b, err := base64.RawURLEncoding.DecodeString(session)
	if err != nil || len(b) != sessionExpirySize+sessionNonceSize+sessionMACSize || in.expired(session) {
		return interaction{}, false
	}
	head, mac := b[:sessionExpirySize+sessionNonceSize], b[sessionExpirySize+sessionNonceSize:]
	if !hmac.Equal(mac, in.sign(head, endpoint, user)) {
		return interaction{}, false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if known := in.known[session]; known != nil {
		return interaction{known.body, slices.Clone(known.done)}, true
	}
	return interaction{}, true
}

// complete remembers that a stage of a session is done.
func (in *interactions) complete(session, stage string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if known := in.known[session]; known != nil && !slices.Contains(known.done, stage) {
		known.done = append(known.done, stage)
	}
}

// proof is what an endpoint wants to be proved before it acts.
type proof struct {
	// flows are the ways to prove it, each a list of stages.
	flows [][]string
	// check tries a stage. A refusal of kind Forbidden may be tried again,
	// but errAnotherUser.
	check func(ctx context.Context, stage string, auth json.RawMessage) error
}

// errAnotherUser refuses a proof that is right, but not the caller's.
var errAnotherUser = fault.New(fault.Forbidden, "This is another user's password")

// attempt is a call of an endpoint that wants a proof.
type attempt struct {
	in       *interactions
	endpoint string
	user     id.UserID
	body     json.RawMessage // without auth, with what is remembered
	auth     json.RawMessage // nil when there is none
	session  string          // empty when there is none
	stage    string
	valid    bool // the session is ours
	done     []string
}

// attempt reads the body of a call into dst, with what the client sent when
// the session began and left out now.
func (s *Server) attempt(c *web.Call, dst any) (*attempt, error) {
	body := map[string]json.RawMessage{}
	if err := c.DecodeOptional(&body); err != nil {
		return nil, err
	}
	at := &attempt{in: s.uia, endpoint: c.Endpoint(), user: c.User(), auth: body["auth"]}
	if string(at.auth) == "null" {
		at.auth = nil
	}
	delete(body, "auth")
	if at.auth != nil {
		var head struct{ Type, Session string }
		if err := json.Unmarshal(at.auth, &head); err != nil {
			return nil, fault.Wrap(err, fault.BadJSON, "auth does not have the form of authentication data")
		}
		at.session, at.stage = head.Session, head.Type
		at.recall(body)
	}
	var err error
	if at.body, err = json.Marshal(body); err != nil {
		return nil, err
	}
	if dst == nil {
		return at, nil
	}
	if err := json.Unmarshal(at.body, dst); err != nil {
		return nil, fault.Wrap(err, fault.BadJSON, "The request body does not have the expected form")
	}
	return at, nil
}

// recall adds to a body what was sent when the session began.
func (at *attempt) recall(body map[string]json.RawMessage) {
	if at.session == "" {
		return
	}
	known, ok := at.in.resume(at.session, at.endpoint, at.user)
	at.valid, at.done = ok, known.done
	var first map[string]json.RawMessage
	if json.Unmarshal(known.body, &first) != nil {
		return
	}
	for key, value := range first {
		if _, sent := body[key]; !sent {
			body[key] = value
		}
	}
}

// prove lets the call go on when the proof is complete; else it is the answer
// that asks for what is missing.
func (at *attempt) prove(ctx context.Context, p proof) (*web.Answer, error) {
	switch {
	case at.auth == nil:
		return at.ask(p, nil), nil
	case at.session != "" && !at.valid:
		at.session = ""
		return at.ask(p, fault.New(fault.Forbidden, "The session is not known, or has expired")), nil
	case at.stage == "", slices.Contains(at.done, at.stage):
		return at.ask(p, nil), nil
	case !slices.ContainsFunc(p.flows, func(flow []string) bool { return slices.Contains(flow, at.stage) }):
		return at.ask(p, fault.New(fault.Forbidden, "This is not one of the ways to authenticate here")), nil
	}
	if err := p.check(ctx, at.stage, at.auth); err != nil {
		if errors.Is(err, errAnotherUser) {
			return nil, err
		}
		if refused := (*fault.Error)(nil); errors.As(err, &refused) && refused.Kind == fault.Forbidden {
			return at.ask(p, refused), nil
		}
		return nil, err
	}
	at.done = append(at.done, at.stage)
	for _, flow := range p.flows {
		if !slices.ContainsFunc(flow, func(stage string) bool { return !slices.Contains(at.done, stage) }) {
			return nil, nil
		}
	}
	answer := at.ask(p, nil)
	at.in.complete(at.session, at.stage)
	return answer, nil
}

// ask is the answer that asks for a proof; refused says what was wrong with
// the last attempt.
func (at *attempt) ask(p proof, refused *fault.Error) *web.Answer {
	type flow struct {
		Stages []string `json:"stages"`
	}
	body := struct {
		Errcode   string         `json:"errcode,omitempty"`
		Error     string         `json:"error,omitempty"`
		Completed []string       `json:"completed,omitempty"`
		Flows     []flow         `json:"flows"`
		Params    map[string]any `json:"params"`
		Session   string         `json:"session"`
	}{Completed: at.done, Params: map[string]any{}}
	if refused != nil {
		_, body.Errcode = web.Status(refused)
		body.Error = refused.Public
	}
	for _, stages := range p.flows {
		body.Flows = append(body.Flows, flow{stages})
	}
	if at.session == "" {
		at.session = at.in.begin(at.endpoint, at.user, at.body)
	}
	body.Session = at.session
	return &web.Answer{Status: http.StatusUnauthorized, Body: body}
}
