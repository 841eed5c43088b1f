package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Raw is JSON that is answered as it is.
type Raw []byte

// Empty answers an empty JSON object.
var Empty = Raw("{}")

// Appender is a value that writes its own JSON, for answers that are composed
// from ready-made pieces.
type Appender interface {
	// AppendJSON appends the value to dst.
	AppendJSON(dst []byte) ([]byte, error)
}

// Answer is an answer that is not simply 200 and JSON.
type Answer struct {
	// Status is the HTTP status; zero is 200.
	Status int
	// Header is set on the answer.
	Header http.Header
	// ContentType is what Body is; empty is JSON.
	ContentType string
	// Body is as a handler's own value; nil is no body at all.
	Body any
}

// Redirect answers 302 with a location.
func Redirect(location string) Answer {
	return Answer{Status: http.StatusFound, Header: http.Header{"Location": {location}}}
}

// Stream is an answer that writes itself, for what is too large to hold in
// memory. It sets its own headers and status. After its first byte an error
// can only cut the connection. A reader must keep reading: each write waits
// for a bounded time.
type Stream func(w http.ResponseWriter, r *http.Request) error

// Headers that never change share their values; nobody may append to them.
var (
	contentJSON = []string{"application/json"}
	noStore     = []string{"no-store"}
)

// scratch is a buffer and an encoder that writes into it.
type scratch struct {
	buf bytes.Buffer
	enc *json.Encoder
}

// maxScratch is the largest buffer that is kept for the next answer.
const maxScratch = 1 << 16

// newScratches makes the pool of buffers that a Router encodes answers in.
func newScratches() *sync.Pool {
	return &sync.Pool{New: func() any {
		s := &scratch{}
		s.enc = json.NewEncoder(&s.buf)
		s.enc.SetEscapeHTML(false)
		return s
	}}
}

// respond answers with a handler's value.
func (c *Call) respond(v any) error {
	status, contentType := http.StatusOK, ""
	switch answer := v.(type) {
	case Stream:
		return c.stream(answer)
	case Answer:
		if answer.Status != 0 {
			status = answer.Status
		}
		header := c.w.Header()
		for name, values := range answer.Header {
			header[name] = values
		}
		if answer.Body == nil {
			c.writeStatus(status)
			return nil
		}
		v, contentType = answer.Body, answer.ContentType
	case nil:
		v = Empty
	}
	return c.write(status, contentType, v)
}

// write encodes v and writes it. An error means that nothing was written.
func (c *Call) write(status int, contentType string, v any) error {
	switch body := v.(type) {
	case Raw:
		return c.writeBytes(status, contentType, body)
	case []byte:
		return c.writeBytes(status, contentType, body)
	case json.RawMessage:
		return c.writeBytes(status, contentType, body)
	case string:
		return c.writeBytes(status, contentType, []byte(body))
	}
	s := c.router.scratches.Get().(*scratch)
	defer func() {
		if s.buf.Cap() <= maxScratch {
			c.router.scratches.Put(s)
		}
	}()
	s.buf.Reset()
	if appender, ok := v.(Appender); ok {
		body, err := appender.AppendJSON(s.buf.AvailableBuffer())
		if err != nil {
			return fmt.Errorf("compose the answer: %w", err)
		}
		// Writing what was appended in place costs nothing, and keeps what
		// was grown for the next answer.
		s.buf.Write(body)
		return c.writeBytes(status, contentType, s.buf.Bytes())
	}
	if err := s.enc.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	s.buf.Truncate(s.buf.Len() - 1) // the encoder's newline
	return c.writeBytes(status, contentType, s.buf.Bytes())
}

// Large answers may take a while: patience and as long as slowest bytes a
// second would take.
const (
	large    = 1 << 16
	patience = 30 * time.Second
	slowest  = 16 << 10
)

func (c *Call) writeBytes(status int, contentType string, body []byte) error {
	header := c.w.Header()
	if contentType == "" {
		header["Content-Type"] = contentJSON
	} else {
		header["Content-Type"] = []string{contentType}
	}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.writeStatus(status)
	if len(body) > large {
		ctl := http.NewResponseController(c.w)
		wait := patience + time.Duration(len(body)/slowest)*time.Second
		_ = ctl.SetWriteDeadline(time.Now().Add(wait))
		defer func() { _ = ctl.SetWriteDeadline(time.Time{}) }()
	}
	n, _ := c.w.Write(body) // the caller is gone if this fails
	c.sent += int64(n)
	return nil
}

func (c *Call) writeStatus(status int) {
	c.status = status
	c.w.WriteHeader(status)
}

// stream lets an answer write itself.
func (c *Call) stream(answer Stream) error {
	w := &streamWriter{c: c, ctl: http.NewResponseController(c.w)}
	err := answer(w, c.r)
	_ = w.ctl.SetWriteDeadline(time.Time{})
	if err != nil && c.status != 0 {
		c.err = err
		panic(http.ErrAbortHandler)
	}
	if err == nil && c.status == 0 {
		c.status = http.StatusOK
	}
	return err
}

// streamWriter counts what is written and bounds each write in time.
type streamWriter struct {
	c   *Call
	ctl *http.ResponseController
}

// Header is the answer's header.
func (s *streamWriter) Header() http.Header { return s.c.w.Header() }

// WriteHeader sends the header.
func (s *streamWriter) WriteHeader(status int) {
	if s.c.status == 0 {
		s.c.writeStatus(status)
	}
}

// Write sends p.
func (s *streamWriter) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	_ = s.ctl.SetWriteDeadline(time.Now().Add(patience))
	n, err := s.c.w.Write(p)
	s.c.sent += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (s *streamWriter) Unwrap() http.ResponseWriter { return s.c.w }
