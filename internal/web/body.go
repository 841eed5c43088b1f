package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"entente/internal/fault"
)

// bodyTimeout bounds how long a sender may take for a body that is read
// whole, and for each read of one that is streamed.
const bodyTimeout = 60 * time.Second

func errTooLarge(limit int64) error {
	return fault.New(fault.TooLarge, "The request body is larger than %d bytes", limit)
}

// readBody reads the whole body, bounded in size and time, and checks what
// any JSON must satisfy: UTF-8 and a bounded depth.
func (c *Call) readBody() error {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	if c.r.ContentLength > c.maxBody {
		return errTooLarge(c.maxBody)
	}
	ctl := http.NewResponseController(c.w)
	_ = ctl.SetReadDeadline(c.start.Add(bodyTimeout))
	body, err := readBounded(c.r.Body, c.r.ContentLength, c.maxBody)
	_ = ctl.SetReadDeadline(time.Time{})
	if err != nil {
		return err
	}
	c.body, c.bodyRead = body, true
	return checkText(body, c.router.opts.MaxDepth)
}

// restTimeout bounds how long net/http waits for the rest of a body that
// nobody read, before it takes the next request from the connection.
const restTimeout = 5 * time.Second

// boundRest keeps a sender whose body was not read, since the call was
// refused before, from holding the connection. The next request on it sets
// its own deadline.
func (c *Call) boundRest() {
	if c.bodyRead || c.r.ContentLength == 0 || c.r.Body == nil || c.r.Body == http.NoBody {
		return
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(restTimeout))
}

// readBounded reads at most limit bytes, in one piece when the length is
// known. The bytes are the caller's to keep.
func readBounded(src io.Reader, length, limit int64) ([]byte, error) {
	if length >= 0 {
		body := make([]byte, length)
		if _, err := io.ReadFull(src, body); err != nil {
			return nil, fault.Wrap(err, fault.NotJSON, "The request body could not be read")
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(src, limit+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.NotJSON, "The request body could not be read")
	}
	if int64(len(body)) > limit {
		return nil, errTooLarge(limit)
	}
	return body, nil
}

// checkText refuses what is not UTF-8 and JSON that nests deeper than limit.
// It does not check that the body is JSON: whoever decodes it will.
//
// Spec: client-server-api/#api-standards
func checkText(body []byte, limit int) error {
	if !utf8.Valid(body) {
		return fault.New(fault.NotJSON, "The request body is not UTF-8")
	}
	if depthExceeds(body, limit) {
		return fault.New(fault.BadJSON, "The request body is nested deeper than %d levels", limit)
	}
	return nil
}

// depthExceeds counts brackets outside strings.
func depthExceeds(body []byte, limit int) bool {
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if depth++; depth > limit {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			i = stringEnd(body, i+1)
		}
	}
	return false
}

// stringEnd is where the string that starts at i ends: its closing quote, or
// the end of the body.
func stringEnd(body []byte, i int) int {
	for i < len(body) {
		quote := bytes.IndexByte(body[i:], '"')
		if quote < 0 {
			return len(body)
		}
		escapes := 0
		for at := i + quote - 1; at >= i && body[at] == '\\'; at-- {
			escapes++
		}
		i += quote
		if escapes%2 == 0 {
			return i
		}
		i++
	}
	return i
}

// Body is the request body as it was sent, known to be UTF-8 and of bounded
// depth, and the handler's to keep.
func (c *Call) Body() []byte { return c.body }

// JSON is the request body, known to be a JSON object.
func (c *Call) JSON() (json.RawMessage, error) {
	if !json.Valid(c.body) {
		return nil, fault.New(fault.NotJSON, "The request body is not JSON")
	}
	if !startsObject(c.body) {
		return nil, fault.New(fault.BadJSON, "The request body is not a JSON object")
	}
	return c.body, nil
}

// Decode decodes the request body, which must be a JSON object. Keys that v
// does not have are ignored, of duplicate keys the last one counts, and a
// value of a wrong type is refused.
func (c *Call) Decode(v any) error {
	if !startsObject(c.body) {
		_, err := c.JSON()
		return err
	}
	err := json.Unmarshal(c.body, v)
	if err == nil {
		return nil
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		if wrong.Field == "" {
			return fault.Wrap(err, fault.BadJSON, "The request body does not have the expected form")
		}
		return fault.Wrap(err, fault.BadJSON, "%s must not be a %s", wrong.Field, wrong.Value)
	}
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return fault.Wrap(err, fault.NotJSON, "The request body is not JSON")
	}
	return fault.Wrap(err, fault.BadJSON, "The request body does not have the expected form")
}

// DecodeOptional is Decode for endpoints that clients call without a body,
// which then counts as an empty object.
func (c *Call) DecodeOptional(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	return c.Decode(v)
}

// startsObject reports whether the first byte that is not space opens an
// object.
func startsObject(body []byte) bool {
	for _, b := range body {
		switch b {
		case ' ', '\t', '\r', '\n':
		default:
			return b == '{'
		}
	}
	return false
}
