package governance

import "strings"

// Patterns is a set of names: each pattern is a name in which * stands for any
// characters and ? for one. The pattern * alone is every name; no pattern at
// all is none.
type Patterns []string

// Everything is the set of all names.
func Everything() Patterns { return Patterns{"*"} }

// Match reports whether a name is in the set.
func (p Patterns) Match(name string) bool {
	for _, pattern := range p {
		if glob(pattern, name) {
			return true
		}
	}
	return false
}

// All reports whether every name is in the set.
func (p Patterns) All() bool {
	for _, pattern := range p {
		if pattern == "*" {
			return true
		}
	}
	return false
}

// String is the set as an operator writes it.
func (p Patterns) String() string {
	switch {
	case len(p) == 0:
		return "none"
	case p.All():
		return "all"
	}
	return strings.Join(p, ",")
}

// ParsePatterns reads what an operator wrote: all, none, or patterns with
// commas between them.
func ParsePatterns(text string) Patterns {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "all", "everyone", "*":
		return Everything()
	case "none", "nobody", "":
		return Patterns{}
	}
	var out Patterns
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// glob matches in time that is linear in the name for each star: when the
// rest after a star does not fit, the star takes one character more.
func glob(pattern, name string) bool {
	p, n := 0, 0
	star, after := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, after = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			after++
			p, n = star+1, after
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
