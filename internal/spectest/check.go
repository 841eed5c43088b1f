package spectest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

type number = json.Number

// Problem is one place where a JSON document differs from its schema.
type Problem struct {
	Pointer string // where in the document: /rooms/join/!a:b/timeline
	Want    string
	Got     string
	Schema  string // where that is written in the specification
}

func (p Problem) Error() string {
	pointer := p.Pointer
	if pointer == "" {
		pointer = "/"
	}
	return fmt.Sprintf("%s: want %s, got %s (%s)", pointer, p.Want, p.Got, p.Schema)
}

// maxProblems is how many differences one check reports: the first ones say
// it, and a wrong list of events would repeat them for each.
const maxProblems = 20

type checker struct {
	problems []Problem
}

// check compares a JSON document with a schema.
func (c *schema) check(raw []byte) ([]Problem, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	var k checker
	k.value(c, v, "")
	return k.problems, nil
}

// decode reads one JSON value, keeping numbers as they are written.
func decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not JSON: more after the first value")
	}
	return v, nil
}

func (k *checker) fail(s *schema, ptr, want string, got any) {
	if len(k.problems) >= maxProblems {
		return
	}
	k.problems = append(k.problems, Problem{Pointer: ptr, Want: want, Got: show(got), Schema: s.at.String()})
}

func (k *checker) value(s *schema, v any, ptr string) {
	if !k.kind(s, v, ptr) {
		return
	}
	if len(s.enum) > 0 && !slices.ContainsFunc(s.enum, func(e any) bool { return equal(e, v) }) {
		k.fail(s, ptr, "one of "+show(s.enum), v)
	}
	switch t := v.(type) {
	case string:
		k.text(s, t, ptr)
	case []any:
		k.list(s, t, ptr)
	case map[string]any:
		k.object(s, t, ptr)
	case number:
		k.number(s, t, ptr)
	}
	for _, sub := range s.allOf {
		k.value(sub, v, ptr)
	}
	k.choices(s, v, ptr)
}

// kind reports whether v has one of the schema's types: when it has not,
// nothing else about it is worth saying.
func (k *checker) kind(s *schema, v any, ptr string) bool {
	if len(s.types) == 0 {
		return true
	}
	kind := kindOf(v)
	for _, want := range s.types {
		if want == kind || want == "number" && kind == "integer" {
			return true
		}
	}
	k.fail(s, ptr, strings.Join(s.types, " or "), v)
	return false
}

// choices checks anyOf. When no branch fits it reports the branch that came
// nearest, which is the one with the fewest and deepest problems.
func (k *checker) choices(s *schema, v any, ptr string) {
	if len(s.anyOf) == 0 {
		return
	}
	var best []Problem
	for _, sub := range s.anyOf {
		var try checker
		try.value(sub, v, ptr)
		if len(try.problems) == 0 {
			return
		}
		if best == nil || depth(try.problems) > depth(best) {
			best = try.problems
		}
	}
	for _, p := range best {
		if len(k.problems) < maxProblems {
			p.Want = "(in the nearest of several forms) " + p.Want
			k.problems = append(k.problems, p)
		}
	}
}

func depth(ps []Problem) int {
	deepest := 0
	for _, p := range ps {
		deepest = max(deepest, strings.Count(p.Pointer, "/"))
	}
	return deepest
}

func (k *checker) text(s *schema, t, ptr string) {
	if s.pattern != nil && !s.pattern.MatchString(t) {
		k.fail(s, ptr, "a string that matches "+s.pattern.String(), t)
	}
	if s.maxLength >= 0 && utf8.RuneCountInString(t) > s.maxLength {
		k.fail(s, ptr, fmt.Sprintf("at most %d characters", s.maxLength), t)
	}
	if !hasFormat(s.format, t) {
		k.fail(s, ptr, "a string in the format "+s.format, t)
	}
}

func (k *checker) number(s *schema, n number, ptr string) {
	if s.format != "int64" && s.format != "int32" {
		return
	}
	bits := 64
	if s.format == "int32" {
		bits = 32
	}
	if _, err := strconv.ParseInt(string(n), 10, bits); err != nil {
		k.fail(s, ptr, "a number in the format "+s.format, n)
	}
}

func (k *checker) list(s *schema, l []any, ptr string) {
	if len(l) < s.minItems {
		k.fail(s, ptr, fmt.Sprintf("at least %d items", s.minItems), l)
	}
	if s.maxItems >= 0 && len(l) > s.maxItems {
		k.fail(s, ptr, fmt.Sprintf("at most %d items", s.maxItems), l)
	}
	if s.items == nil {
		return
	}
	for i, v := range l {
		k.value(s.items, v, ptr+"/"+strconv.Itoa(i))
	}
}

func (k *checker) object(s *schema, m map[string]any, ptr string) {
	for _, name := range s.required {
		if _, ok := m[name]; !ok {
			k.fail(s, ptr, "the property "+strconv.Quote(name), m)
		}
	}
	if len(m) < s.minProps {
		k.fail(s, ptr, fmt.Sprintf("at least %d properties", s.minProps), m)
	}
	if s.props == nil && s.patterns == nil && s.additional == nil && s.names == nil && !s.closed {
		return
	}
	for _, name := range sortedKeys(m) {
		k.property(s, name, m[name], ptr+"/"+escapeToken(name))
	}
}

func (k *checker) property(s *schema, name string, v any, ptr string) {
	if s.names != nil {
		k.value(s.names, name, ptr)
	}
	known := false
	if sub, ok := s.props[name]; ok {
		known = true
		k.value(sub, v, ptr)
	}
	for _, p := range s.patterns {
		if p.re.MatchString(name) {
			known = true
			k.value(p.schema, v, ptr)
		}
	}
	switch {
	case known:
	case s.closed:
		k.fail(s, ptr, "no property of this name", v)
	case s.additional != nil:
		k.value(s.additional, v, ptr)
	case len(s.patterns) == 1 && s.patterns[0].format != "" && len(s.props) == 0:
		// JSON Schema alone would let such a key pass; the specification's
		// extension says that the keys are identifiers of this kind.
		k.fail(s, ptr, "a key in the format "+s.patterns[0].format, name)
	}
}

// hasFormat checks the formats of data/string-formats.yaml; others pass.
func hasFormat(format, t string) bool {
	switch format {
	case "mx-user-id":
		return hasSigil(t, "@") && strings.Contains(t, ":")
	case "mx-event-id":
		return hasSigil(t, "$")
	case "mx-room-id":
		return hasSigil(t, "!")
	case "mx-room-alias":
		return hasSigil(t, "#") && strings.Contains(t, ":")
	case "mx-server-name":
		return t != "" && !strings.ContainsAny(t, "/@ #?")
	case "mx-mxc-uri":
		rest, ok := strings.CutPrefix(t, "mxc://")
		server, media, both := strings.Cut(rest, "/")
		return ok && both && server != "" && media != ""
	case "mx-unpadded-base64":
		_, err := base64.RawStdEncoding.DecodeString(t)
		return err == nil
	case "mx-urlsafe-unpadded-base64":
		_, err := base64.RawURLEncoding.DecodeString(t)
		return err == nil
	case "uri":
		u, err := url.Parse(t)
		return err == nil && u.IsAbs()
	case "email":
		return strings.Count(t, "@") == 1
	}
	return true
}

func hasSigil(t, sigil string) bool { return len(t) > 1 && strings.HasPrefix(t, sigil) }

// equal compares a value of an enum in YAML with one of a document in JSON.
func equal(want, got any) bool {
	if n, ok := got.(number); ok {
		return fmt.Sprint(want) == string(n)
	}
	switch want.(type) {
	case nil, bool, string:
		return want == got
	}
	return false
}

// show renders a value for an error, cut short.
func show(v any) string {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%T", v)
	}
	text := strings.TrimSpace(buf.String())
	if len(text) > 160 {
		text = text[:160] + "…"
	}
	return kindOf(v) + " " + text
}
