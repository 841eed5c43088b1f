package event

import (
	"bytes"
	"slices"

	"entente/internal/fault"
)

// maxNesting is how deep objects and arrays may nest.
const maxNesting = 512

// Canonical returns raw as canonical JSON. Numbers must be integers within
// ±(2^53-1), however they are spelled: 1e10 is written 10000000000. Refused
// are invalid UTF-8, lone surrogates, nesting beyond 512 levels, and objects
// that name a key twice, since a dictionary cannot hold both.
//
// Spec: appendices/#canonical-json
func Canonical(raw []byte) ([]byte, error) {
	return AppendCanonical(make([]byte, 0, len(raw)), raw)
}

// AppendCanonical appends raw as canonical JSON to dst, by the rules of
// Canonical. After an error, dst comes back as it was.
func AppendCanonical(dst, raw []byte) ([]byte, error) {
	return appendCanonical(dst, raw, integerValues)
}

func appendCanonical(dst, raw []byte, numbers numberRule) ([]byte, error) {
	var stack [24]member
	e := encoder{in: raw, out: dst, members: stack[:0], numbers: numbers}
	if err := e.document(); err != nil {
		return dst, err
	}
	return e.out, nil
}

// member is the place of one member of an object in the bytes that hold it:
// the key's opening quote, the first byte of the value, and the end.
type member struct{ start, value, end uint32 }

func (m member) key(b []byte) []byte { return b[m.start+1 : m.value-2] }
func (m member) val(b []byte) Value  { return Value(b[m.value:m.end]) }
func (m member) all(b []byte) []byte { return b[m.start:m.end] }

// encoder brings JSON to canonical form in one pass over its input. Members
// are written as they come; an object that turns out to be unsorted is put in
// order when it closes.
type encoder struct {
	in      []byte
	pos     int
	out     []byte
	members []member // of the objects that are open; in the end, of the outermost
	scratch []byte
	depth   int
	numbers numberRule

	// What to leave out of the outermost object.
	dropUnsigned, dropEventID bool
}

func (e *encoder) fail(what string) error {
	return fault.New(fault.BadJSON, "Invalid JSON at byte %d: %s", e.pos, what)
}

// document reads one value and nothing after it.
func (e *encoder) document() error {
	e.space()
	if err := e.value(); err != nil {
		return err
	}
	e.space()
	if e.pos < len(e.in) {
		return e.fail("something follows the value")
	}
	return nil
}

// objectDocument reads a document that must be an object.
func (e *encoder) objectDocument() error {
	e.space()
	if e.peek() != '{' {
		return e.fail("not an object")
	}
	return e.document()
}

// peek is the next byte, or 0 at the end: no JSON token starts with a NUL.
func (e *encoder) peek() byte {
	if e.pos < len(e.in) {
		return e.in[e.pos]
	}
	return 0
}

func (e *encoder) space() {
	for e.pos < len(e.in) {
		switch e.in[e.pos] {
		case ' ', '\n', '\r', '\t':
			e.pos++
		default:
			return
		}
	}
}

func (e *encoder) value() error {
	switch c := e.peek(); c {
	case '"':
		return e.str()
	case '{':
		return e.object()
	case '[':
		return e.array()
	case 't':
		return e.literal("true")
	case 'f':
		return e.literal("false")
	case 'n':
		return e.literal("null")
	default:
		if c == '-' || isDigit(c) {
			return e.number()
		}
		return e.fail("no value")
	}
}

func (e *encoder) literal(word string) error {
	if !bytes.HasPrefix(e.in[e.pos:], []byte(word)) {
		return e.fail("no value")
	}
	e.pos += len(word)
	e.out = append(e.out, word...)
	return nil
}

func (e *encoder) enter() error {
	if e.depth++; e.depth > maxNesting {
		return e.fail("nested too deeply")
	}
	e.out = append(e.out, e.in[e.pos])
	e.pos++
	e.space()
	return nil
}

func (e *encoder) array() error {
	if err := e.enter(); err != nil {
		return err
	}
	if e.peek() != ']' {
		for {
			if err := e.value(); err != nil {
				return err
			}
			e.space()
			if e.peek() != ',' {
				break
			}
			e.pos++
			e.space()
			e.out = append(e.out, ',')
		}
	}
	if e.peek() != ']' {
		return e.fail("the array does not end")
	}
	e.pos++
	e.out = append(e.out, ']')
	e.depth--
	return nil
}

func (e *encoder) object() error {
	if err := e.enter(); err != nil {
		return err
	}
	base, sorted := len(e.members), true
	if e.peek() != '}' {
		for {
			inOrder, err := e.member(base)
			if err != nil {
				return err
			}
			sorted = sorted && inOrder
			e.space()
			if e.peek() != ',' {
				break
			}
			e.pos++
			e.space()
		}
	}
	if e.peek() != '}' {
		return e.fail("the object does not end")
	}
	e.pos++
	if !sorted {
		if err := e.sort(base); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	if e.depth--; e.depth > 0 {
		e.members = e.members[:base]
	}
	return nil
}

// member reads a member and says whether its key comes after the last one's.
func (e *encoder) member(base int) (inOrder bool, err error) {
	before := len(e.out)
	if len(e.members) > base {
		e.out = append(e.out, ',')
	}
	m := member{start: uint32(len(e.out))}
	if e.peek() != '"' {
		return false, e.fail("no key")
	}
	if err := e.str(); err != nil {
		return false, err
	}
	e.space()
	if e.peek() != ':' {
		return false, e.fail("no value for the key")
	}
	e.pos++
	e.space()
	e.out = append(e.out, ':')
	m.value = uint32(len(e.out))
	if err := e.value(); err != nil {
		return false, err
	}
	m.end = uint32(len(e.out))
	key := m.key(e.out)
	if e.depth == 1 && (e.dropUnsigned && string(key) == "unsigned" || e.dropEventID && string(key) == "event_id") {
		e.out = e.out[:before]
		return true, nil
	}
	inOrder = true
	if n := len(e.members); n > base {
		order := compareKeys(e.members[n-1].key(e.out), key)
		if order == 0 {
			return false, e.fail("a key is there twice")
		}
		inOrder = order < 0
	}
	e.members = append(e.members, m)
	return inOrder, nil
}

// sort puts the members from base on, which end the output, in order.
func (e *encoder) sort(base int) error {
	members := e.members[base:]
	from := members[0].start
	e.scratch = append(e.scratch[:0], e.out[from:]...)
	old := e.scratch
	for i := range members {
		m := &members[i]
		m.start, m.value, m.end = m.start-from, m.value-from, m.end-from
	}
	slices.SortFunc(members, func(a, b member) int { return compareKeys(a.key(old), b.key(old)) })
	out := e.out[:from]
	for i := range members {
		m := &members[i]
		if i > 0 {
			if compareKeys(members[i-1].key(out), m.key(old)) == 0 {
				return e.fail("a key is there twice")
			}
			out = append(out, ',')
		}
		shift := uint32(len(out)) - m.start
		out = append(out, m.all(old)...)
		m.start, m.value, m.end = m.start+shift, m.value+shift, m.end+shift
	}
	e.out = out
	return nil
}

// compareKeys orders two keys of canonical JSON by the code points that they
// stand for, which is the order of their UTF-8 bytes once unescaped.
func compareKeys(a, b []byte) int {
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return bytes.Compare(a, b)
	}
	for len(a) > 0 && len(b) > 0 {
		var x, y byte
		x, a = unescape(a)
		y, b = unescape(b)
		if x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}
