package event

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
)

// plainRun is the length of the run at the start of b that a JSON string can
// hold as it is, and whether the run has bytes beyond ASCII.
func plainRun(b []byte) (n int, ascii bool) {
	var seen uint64
	for len(b)-n >= 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote := w ^ everyByte*'"'
		slash := w ^ everyByte*'\\'
		special := (quote-everyByte)&^quote | (slash-everyByte)&^slash | (w-everyByte*' ')&^w
		if special&highBits != 0 {
			break
		}
		seen |= w
		n += 8
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' {
		seen |= uint64(b[n])
		n++
	}
	return n, seen&highBits == 0
}

// str reads a string and writes it with the fewest escapes.
func (e *encoder) str() error {
	e.pos++
	e.out = append(e.out, '"')
	for {
		n, ascii := plainRun(e.in[e.pos:])
		run := e.in[e.pos : e.pos+n]
		if !ascii && !utf8.Valid(run) {
			return e.fail("a string is not UTF-8")
		}
		e.out = append(e.out, run...)
		e.pos += n
		switch e.peek() {
		case '"':
			e.pos++
			e.out = append(e.out, '"')
			return nil
		case '\\':
			if err := e.escape(); err != nil {
				return err
			}
		default:
			return e.fail("a string does not end")
		}
	}
}

func (e *encoder) escape() error {
	if e.pos+1 >= len(e.in) {
		return e.fail("a string does not end")
	}
	c := e.in[e.pos+1]
	switch c {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		e.out = append(e.out, '\\', c)
	case '/':
		e.out = append(e.out, '/')
	case 'u':
		return e.unicode()
	default:
		return e.fail("unknown escape")
	}
	e.pos += 2
	return nil
}

func (e *encoder) unicode() error {
	r, ok := hex4(e.in[e.pos:])
	if !ok {
		return e.fail("unknown escape")
	}
	e.pos += 6
	if utf16.IsSurrogate(r) {
		low, ok := hex4(e.in[e.pos:])
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return e.fail("a surrogate without its pair")
		}
		e.pos += 6
	}
	e.out = appendRune(e.out, r)
	return nil
}

// hex4 reads an escape \uXXXX at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendRune appends r as canonical JSON writes it inside a string.
func appendRune(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r < ' ' {
		return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// appendString appends s as a canonical JSON string. Bytes that are not UTF-8
// are replaced; strings that come from parsed JSON have none.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for b := unsafe.Slice(unsafe.StringData(s), len(s)); ; {
		n, ascii := plainRun(b)
		if run := b[:n]; ascii || utf8.Valid(run) {
			dst = append(dst, run...)
		} else {
			dst = append(dst, bytes.ToValidUTF8(run, []byte("\uFFFD"))...)
		}
		if n == len(b) {
			return append(dst, '"')
		}
		dst = appendRune(dst, rune(b[n]))
		b = b[n+1:]
	}
}
