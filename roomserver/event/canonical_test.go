package event_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// TestCanonicalExamples are the examples of the specification and their like.
//
// Spec: appendices/#canonical-json
func TestCanonicalExamples(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{}`, `{}`},
		{"{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", `{"one":1,"two":"Two"}`},
		{`{ "b": "2", "a": "1" }`, `{"a":"1","b":"2"}`},
		{`{"b":"2","a":"1"}`, `{"a":"1","b":"2"}`},
		{
			`{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[
				{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}`,
			`{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[` +
				`{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`,
		},
		{`{"a":"日本語"}`, `{"a":"日本語"}`},
		{`{"本":2,"日":1}`, `{"日":1,"本":2}`},
		{`{"a":"\u65E5"}`, `{"a":"日"}`},
		{`{"a":null}`, `{"a":null}`},
		{`{"a":-0,"b":1e10}`, `{"a":0,"b":10000000000}`},

		{` [ 1 , [ ] , { } , "x" , true , false ] `, `[1,[],{},"x",true,false]`},
		{`"\u0000\u0001\u0008\u0009\u000a\u000B\u000c\u000d\u001F\u0022\u005c\u002f\/\u007f"`,
			"\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\\\"\\\\//\x7f\""},
		{`"\ud83d\ude00"`, `"😀"`},
		{`{"\u0061":1,"B":2}`, `{"B":2,"a":1}`},
		{`{"a\"":1,"a#":2,"a!":3,"a":4,"a\n":5,"a\\":6,"a]":7,"a[":8}`,
			`{"a":4,"a\n":5,"a!":3,"a\"":1,"a#":2,"a[":8,"a\\":6,"a]":7}`},
		{`{"\uFFFF":1,"\ud800\udc00":2}`, "{\"\uffff\":1,\"\U00010000\":2}"},
		{`[9007199254740991,-9007199254740991,1.0,100e-2,1.5e1,0.0,-0.0e5,0e999999999999]`,
			`[9007199254740991,-9007199254740991,1,1,15,0,0,0]`},
	} {
		got, err := event.Canonical([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s becomes %s (%v), want %s", c.in, got, err, c.want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, in := range []string{
		``, ` `, `{`, `}`, `[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`,
		`{a:1}`, `{1:1}`, `{"a":1}x`, `{"a":1}{}`, `nul`, `nulL`, `tru`, `True`, `'a'`, `"`, `"a`, `"\`, `"\"`, `"\x"`,
		`"\u12"`, `"\u12G4"`, "\"\n\"", "\"\x00\"", "\"\x1f\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"aaaaaaaa\xe6\x97\"",
		`"\ud800"`, `"\ud800x"`, `"\ud800\n"`, `"\ud800\ud800"`, `"\udc00"`, `"\udc00\ud800"`,
		`01`, `-`, `-a`, `+1`, `.5`, `1.`, `1.e5`, `1e`, `1e+`, `0x10`, `NaN`, `Infinity`, `-Infinity`,
		`1.5`, `0.1`, `1e-1`, `9007199254740992`, `-9007199254740992`, `1e16`, `90071992547409910e0`, `1e400`,
		`9007199254740991.5`, `123456789012345678901234567890`, `1e99999999999999999999`,
		`{"a":1,"a":2}`, `{"b":1,"a":2,"b":3}`, `{"a":1,"\u0061":2}`, `[{"x":{"a":1,"c":1,"b":1,"a":1}}]`,
		"\ufeff{}", "{}\x00",
	} {
		dst := []byte("before")
		got, err := event.AppendCanonical(dst, []byte(in))
		if !fault.Is(err, fault.BadJSON) {
			t.Errorf("%q becomes %q, error %v", in, got, err)
		}
		if string(got) != "before" {
			t.Errorf("%q leaves %q behind", in, got)
		}
	}
}

func TestCanonicalNesting(t *testing.T) {
	for depth, ok := range map[int]bool{512: true, 513: false, 1_000_000: false} {
		for _, pair := range []string{"[]", `{"a":}`} {
			opening, closing := pair[:len(pair)-1], pair[len(pair)-1:]
			in := strings.Repeat(opening, depth-1) + pair[:1] + closing + strings.Repeat(closing, depth-1)
			if _, err := event.Canonical([]byte(in)); (err == nil) != ok {
				t.Errorf("%d levels of %s: error %v", depth, pair, err)
			}
		}
	}
}

// TestCanonicalOfDeepDisorder: sorting objects within objects must not take
// time beyond the depth times the size.
func TestCanonicalOfDeepDisorder(t *testing.T) {
	in := strings.Repeat(`{"b":`, 500) + `"` + strings.Repeat("x", 30_000) + `"` + strings.Repeat(`,"a":0}`, 500)
	want := strings.Repeat(`{"a":0,"b":`, 500) + `"` + strings.Repeat("x", 30_000) + `"` + strings.Repeat(`}`, 500)
	if got, err := event.Canonical([]byte(in)); err != nil || string(got) != want {
		t.Errorf("error %v, or the wrong order", err)
	}
}

// naive is canonical JSON by way of the standard library.
func naive(t *testing.T, value any) []byte {
	t.Helper()
	switch v := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		out := []byte{'{'}
		for i, key := range keys {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(append(out, naive(t, key)...), ':'), naive(t, v[key])...)
		}
		return append(out, '}')
	case []any:
		out := []byte{'['}
		for i, element := range v {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, naive(t, element)...)
		}
		return append(out, ']')
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		out := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		out = bytes.ReplaceAll(out, []byte(`\u2028`), []byte("\u2028"))
		return bytes.ReplaceAll(out, []byte(`\u2029`), []byte("\u2029"))
	}
}

// TestCanonicalAgainstNaive compares with a transcription over random values,
// keys that need escapes included.
func TestCanonicalAgainstNaive(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(7, 7)), rulesOf(t, "12")}
	for range 3000 {
		value := g.object(3)
		for range g.IntN(5) {
			value[g.text(6)] = g.value(2)
		}
		in, err := json.MarshalIndent(value, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.Canonical(in)
		if want := naive(t, value); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s becomes\n%s (%v), want\n%s", in, got, err, want)
		}
		if again, err := event.Canonical(got); err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%s is not a fixed point: %s (%v)", got, again, err)
		}
	}
}

// TestOldNumbers: events of room versions 1 to 5 hold any number, written as
// Python writes it; later ones hold integers in canonical spelling only.
//
// Spec: rooms/v1/#canonical-json, rooms/v6/#canonical-json
func TestOldNumbers(t *testing.T) {
	for _, c := range []struct {
		in, old string // old is empty where every version refuses
		strict  bool
	}{
		{`0`, `0`, true}, {`-7`, `-7`, true}, {`9007199254740991`, `9007199254740991`, true},
		{`-0`, `0`, false}, {`50.57`, `50.57`, false}, {`-0.5`, `-0.5`, false}, {`1.0`, `1.0`, false}, {`-0.0`, `-0.0`, false},
		{`1.50`, `1.5`, false}, {`1e3`, `1000`, false}, {`1.5e3`, `1500.0`, false}, {`1E+16`, `1e+16`, false},
		{`1.5e16`, `1.5e+16`, false}, {`1e-5`, `1e-05`, false}, {`0.0001`, `0.0001`, false}, {`1e-400`, `0.0`, false},
		{`9007199254740992`, `9007199254740992`, false}, {`-123456789012345678901234567890`, `-123456789012345678901234567890`, false},
		{`5.114698E4`, `51146.98`, false}, {`1e400`, ``, false}, {`01`, ``, false}, {`1.`, ``, false},
	} {
		eachVersion(t, func(t *testing.T, rules *event.Rules) {
			d := message(rules)
			d.Content = json.RawMessage(`{"n":` + c.in + `}`)
			p, err := d.Build(rules, signerOf("a.example"))
			switch {
			case rules.StrictCanonicalJSON && c.strict || !rules.StrictCanonicalJSON && c.old != "":
				if err != nil || string(p.Content()) != `{"n":`+c.old+`}` {
					t.Fatalf("%s: error %v, or other content", c.in, err)
				}
				if parse(t, rules, p.JSON()).Redacted() {
					t.Errorf("%s: the hash is not stable", c.in)
				}
			default:
				wantKind(t, err, fault.BadJSON)
			}
		})
	}
}
