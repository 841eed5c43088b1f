package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	streamBuffer = 32 << 10
	// maxElement bounds one event in an answer: 64 KiB in canonical form,
	// more as a peer may write it.
	maxElement = 512 << 10
	// maxMember bounds a member that is kept whole, such as a list of servers.
	maxMember = 4 << 20
	maxKey    = 256
)

// Errors of a stream.
var (
	errNotObject = errors.New("not an object")
	errElement   = errors.New("an element is too long")
	errSyntax    = errors.New("malformed JSON")
)

// field is what to do with a member of a streamed object: give each element
// of an array to each, or keep the value in into.
type field struct {
	each func(json.RawMessage) error
	into *json.RawMessage
	// required fields must be there.
	required bool
}

// callbackError marks an error of the receiver's, which is not the peer's
// doing.
type callbackError struct{ error }

// streamObject reads an object and hands its members to fields as they
// arrive; other members are passed over. At most one element is in memory. It
// checks what it must to find the borders of elements; whether each is valid
// JSON is for its receiver to check.
func streamObject(r io.Reader, fields map[string]field) error {
	s := &splitter{r: r, buf: make([]byte, streamBuffer)}
	if c, err := s.next(); err != nil || c != '{' {
		return orError(err, errNotObject)
	}
	seen := map[string]bool{}
	err := s.list('}', func() error {
		key, err := s.key()
		if err != nil {
			return err
		}
		f, ok := fields[key]
		if !ok {
			return s.skip()
		}
		if seen[key] {
			return fmt.Errorf("%w: %s is there twice", errSyntax, key)
		}
		seen[key] = true
		return s.member(key, f)
	})
	if err != nil {
		return err
	}
	for key, f := range fields {
		if f.required && !seen[key] {
			return fmt.Errorf("%s is missing", key)
		}
	}
	// The end must be reached for the connection to be used again.
	if _, err := s.next(); err == nil {
		return fmt.Errorf("%w: more behind the object", errSyntax)
	} else if !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}

func orError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// splitter finds the borders of JSON values in a stream.
type splitter struct {
	r       io.Reader
	buf     []byte
	i, n    int // buf[i:n] is unread
	scratch []byte
}

// fill reads more once everything is consumed.
func (s *splitter) fill() error {
	for range 100 {
		n, err := s.r.Read(s.buf)
		s.i, s.n = 0, n
		if n > 0 {
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// peek is the next byte that is not white space.
func (s *splitter) peek() (byte, error) {
	for {
		for ; s.i < s.n; s.i++ {
			switch s.buf[s.i] {
			case ' ', '\t', '\r', '\n':
			default:
				return s.buf[s.i], nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// next takes that byte.
func (s *splitter) next() (byte, error) {
	c, err := s.peek()
	if err == nil {
		s.i++
	}
	return c, err
}

// list reads the elements of a container whose opening bracket has been read.
func (s *splitter) list(closing byte, element func() error) error {
	if c, err := s.peek(); err != nil {
		return err
	} else if c == closing {
		s.i++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch c, err := s.next(); {
		case err != nil:
			return err
		case c == closing:
			return nil
		case c != ',':
			return errSyntax
		}
	}
}

// key reads a member's name and its colon.
func (s *splitter) key() (string, error) {
	if c, err := s.peek(); err != nil || c != '"' {
		return "", orError(err, errSyntax)
	}
	raw, err := s.value(maxKey)
	if err != nil {
		return "", err
	}
	key := string(raw[1 : len(raw)-1])
	if bytes.IndexByte(raw, '\\') >= 0 {
		if err := json.Unmarshal(raw, &key); err != nil {
			return "", err
		}
	}
	if c, err := s.next(); err != nil || c != ':' {
		return "", orError(err, errSyntax)
	}
	return key, nil
}

func (s *splitter) member(key string, f field) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if f.each == nil || c == 'n' {
		value, err := s.value(maxMember)
		if f.into != nil {
			*f.into = bytes.Clone(value)
		} else if err == nil && string(value) != "null" {
			err = errSyntax
		}
		return err
	}
	if c != '[' {
		return fmt.Errorf("%s is not an array", key)
	}
	s.i++
	return s.list(']', func() error {
		if c, err := s.peek(); err != nil || c != '{' {
			return orError(err, errNotObject)
		}
		value, err := s.value(maxElement)
		if err != nil {
			return err
		}
		if err := f.each(bytes.Clone(value)); err != nil {
			return &callbackError{err}
		}
		return nil
	})
}

// skip passes over a value of any length.
func (s *splitter) skip() error {
	_, err := s.value(-1)
	return err
}

// value reads one value. With a negative limit it keeps nothing; otherwise
// what it returns is good until the next call.
func (s *splitter) value(limit int) ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	s.scratch = s.scratch[:0]
	var b border
	for {
		chunk := s.buf[s.i:s.n]
		used, done := b.scan(chunk)
		s.i += used
		if limit >= 0 {
			if len(s.scratch)+used > limit {
				return nil, errElement
			}
			s.scratch = append(s.scratch, chunk[:used]...)
		}
		if done {
			if b.bad {
				return nil, errSyntax
			}
			return s.scratch, nil
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// border looks for the end of one value.
type border struct {
	depth    int
	inString bool
	escaped  bool
	scalar   bool // a number or a word has begun
	bad      bool
}

// scan says how much of chunk belongs to the value, and whether it ended.
func (b *border) scan(chunk []byte) (used int, done bool) {
	for i, c := range chunk {
		if b.inString {
			switch {
			case b.escaped:
				b.escaped = false
			case c == '\\':
				b.escaped = true
			case c == '"':
				b.inString = false
				if b.depth == 0 {
					return i + 1, true
				}
			}
			continue
		}
		switch c {
		case '"':
			b.inString = true
			if b.scalar {
				b.bad = true
				return i, true
			}
		case '{', '[':
			b.depth++
			if b.scalar {
				b.bad = true
				return i, true
			}
		case '}', ']':
			if b.depth == 0 {
				b.bad = !b.scalar
				return i, true
			}
			if b.depth--; b.depth == 0 {
				return i + 1, true
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if b.depth == 0 {
				b.bad = !b.scalar
				return i, true
			}
		default:
			b.scalar = b.scalar || b.depth == 0
		}
	}
	return len(chunk), false
}
