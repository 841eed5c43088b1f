package event

import (
	"bytes"
	"math"
	"strconv"
)

// numberRule says which numbers are taken and how they are written.
type numberRule uint8

const (
	// integerValues takes any spelling of an integer within ±MaxInteger.
	integerValues numberRule = iota
	// exactIntegers takes integers within ±MaxInteger in canonical spelling
	// only, as room versions from 6 on want it. Spec: rooms/v6/#canonical-json
	exactIntegers
	// anyNumber takes every number: integers of any size stay as they are,
	// and other numbers are written as Python writes them, since that is what
	// nearly all events of room versions 1 to 5 were hashed and signed by.
	// Spec: rooms/v1/#canonical-json
	anyNumber
)

// spelling is a number as JSON spells it.
type spelling struct {
	all      []byte
	integer  []byte // digits before the point
	fraction []byte // digits after the point
	exponent []byte // sign and digits after the e
	negative bool
}

func (s *spelling) isInteger() bool { return s.fraction == nil && s.exponent == nil }

// number reads a number and writes it by the encoder's rule.
func (e *encoder) number() error {
	s, ok := e.spell()
	if !ok {
		return e.fail("malformed number")
	}
	if s.isInteger() && len(s.integer) <= 15 && (s.integer[0] != '0' || !s.negative) {
		e.out = append(e.out, s.all...) // the common case
		return nil
	}
	if e.numbers == exactIntegers && (!s.isInteger() || s.integer[0] == '0') {
		return e.fail("numbers must be integers, without fraction or exponent, and not -0")
	}
	if e.numbers != anyNumber || s.fraction == nil {
		if out, ok := s.appendInteger(e.out); ok {
			e.out = out
			return nil
		}
	}
	if e.numbers != anyNumber {
		return e.fail("numbers must be integers between -(2^53)+1 and 2^53-1")
	}
	if s.isInteger() {
		e.out = append(e.out, s.all...)
		return nil
	}
	f, err := strconv.ParseFloat(string(s.all), 64)
	if err != nil {
		return e.fail("the number is too large")
	}
	e.out = appendPythonFloat(e.out, f)
	return nil
}

// spell splits the number at the encoder's position and moves past it.
func (e *encoder) spell() (s spelling, ok bool) {
	start := e.pos
	if e.peek() == '-' {
		s.negative = true
		e.pos++
	}
	if s.integer = e.digits(); len(s.integer) == 0 || s.integer[0] == '0' && len(s.integer) > 1 {
		return s, false
	}
	if e.peek() == '.' {
		e.pos++
		if s.fraction = e.digits(); len(s.fraction) == 0 {
			return s, false
		}
	}
	if c := e.peek(); c == 'e' || c == 'E' {
		e.pos++
		from := e.pos
		if c := e.peek(); c == '+' || c == '-' {
			e.pos++
		}
		if len(e.digits()) == 0 {
			return s, false
		}
		s.exponent = e.in[from:e.pos]
	}
	s.all = e.in[start:e.pos]
	return s, true
}

func (e *encoder) digits() []byte {
	start := e.pos
	for e.pos < len(e.in) && isDigit(e.in[e.pos]) {
		e.pos++
	}
	return e.in[start:e.pos]
}

// appendInteger writes the number as an integer; ok is false when it is none,
// or not within ±MaxInteger. The arithmetic is exact.
func (s *spelling) appendInteger(dst []byte) (out []byte, ok bool) {
	const most = 16 // digits of MaxInteger
	var buf [2 * most]byte
	digits := bytes.TrimRight(s.fraction, "0")
	if len(s.integer)+len(digits) > cap(buf) {
		return dst, false
	}
	shift := -len(digits)
	digits = append(append(buf[:0], s.integer...), digits...)
	if significant := bytes.TrimRight(digits, "0"); s.exponent != nil {
		shift += len(digits) - len(significant)
		digits = significant
		exponent, err := strconv.Atoi(string(s.exponent))
		if err != nil && len(digits) > 0 {
			return dst, false
		}
		shift += exponent
	}
	if digits = bytes.TrimLeft(digits, "0"); len(digits) == 0 {
		return append(dst, '0'), true
	}
	if shift < 0 || shift > most || len(digits)+shift > most {
		return dst, false
	}
	for ; shift > 0; shift-- {
		digits = append(digits, '0')
	}
	if n, err := strconv.ParseInt(string(digits), 10, 64); err != nil || n > MaxInteger {
		return dst, false
	}
	if s.negative {
		dst = append(dst, '-')
	}
	return append(dst, digits...), true
}

// appendPythonFloat writes f as Python's repr does: the shortest digits that
// read back as f, with an exponent from 1e16 up and below 1e-4.
func appendPythonFloat(dst []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if bytes.IndexByte(dst[start:], '.') < 0 {
		dst = append(dst, '.', '0')
	}
	return dst
}
