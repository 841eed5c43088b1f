package entente

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"entente/clientapi"
	"entente/federation/inbound"
	"entente/internal/spectest"
	"entente/internal/web"
)

// served is every route of the server that the specification may know.
func served() []web.Route {
	return slices.Concat(
		clientapi.New(clientapi.Options{}).Routes(),
		inbound.New(inbound.Options{}).Routes(),
	)
}

// The coverage page says what is served and what is not, and is never edited:
// make docs.
func TestCoverage(t *testing.T) {
	spec := spectest.FromEnv(t)
	var table []spectest.Implemented
	for _, r := range served() {
		table = append(table, spectest.Implemented{Method: r.Method, Path: r.Path})
	}
	spec.CheckPage(t, "docs/spec-coverage.md", table)
}

// callers are the kinds of caller that the specification's may become.
var callers = map[spectest.Auth][]web.Auth{
	spectest.AuthNone:     {web.AuthNone, web.AuthOptional},
	spectest.AuthOptional: {web.AuthOptional, web.AuthNone},
	spectest.AuthUser:     {web.AuthUser, web.AuthGuest, web.AuthAdmin},
	spectest.AuthServer:   {web.AuthServer},
}

// A route cites its endpoint, and lets those call whom the specification
// lets.
func TestRoutesAreTheSpecifications(t *testing.T) {
	spec := spectest.FromEnv(t)
	known := make(map[string]spectest.Route)
	for _, r := range spec.Routes() {
		known[shape(r.Method, r.Path)] = r
	}
	seen := make(map[string]bool)
	for _, r := range served() {
		at := shape(r.Method, r.Path)
		if seen[at] {
			t.Errorf("%s is in the tables twice", at)
		}
		seen[at] = true
		want, ok := known[at]
		if !ok {
			continue // unstable, or for operators
		}
		if !slices.Contains(callers[want.Auth], r.Auth) {
			t.Errorf("%s is for another kind of caller than the specification's %q", at, want.Auth)
		}
		page, anchor, _ := strings.Cut(r.Spec, "/#")
		if anchor != want.Anchor() {
			t.Errorf("%s cites %s, not %s", at, r.Spec, want.Anchor())
		}
		if err := spec.CheckAnchor(page, anchor); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// shape is method and path, whatever the parameters are called.
func shape(method, path string) string {
	return method + " " + parameter.ReplaceAllString(path, "{}")
}
