package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"entente/internal/fault"
)

const (
	maxErrorBody  = 64 << 10
	maxErrorText  = 500
	maxRetryAfter = 24 * time.Hour
)

// Error is a call that failed. It wraps a fault.Error that may be shown to
// the client on whose behalf the call was made: the peer's own error where
// the specification passes it through, fault.Unreachable otherwise.
type Error struct {
	// Server is the peer.
	Server string
	// Status is the HTTP status; zero when there was no usable answer.
	Status int
	// Errcode and Message are what the peer said, if anything. Message is cut
	// to a bearable length.
	Errcode, Message string
	// RetryAfter is when the peer wants to be asked again; zero is unsaid.
	RetryAfter time.Duration

	fault *fault.Error
}

// Error is the text for logs.
func (e *Error) Error() string {
	if e.Status == 0 {
		return e.fault.Error()
	}
	return fmt.Sprintf("%s answered %d %s: %s", e.Server, e.Status, e.Errcode, e.Message)
}

// Unwrap is the *fault.Error.
func (e *Error) Unwrap() error { return e.fault }

// IsUnrecognized reports whether err says that the peer does not have the
// endpoint.
//
// Spec: server-server-api/#unsupported-endpoints
func IsUnrecognized(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		// Older servers answer an unknown endpoint in words of their own.
		return e.Errcode == "M_UNRECOGNIZED" || e.Errcode == ""
	case http.StatusBadRequest:
		return e.Errcode == "M_UNRECOGNIZED"
	}
	return false
}

// unreachable is the Error of a call without a usable answer.
func unreachable(server string, cause error) *Error {
	return &Error{Server: server, fault: fault.Wrap(cause, fault.Unreachable, "%s could not be reached", server)}
}

// malformed is the Error of a call whose answer makes no sense.
func malformed(server string, cause error) *Error {
	return &Error{Server: server, fault: fault.Wrap(cause, fault.Unreachable, "%s gave an answer that makes no sense", server)}
}

// errorBody is the standard error response.
// Spec: client-server-api/#standard-error-response
type errorBody struct {
	Errcode      string `json:"errcode"`
	Message      string `json:"error"`
	RetryAfterMS int64  `json:"retry_after_ms"`
	RoomVersion  string `json:"room_version"`
}

// readError makes the Error of an answer that is not 200.
func readError(server string, resp *http.Response) *Error {
	var body errorBody
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	// What is not JSON leaves body empty: a proxy's error page, say.
	_ = json.Unmarshal(raw, &body)
	e := &Error{
		Server: server, Status: resp.StatusCode, Errcode: printable(body.Errcode, 64), Message: printable(body.Message, maxErrorText),
		RetryAfter: retryAfter(resp.Header, body.RetryAfterMS),
	}
	kind := kindOf(resp.StatusCode, e.Errcode)
	text := e.Message
	if kind == fault.Unreachable || text == "" {
		text = fmt.Sprintf("%s answered with an error: %d %s %s", server, e.Status, e.Errcode, e.Message)
	}
	e.fault = fault.New(kind, "%s", strings.TrimSpace(text))
	e.fault.RetryAfter = e.RetryAfter
	if kind == fault.IncompatibleVersion {
		e.fault.RoomVersion = printable(body.RoomVersion, 32)
	}
	return e
}

// passedThrough are the errors that a client may see as if they were ours.
// Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
var passedThrough = map[string]fault.Kind{
	"M_FORBIDDEN":                 fault.Forbidden,
	"M_NOT_FOUND":                 fault.NotFound,
	"M_INCOMPATIBLE_ROOM_VERSION": fault.IncompatibleVersion,
	"M_UNABLE_TO_AUTHORISE_JOIN":  fault.UnableToAuthoriseJoin,
	"M_UNABLE_TO_GRANT_JOIN":      fault.UnableToGrantJoin,
	"M_INVITE_BLOCKED":            fault.InviteBlocked,
	"M_TOO_LARGE":                 fault.TooLarge,
}

// kindOf is the kind of an answer. What blames the request blames us, not the
// client: it is a fault between servers.
func kindOf(status int, errcode string) fault.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return fault.Limited
	case status >= 400 && status < 500 && status != http.StatusUnauthorized:
		if kind, ok := passedThrough[errcode]; ok {
			return kind
		}
	}
	return fault.Unreachable
}

// retryAfter reads the header, and the field that older servers use.
func retryAfter(h http.Header, ms int64) time.Duration {
	wait := time.Duration(max(0, min(ms, maxRetryAfter.Milliseconds()))) * time.Millisecond
	if secs, err := strconv.ParseInt(h.Get("Retry-After"), 10, 32); err == nil && secs >= 0 {
		wait = time.Duration(secs) * time.Second
	}
	return min(wait, maxRetryAfter)
}

// printable is at most limit bytes of a stranger's text, fit for a log.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
