package event_test

import (
	"fmt"
	"testing"

	"entente/roomserver/event"
)

func TestValue(t *testing.T) {
	v := event.Value(`{"\"k\\\n":"esc\u0001aped\"","arr":[1,[2,"]"],{"x":"}"},"\\"],"big":9223372036854775808,` +
		`"bool":true,"f":1.5,"int":-42,"none":null,"obj":{"in":{"deep":"\\\"]}"}},"str":"plain"}`)
	str := func(v event.Value) string { s, ok := v.Str(); return fmt.Sprint(s, ok) }
	integer := func(v event.Value) string { n, ok := v.Int(); return fmt.Sprint(n, ok) }
	boolean := func(v event.Value) string { b, ok := v.Bool(); return fmt.Sprint(b, ok) }
	for _, c := range []struct{ name, got, want string }{
		{"a key with escapes", str(v.Get("\"k\\\n")), "esc\x01aped\"true"},
		{"a string", str(v.Get("str")), "plaintrue"},
		{"a nested string", str(v.Get("obj").Get("in").Get("deep")), `\"]}true`},
		{"no string", str(v.Get("int")), "false"},
		{"an integer", integer(v.Get("int")), "-42 true"},
		{"too big an integer", integer(v.Get("big")), "9223372036854775807 false"},
		{"no integer", integer(v.Get("f")), "0 false"},
		{"a string is no integer", integer(v.Get("str")), "0 false"},
		{"true", boolean(v.Get("bool")), "true true"},
		{"null is not false", boolean(v.Get("none")), "false false"},
		{"nothing", string(v.Get("absent").Get("x")), ""},
		{"null", string(v.Get("none")), "null"},
		{"a member of a list", string(v.Get("arr").Get("x")), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
	var elements []string
	for e := range v.Get("arr").Elements() {
		elements = append(elements, string(e))
	}
	if got := fmt.Sprintf("%q", elements); got != `["1" "[2,\"]\"]" "{\"x\":\"}\"}" "\"\\\\\""]` {
		t.Errorf("elements %s", got)
	}
	n := 0
	for key := range v.Members() {
		if n++; key == "bool" {
			break
		}
	}
	if n != 4 {
		t.Errorf("%d members up to bool", n)
	}
	for range v.Get("arr").Elements() {
		n++
		break
	}
	for range event.Value(`"x"`).Members() {
		t.Error("a string has members")
	}
	for range event.Value(`{}`).Elements() {
		t.Error("an object has elements")
	}
}

// walk reads everything there is to read in a value.
func walk(v event.Value, depth int) {
	v.Str()
	v.Int()
	v.Bool()
	v.Get("x")
	if depth == 0 {
		return
	}
	for key, member := range v.Members() {
		v.Get(key)
		walk(member, depth-1)
	}
	for element := range v.Elements() {
		walk(element, depth-1)
	}
}

// TestValueOfNonsense: whatever the bytes, nothing panics and all ends.
func TestValueOfNonsense(t *testing.T) {
	whole := `{"a\\":{"b":["x",{"c":"\u0001"},1]},"d":"\""}`
	for i := range len(whole) + 1 {
		walk(event.Value(whole[:i]), 8)
		walk(event.Value(whole[i:]), 8)
	}
	for _, v := range []string{`{"`, `{""`, `{"":`, `{"":"`, `{"\`, `["`, `[\`, `{"a"}`, `{"a":}`, `[,,]`, `{{`, `[[`, `[]]`, `{"a" "b"}`} {
		walk(event.Value(v), 8)
	}
}
