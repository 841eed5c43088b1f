package spectest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// Implemented is one row of a route table of ours.
type Implemented struct {
	Method string
	Path   string // parameters in braces, by any name and with any pattern
}

// EnvUpdate is the environment variable that, when set, makes CheckPage
// rewrite the page instead of failing.
const EnvUpdate = "UPDATE_SPEC_COVERAGE"

// CheckPage fails the test when the page at path is not what Coverage says of
// the table; with UPDATE_SPEC_COVERAGE set it writes the page.
func (s *Spec) CheckPage(tb testing.TB, path string, table []Implemented) {
	tb.Helper()
	want := s.Coverage(table)
	if os.Getenv(EnvUpdate) != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if string(got) != want {
		tb.Errorf("%s is out of date: run the test again with %s=1 and commit the page", path, EnvUpdate)
	}
}

// Coverage renders what the table implements of the specification as
// Markdown: the totals, each module with its endpoints, and what we serve
// beyond the specification.
func (s *Spec) Coverage(table []Implemented) string {
	have := make(map[string]bool, len(table))
	for _, row := range table {
		have[row.Method+" "+shape(row.Path)] = true
	}
	c := coverage{have: have, known: make(map[string]bool)}
	c.printf("# Specification coverage\n\nGenerated from the route tables and the OpenAPI files of the Matrix specification: do not edit.\n")
	c.printf("An endpoint is ✓ when a route serves it, and – when none does. What a route does is for the tests to say.\n\n")
	c.totals(s.routes)
	for _, api := range []API{ClientServer, ServerServer} {
		c.printf("\n## %s\n", apiTitle(api))
		for _, module := range modules(s.routes, api) {
			c.module(module)
		}
	}
	c.beyond(table)
	return c.b.String()
}

type coverage struct {
	b     strings.Builder
	have  map[string]bool
	known map[string]bool // what the specification has
}

func (c *coverage) printf(format string, args ...any) { fmt.Fprintf(&c.b, format, args...) }

func (c *coverage) has(r Route) bool { return c.have[r.Method+" "+shape(r.Path)] }

func (c *coverage) totals(routes []Route) {
	c.printf("| API | endpoints | served | missing | of them deprecated |\n|---|---:|---:|---:|---:|\n")
	for _, api := range []API{ClientServer, ServerServer} {
		var all, served, deprecated int
		for _, r := range routes {
			if r.API != api {
				continue
			}
			all++
			switch {
			case c.has(r):
				served++
			case r.Deprecated:
				deprecated++
			}
		}
		c.printf("| %s | %d | %d | %d | %d |\n", apiTitle(api), all, served, all-served, deprecated)
	}
}

func (c *coverage) module(routes []Route) {
	served := 0
	for _, r := range routes {
		c.known[r.Method+" "+shape(r.Path)] = true
		if c.has(r) {
			served++
		}
	}
	c.printf("\n### %s (%d of %d)\n\n| | endpoint | caller | operation |\n|---|---|---|---|\n", routes[0].File, served, len(routes))
	for _, r := range routes {
		mark := "–"
		if c.has(r) {
			mark = "✓"
		}
		note := ""
		if r.Deprecated {
			note = " (deprecated)"
		}
		c.printf("| %s | `%s %s` | %s | %s%s |\n", mark, r.Method, r.Path, r.Auth, r.OperationID, note)
	}
}

// beyond lists the routes that the specification does not have.
func (c *coverage) beyond(table []Implemented) {
	var rest []string
	for _, row := range table {
		if !c.known[row.Method+" "+shape(row.Path)] {
			rest = append(rest, row.Method+" "+row.Path)
		}
	}
	if len(rest) == 0 {
		return
	}
	slices.Sort(rest)
	c.printf("\n## Beyond the specification\n\n")
	for _, line := range slices.Compact(rest) {
		c.printf("- `%s`\n", line)
	}
}

func apiTitle(api API) string {
	if api == ClientServer {
		return "Client-Server API"
	}
	return "Server-Server API"
}

// modules groups an API's endpoints by their file, in order.
func modules(routes []Route, api API) [][]Route {
	var out [][]Route
	for _, r := range routes {
		if r.API != api {
			continue
		}
		if n := len(out); n > 0 && out[n-1][0].File == r.File {
			out[n-1] = append(out[n-1], r)
			continue
		}
		out = append(out, []Route{r})
	}
	return out
}

// shape is a path without the names and patterns of its parameters, so that
// /rooms/{roomId} and /rooms/{room:.*} are the same.
func shape(path string) string {
	var b strings.Builder
	depth := 0
	for _, c := range path {
		switch {
		case c == '{':
			if depth == 0 {
				b.WriteString("{}")
			}
			depth++
		case c == '}':
			depth--
		case depth == 0:
			b.WriteRune(c)
		}
	}
	return b.String()
}
