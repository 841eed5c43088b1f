package governance_test

import (
	"strings"
	"testing"

	"entente/governance"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		text string
		yes  []string
		no   []string
		back string
	}{
		{"all", []string{"", "a", "liaison-1"}, nil, "all"},
		{"everyone", []string{"a"}, nil, "all"},
		{"*", []string{"a"}, nil, "all"},
		{"none", nil, []string{"", "a"}, "none"},
		{"", nil, []string{"", "a"}, "none"},
		{"liaison-*, duty", []string{"liaison-", "liaison-1", "duty"}, []string{"liaison", "duty2", "x-liaison-1"}, "liaison-*,duty"},
		{"a?c", []string{"abc", "a*c"}, []string{"ac", "abbc"}, "a?c"},
		{"*a*b", []string{"ab", "xaxb", "aabb"}, []string{"ba", "abx"}, "*a*b"},
	} {
		p := governance.ParsePatterns(c.text)
		for _, name := range c.yes {
			if !p.Match(name) {
				t.Errorf("%q does not match %q", c.text, name)
			}
		}
		for _, name := range c.no {
			if p.Match(name) {
				t.Errorf("%q matches %q", c.text, name)
			}
		}
		if p.String() != c.back {
			t.Errorf("%q is written %q", c.text, p.String())
		}
	}
}

// A pattern of many stars takes no long time for a name that almost fits.
func TestPatternsOfManyStars(t *testing.T) {
	p := governance.Patterns{strings.Repeat("*a", 100) + "b"}
	if p.Match(strings.Repeat("a", 250)) {
		t.Error("it matches")
	}
}

// naive says whether a name fits a pattern, by trying everything.
func naive(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if pattern[0] == '*' {
		return naive(pattern[1:], name) || name != "" && naive(pattern, name[1:])
	}
	return name != "" && (pattern[0] == '?' || pattern[0] == name[0]) && naive(pattern[1:], name[1:])
}

func FuzzPatterns(f *testing.F) {
	f.Add("a*b?c", "aabbcc")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.Count(pattern, "*") > 4 || len(pattern)+len(name) > 60 {
			return
		}
		if got, want := (governance.Patterns{pattern}).Match(name), naive(pattern, name); got != want {
			t.Errorf("%q on %q: %v, want %v", pattern, name, got, want)
		}
	})
}
