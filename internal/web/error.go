package web

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"entente/internal/fault"
)

// wire is what a kind of error looks like on the wire.
type wire struct {
	status  int
	errcode string
}

// wires is the one table from a kind to status and errcode.
//
// Spec: client-server-api/#standard-error-response
// Spec: client-server-api/#other-error-codes
var wires = [...]wire{
	fault.Internal:              {http.StatusInternalServerError, "M_UNKNOWN"},
	fault.Forbidden:             {http.StatusForbidden, "M_FORBIDDEN"},
	fault.NotFound:              {http.StatusNotFound, "M_NOT_FOUND"},
	fault.BadJSON:               {http.StatusBadRequest, "M_BAD_JSON"},
	fault.NotJSON:               {http.StatusBadRequest, "M_NOT_JSON"},
	fault.InvalidParam:          {http.StatusBadRequest, "M_INVALID_PARAM"},
	fault.MissingParam:          {http.StatusBadRequest, "M_MISSING_PARAM"},
	fault.Unrecognized:          {http.StatusNotFound, "M_UNRECOGNIZED"},
	fault.MethodNotAllowed:      {http.StatusMethodNotAllowed, "M_UNRECOGNIZED"},
	fault.TooLarge:              {http.StatusRequestEntityTooLarge, "M_TOO_LARGE"},
	fault.Limited:               {http.StatusTooManyRequests, "M_LIMIT_EXCEEDED"},
	fault.Unauthorized:          {http.StatusUnauthorized, "M_UNAUTHORIZED"},
	fault.MissingToken:          {http.StatusUnauthorized, "M_MISSING_TOKEN"},
	fault.UnknownToken:          {http.StatusUnauthorized, "M_UNKNOWN_TOKEN"},
	fault.UserInUse:             {http.StatusBadRequest, "M_USER_IN_USE"},
	fault.InvalidUsername:       {http.StatusBadRequest, "M_INVALID_USERNAME"},
	fault.Exclusive:             {http.StatusBadRequest, "M_EXCLUSIVE"},
	fault.WeakPassword:          {http.StatusBadRequest, "M_WEAK_PASSWORD"},
	fault.UserDeactivated:       {http.StatusForbidden, "M_USER_DEACTIVATED"},
	fault.RoomInUse:             {http.StatusBadRequest, "M_ROOM_IN_USE"},
	fault.InvalidRoomState:      {http.StatusBadRequest, "M_INVALID_ROOM_STATE"},
	fault.UnsupportedVersion:    {http.StatusBadRequest, "M_UNSUPPORTED_ROOM_VERSION"},
	fault.IncompatibleVersion:   {http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION"},
	fault.BadState:              {http.StatusForbidden, "M_BAD_STATE"},
	fault.BadAlias:              {http.StatusBadRequest, "M_BAD_ALIAS"},
	fault.CannotLeave:           {http.StatusForbidden, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"},
	fault.UnableToAuthoriseJoin: {http.StatusBadRequest, "M_UNABLE_TO_AUTHORISE_JOIN"},
	fault.UnableToGrantJoin:     {http.StatusBadRequest, "M_UNABLE_TO_GRANT_JOIN"},
	fault.InviteBlocked:         {http.StatusForbidden, "M_INVITE_BLOCKED"},
	fault.Unreachable:           {http.StatusBadGateway, "M_UNKNOWN"},
	fault.Unavailable:           {http.StatusServiceUnavailable, "M_UNKNOWN"},
	fault.Conflict:              {http.StatusConflict, "M_UNKNOWN"},
	fault.ProfileTooLarge:       {http.StatusBadRequest, "M_PROFILE_TOO_LARGE"},
	fault.KeyTooLarge:           {http.StatusBadRequest, "M_KEY_TOO_LARGE"},
	fault.ServerManaged:         {http.StatusMethodNotAllowed, "M_BAD_JSON"},
}

// statusGone is what is logged for a caller that hung up; nobody reads it.
const statusGone = 499

// Status is the HTTP status and errcode of an error, for those who answer
// outside a Router.
func Status(err error) (status int, errcode string) {
	w := wireOf(err)
	return w.status, w.errcode
}

func wireOf(err error) wire {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		if f.Kind >= 0 && int(f.Kind) < len(wires) {
			return wires[f.Kind]
		}
	case errors.Is(err, context.Canceled):
		return wire{statusGone, "M_UNKNOWN"}
	case errors.Is(err, context.DeadlineExceeded):
		return wires[fault.Unavailable]
	}
	return wires[fault.Internal]
}

// errorBody is a standard error response.
type errorBody struct {
	Errcode      string `json:"errcode"`
	Error        string `json:"error"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	SoftLogout   bool   `json:"soft_logout,omitempty"`
	RoomVersion  string `json:"room_version,omitempty"`
}

// bodyOf is what the caller may read of err. The text of an internal error
// never leaves the server.
func bodyOf(err error, w wire) errorBody {
	body := errorBody{Errcode: w.errcode, Error: publicText(w.status)}
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind == fault.Internal {
		return body
	}
	if f.Public != "" {
		body.Error = f.Public
	}
	body.SoftLogout = f.SoftLogout && f.Kind == fault.UnknownToken
	body.RoomVersion = f.RoomVersion
	if f.RetryAfter > 0 {
		body.RetryAfterMS = max(f.RetryAfter.Milliseconds(), 1)
	}
	return body
}

func publicText(status int) string {
	switch status {
	case http.StatusServiceUnavailable:
		return "The server cannot serve this now"
	case http.StatusInternalServerError:
		return "Internal server error"
	}
	return http.StatusText(status)
}

// setRetryAfter says in whole seconds, rounded up, when to come back.
//
// Spec: client-server-api/#rate-limiting
func setRetryAfter(h http.Header, err error) {
	var f *fault.Error
	if errors.As(err, &f) && f.RetryAfter > 0 {
		seconds := math.Ceil(float64(f.RetryAfter) / float64(time.Second))
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
}
