// Package web is the one place where HTTP becomes a call and a value or an
// error becomes an answer. A route is data: method, path, who may call, rate
// class, handler. Everything that every endpoint needs happens here once:
// matching of escaped paths, authentication, rate limits, body limits, UTF-8
// and depth checks, CORS, status and errcode of errors, recovery from panics,
// the one log record of a request and its metrics.
//
// A handler parses its Call, calls one operation and returns a value or an
// error. It never logs and never writes a status.
//
// Spec: client-server-api/#api-standards
package web

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"maunium.net/go/mautrix/id"
)

// Handler serves one route. What it returns is answered as Respond tells:
// see Empty, Raw, Appender, Answer and Stream; any other value is encoded as
// JSON. An error is answered by its fault.Kind.
type Handler func(ctx context.Context, c *Call) (any, error)

// Auth says who may call a route. Its zero value is refused when a Router is
// made, so that no route is open by omission.
type Auth uint8

// The callers of a route.
const (
	// AuthNone takes no notice of credentials.
	AuthNone Auth = iota + 1
	// AuthOptional authenticates a user who presents a token and lets others
	// through as nobody.
	AuthOptional
	// AuthUser wants a user with an account: guests are refused.
	AuthUser
	// AuthGuest wants a user or a guest.
	AuthGuest
	// AuthAdmin wants a user who administers this server.
	AuthAdmin
	// AuthServer wants a peer server that signed the request.
	// Spec: server-server-api/#request-authentication
	AuthServer
)

// Route is one endpoint.
type Route struct {
	// Method is the HTTP method. A GET route answers HEAD too.
	Method string
	// Path is the pattern: literal segments and {name} segments, each of which
	// takes one non-empty segment, unescaped after matching, so that an
	// identifier may hold an escaped slash. A last segment {name...} takes the
	// whole rest.
	Path string
	// Auth says who may call. It has no default.
	Auth Auth
	// Rate is the class of rate limit that a call is charged to.
	Rate Class
	// Handle serves the call.
	Handle Handler
	// Spec is the anchor of the endpoint in the specification, for example
	// "client-server-api/#get_matrixclientv3sync".
	Spec string
	// OptionalTail lets the last {name} be empty, with or without its slash.
	// Spec: client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey
	OptionalTail bool
	// MaxBody bounds the request body in bytes; zero is the router's default.
	MaxBody int64
	// StreamBody leaves the body unread and unchecked for the handler, which
	// reads it, bounded, from Call.Reader.
	StreamBody bool
	// Timeout ends the call's context; zero is the router's default, negative
	// is none (a long poll that bounds itself).
	Timeout time.Duration
}

// Principal is the user behind a request.
type Principal struct {
	// User is the caller, or whom an application service acts as.
	User id.UserID
	// Device is the caller's device; it may be empty for application services.
	Device id.DeviceID
	// Guest is set for an account made as a guest.
	Guest bool
	// Admin is set for an administrator of this server.
	Admin bool
	// Unlimited exempts the caller from rate limits.
	Unlimited bool
	// Session is whatever the Authenticator wants its own handlers to find.
	Session any
}

// Credentials are what a user's request presents.
type Credentials struct {
	// Token is the access token.
	Token string
	// AssertUser and AssertDevice are whom an application service wants to act
	// as. Spec: application-service-api/#identity-assertion
	AssertUser   id.UserID
	AssertDevice id.DeviceID
	// Remote is the address that the request came from, behind proxies.
	Remote netip.Addr
	// UserAgent names the client.
	UserAgent string
}

// Authenticator turns credentials into a user. A refusal is a fault, most
// often fault.UnknownToken.
type Authenticator interface {
	Authenticate(ctx context.Context, cred Credentials) (Principal, error)
}

// PeerAuthenticator checks the signature of a peer's request over its method,
// its URI and the body as it was read, and answers the peer's server name.
type PeerAuthenticator func(r *http.Request, body []byte) (origin string, err error)
