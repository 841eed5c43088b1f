package event

import (
	"bytes"
	"iter"
	"strconv"
	"unsafe"
)

// Value is a value of canonical JSON, read in place: an event's content is
// one. A nil Value is no value, and its accessors answer zero. Bytes that are
// not canonical JSON give meaningless answers, never a panic.
type Value []byte

// IsObject reports whether v is an object.
func (v Value) IsObject() bool { return len(v) > 0 && v[0] == '{' }

// IsArray reports whether v is an array.
func (v Value) IsArray() bool { return len(v) > 0 && v[0] == '[' }

// IsString reports whether v is a string.
func (v Value) IsString() bool { return len(v) > 1 && v[0] == '"' }

// Get is the value of an object's member; nil when there is none.
func (v Value) Get(key string) Value {
	if !v.IsObject() {
		return nil
	}
	for m, next, ok := nextMember(v, 1); ok; m, next, ok = nextMember(v, next) {
		if equalKey(m.key(v), key) {
			return m.val(v)
		}
	}
	return nil
}

// Str is the value of a string. It may share v's memory.
func (v Value) Str() (s string, ok bool) {
	if !v.IsString() {
		return "", false
	}
	return unquote(v[1 : len(v)-1]), true
}

// Int is the value of an integer that fits; numbers with a fraction or an
// exponent, which room versions 1 to 5 allow, are not integers.
func (v Value) Int() (n int64, ok bool) {
	if len(v) == 0 || v[0] != '-' && !isDigit(v[0]) {
		return 0, false
	}
	n, err := strconv.ParseInt(view(v), 10, 64)
	return n, err == nil
}

// Bool is the value of true or false.
func (v Value) Bool() (b, ok bool) {
	switch string(v) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// Members are the members of an object, in the order of their keys.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if !v.IsObject() {
			return
		}
		for m, next, ok := nextMember(v, 1); ok; m, next, ok = nextMember(v, next) {
			if !yield(unquote(m.key(v)), m.val(v)) {
				return
			}
		}
	}
}

// Elements are the elements of an array.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if !v.IsArray() {
			return
		}
		for i := 1; i < len(v) && v[i] != ']'; {
			end := skipValue(v, i)
			if !yield(v[i:end]) {
				return
			}
			i = end + 1
		}
	}
}

// memberAt is the member whose key opens at b[i]; ok is false when the bytes
// end before its value.
func memberAt(b []byte, i int) (m member, ok bool) {
	value := skipString(b, i) + 1
	if value >= len(b) {
		return member{}, false
	}
	return member{start: uint32(i), value: uint32(value), end: uint32(skipValue(b, value))}, true
}

// nextMember is the member of the object b at or after i, and where to go on.
func nextMember(b []byte, i int) (m member, next int, ok bool) {
	if i >= len(b) || b[i] != '"' {
		return member{}, 0, false
	}
	m, ok = memberAt(b, i)
	return m, int(m.end) + 1, ok
}

// skipValue is the index after the value at b[i].
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	return i
}

func skipNested(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(b)
}

// skipString is the index after the string whose opening quote is b[i].
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			break
		}
		i += n
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return len(b)
}

// unescape reads one byte of a canonical JSON string, all of whose escapes
// stand for a single byte.
func unescape(s []byte) (c byte, rest []byte) {
	if s[0] != '\\' || len(s) < 2 {
		return s[0], s[1:]
	}
	switch s[1] {
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		if r, ok := hex4(s); ok {
			return byte(r), s[6:]
		}
		c = 'u'
	default:
		c = s[1]
	}
	return c, s[2:]
}

func equalKey(raw []byte, key string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == key
	}
	return unquote(raw) == key
}

// unquote is the string that stands between two quotes in canonical JSON. It
// shares raw's memory when nothing is escaped.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return view(raw)
	}
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		var c byte
		c, raw = unescape(raw)
		out = append(out, c)
	}
	return view(out)
}

// view is b as a string without a copy: nothing may write to b any more.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
