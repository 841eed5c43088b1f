// Package fault holds the kinds of error that Entente answers with. An
// error's kind says what went wrong in the caller's terms; only the web layer
// turns a kind into an HTTP status and a Matrix errcode.
//
// Spec: client-server-api/#standard-error-response
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error for its caller. The zero Kind is an internal error:
// its text never leaves the server.
type Kind int

// The kinds, each with the errcode that answers it.
const (
	Internal              Kind = iota // M_UNKNOWN, 500: a fault of ours
	Forbidden                         // M_FORBIDDEN
	NotFound                          // M_NOT_FOUND
	BadJSON                           // M_BAD_JSON: valid JSON of the wrong shape
	NotJSON                           // M_NOT_JSON
	InvalidParam                      // M_INVALID_PARAM
	MissingParam                      // M_MISSING_PARAM
	Unrecognized                      // M_UNRECOGNIZED: no such endpoint
	MethodNotAllowed                  // M_UNRECOGNIZED, 405
	TooLarge                          // M_TOO_LARGE
	Limited                           // M_LIMIT_EXCEEDED
	Unauthorized                      // M_UNAUTHORIZED: a peer that did not authenticate
	MissingToken                      // M_MISSING_TOKEN
	UnknownToken                      // M_UNKNOWN_TOKEN
	UserInUse                         // M_USER_IN_USE
	InvalidUsername                   // M_INVALID_USERNAME
	Exclusive                         // M_EXCLUSIVE
	WeakPassword                      // M_WEAK_PASSWORD
	UserDeactivated                   // M_USER_DEACTIVATED
	RoomInUse                         // M_ROOM_IN_USE
	InvalidRoomState                  // M_INVALID_ROOM_STATE
	UnsupportedVersion                // M_UNSUPPORTED_ROOM_VERSION
	IncompatibleVersion               // M_INCOMPATIBLE_ROOM_VERSION
	BadState                          // M_BAD_STATE
	BadAlias                          // M_BAD_ALIAS
	CannotLeave                       // M_CANNOT_LEAVE_SERVER_NOTICE_ROOM
	UnableToAuthoriseJoin             // M_UNABLE_TO_AUTHORISE_JOIN
	UnableToGrantJoin                 // M_UNABLE_TO_GRANT_JOIN
	InviteBlocked                     // M_INVITE_BLOCKED
	Unreachable                       // M_UNKNOWN, 502: a peer that did not answer
	Unavailable                       // M_UNKNOWN, 503: we cannot serve this now
	Conflict                          // M_UNKNOWN, 409: the world moved under the caller
	ProfileTooLarge                   // M_PROFILE_TOO_LARGE
	KeyTooLarge                       // M_KEY_TOO_LARGE: the name of a profile field
	ServerManaged                     // M_BAD_JSON, 405: clients may not set this
)

// Error is an error that may be shown to the caller.
type Error struct {
	// Kind decides status and errcode.
	Kind Kind
	// Public is safe for the caller to read.
	Public string
	// RetryAfter is when a Limited caller may try again; zero is unsaid.
	RetryAfter time.Duration
	// SoftLogout is set with UnknownToken when the device may log in again
	// and keep its keys. Spec: client-server-api/#soft-logout
	SoftLogout bool
	// RoomVersion goes with IncompatibleVersion.
	RoomVersion string

	cause error // for the log, never for the caller
}

// New makes an error of kind k with a text for the caller.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of kind k with a text for the caller and a cause for
// the log.
func Wrap(cause error, k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...), cause: cause}
}

// Error is the text for logs: public text and cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Public
	}
	return e.Public + ": " + e.cause.Error()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.cause }

// KindOf is the kind of the first *Error in err's chain, or Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is an *Error of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
