package spectest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// schema is a compiled JSON Schema, the part of it that the specification's
// files use. Absent keywords are zero and allow everything.
type schema struct {
	at       place
	types    []string
	enum     []any
	pattern  *regexp.Regexp
	format   string
	required []string

	props      map[string]*schema
	patterns   []patternSchema
	names      *schema // propertyNames
	additional *schema // additionalProperties, when it is a schema
	closed     bool    // additionalProperties: false
	items      *schema

	allOf, anyOf []*schema

	minItems, maxItems, maxLength, minProps int // maxima: -1 when absent
}

// patternSchema is one entry of patternProperties. format is the
// specification's own x-pattern-format, which says what the keys are.
type patternSchema struct {
	re     *regexp.Regexp
	format string
	schema *schema
}

// schemaAt compiles the schema at p, once.
func (s *Spec) schemaAt(p place) (*schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compileLocked(p)
}

// compileLocked compiles the schema at p. Schemas refer to themselves, so the
// entry is made before it is filled.
func (s *Spec) compileLocked(p place) (*schema, error) {
	v, p, err := s.rawLocked(p, 0)
	if err != nil {
		return nil, err
	}
	if done, ok := s.schemas[p.String()]; ok {
		return done, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: a schema must be an object, not %T", p, v)
	}
	ref, isRef := m["$ref"].(string)
	if isRef && len(m) == 1 {
		return s.compileLocked(p.refer(ref))
	}
	c := &schema{at: p, format: textAt(m, "format"), maxItems: -1, maxLength: -1}
	s.schemas[p.String()] = c
	if isRef {
		sub, err := s.compileLocked(p.refer(ref))
		if err != nil {
			return nil, err
		}
		c.allOf = append(c.allOf, sub)
	}
	if err := s.fillLocked(c, m); err != nil {
		delete(s.schemas, p.String())
		return nil, err
	}
	return c, nil
}

func (s *Spec) fillLocked(c *schema, m map[string]any) error {
	c.types = stringList(m["type"])
	c.required = stringList(m["required"])
	c.enum, _ = m["enum"].([]any)
	for key, to := range map[string]*int{"minItems": &c.minItems, "maxItems": &c.maxItems, "maxLength": &c.maxLength, "minProperties": &c.minProps} {
		if n, ok := m[key].(uint64); ok {
			*to = int(n)
		}
	}
	if t, ok := m["pattern"].(string); ok {
		re, err := regexp.Compile(t)
		if err != nil {
			return fmt.Errorf("%s: %w", c.at, err)
		}
		c.pattern = re
	}
	if err := s.fillObjectLocked(c, m); err != nil {
		return err
	}
	if _, ok := m["items"]; ok {
		var err error
		if c.items, err = s.compileLocked(c.at.child("items")); err != nil {
			return err
		}
	}
	return s.fillChoicesLocked(c, m)
}

func (s *Spec) fillObjectLocked(c *schema, m map[string]any) (err error) {
	props, _ := m["properties"].(map[string]any)
	if len(props) > 0 {
		c.props = make(map[string]*schema, len(props))
	}
	for name := range props {
		if c.props[name], err = s.compileLocked(c.at.child("properties").child(name)); err != nil {
			return err
		}
	}
	patterns, _ := m["patternProperties"].(map[string]any)
	for _, expr := range sortedKeys(patterns) {
		p := patternSchema{format: textAt(patterns, expr, "x-pattern-format")}
		if p.re, err = regexp.Compile(expr); err != nil {
			return fmt.Errorf("%s: %w", c.at, err)
		}
		if p.schema, err = s.compileLocked(c.at.child("patternProperties").child(expr)); err != nil {
			return err
		}
		c.patterns = append(c.patterns, p)
	}
	if _, ok := m["propertyNames"]; ok {
		if c.names, err = s.compileLocked(c.at.child("propertyNames")); err != nil {
			return err
		}
	}
	switch extra := m["additionalProperties"].(type) {
	case bool:
		c.closed = !extra
	case map[string]any:
		c.additional, err = s.compileLocked(c.at.child("additionalProperties"))
	}
	return err
}

// fillChoicesLocked compiles allOf, anyOf and oneOf. The specification writes
// oneOf where it means anyOf (the state of a room is "an object or an event",
// and every event is an object), so the two are one here.
func (s *Spec) fillChoicesLocked(c *schema, m map[string]any) error {
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := m[key].([]any)
		for i := range list {
			sub, err := s.compileLocked(c.at.child(key).child(fmt.Sprint(i)))
			if err != nil {
				return err
			}
			if key == "allOf" {
				c.allOf = append(c.allOf, sub)
			} else {
				c.anyOf = append(c.anyOf, sub)
			}
		}
	}
	return nil
}

// stringList reads a keyword that is one string or a list of them.
func stringList(v any) []string {
	switch t := v.(type) {
	case string:
		return []string{t}
	case []any:
		out := make([]string, 0, len(t))
		for _, item := range t {
			if text, ok := item.(string); ok {
				out = append(out, text)
			}
		}
		return out
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// kindOf names a decoded JSON value as JSON Schema does.
func kindOf(v any) string {
	switch t := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case number:
		if strings.ContainsAny(string(t), ".eE") {
			return "number"
		}
		return "integer"
	case []any:
		return "array"
	default:
		return "object"
	}
}
