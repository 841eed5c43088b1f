package spectest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The specification's own examples are the oracle of the validator: each
// must pass the schema beside it.
func TestEveryExampleOfTheSpecificationPassesItsOwnSchema(t *testing.T) {
	s := FromEnv(t)
	checked := 0
	for _, r := range s.Routes() {
		v, responses, err := s.node(r.at.child("responses"))
		if err != nil {
			t.Fatal(err)
		}
		for status := range v.(map[string]any) {
			_, where, err := s.node(responses.child(status))
			if err != nil {
				t.Fatal(err)
			}
			checked += s.checkExamples(t, r.OperationID+" "+status, where.child("content").child("application/json"))
		}
	}
	if checked < 200 {
		t.Errorf("only %d examples were checked", checked)
	}
}

// checkExamples checks the examples of one answer and counts them.
func (s *Spec) checkExamples(t *testing.T, name string, media place) int {
	v, media, err := s.node(media)
	if err != nil || at(v, "schema") == nil {
		return 0
	}
	sch, err := s.schemaAt(media.child("schema"))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return 0
	}
	examples, _ := at(v, "examples").(map[string]any)
	for key := range examples {
		_, where, err := s.node(media.child("examples").child(key))
		if err != nil {
			t.Fatal(err)
		}
		example, from, err := s.rawLocked(where.child("value"), 0)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(s.inline(t, example, from))
		if err != nil {
			t.Fatal(err)
		}
		problems, err := sch.check(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %v", name, p)
		}
	}
	return len(examples)
}

// inline resolves the references inside an example; what stands beside a
// reference overrides what it brings.
func (s *Spec) inline(t *testing.T, v any, from place) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.inline(t, v[i], from)
		}
		return out
	case map[string]any:
		out := make(map[string]any)
		if ref, ok := v["$ref"].(string); ok {
			target, where, err := s.rawLocked(from.refer(ref), 0)
			if err != nil {
				t.Fatal(err)
			}
			base, ok := s.inline(t, target, where).(map[string]any)
			if !ok || len(v) == 1 {
				return s.inline(t, target, where)
			}
			out = base
		}
		for key, item := range v {
			if key != "$ref" {
				out[key] = merge(out[key], s.inline(t, item, from))
			}
		}
		return out
	}
	return v
}

func merge(base, over any) any {
	b, ok1 := base.(map[string]any)
	o, ok2 := over.(map[string]any)
	if !ok1 || !ok2 {
		return over
	}
	for key, v := range o {
		b[key] = merge(b[key], v)
	}
	return b
}

var pageLink = regexp.MustCompile(`\]\(/?((?:[a-z0-9-]+(?:/[a-z0-9-]+)*)?)/?#([^)\s]+)\)`)

// The specification's own links are the oracle of the anchors. A few of them
// are broken in the specification itself.
func TestLinksOfTheSpecificationNameAnchorsThatExist(t *testing.T) {
	s := FromEnv(t)
	content := filepath.Join(s.root, "content")
	var total int
	broken := make(map[string]bool)
	err := filepath.WalkDir(content, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".md") || strings.Contains(name, "changelog") {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range pageLink.FindAllStringSubmatch(string(raw), -1) {
			page := m[1]
			if page == "" {
				page = pageOf(t, content, name)
			}
			if page == "" {
				continue
			}
			total++
			if err := s.CheckAnchor(page, m[2]); err != nil {
				broken[err.Error()] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total < 500 || len(broken) > 5 {
		t.Errorf("of %d links, these are broken: %v", total, broken)
	}
}

// pageOf is the page that a file of the specification becomes, or "" for one
// that becomes part of several.
func pageOf(t *testing.T, content, name string) string {
	rel, err := filepath.Rel(content, name)
	if err != nil {
		t.Fatal(err)
	}
	page := strings.TrimSuffix(strings.TrimSuffix(filepath.ToSlash(rel), ".md"), "/_index")
	switch {
	case strings.HasPrefix(page, "client-server-api/"):
		return "client-server-api"
	case strings.HasPrefix(page, "rooms/fragments"):
		return ""
	}
	return page
}

func TestRoutesOfTheSpecification(t *testing.T) {
	s := FromEnv(t)
	byOperation := make(map[string]Route)
	for _, r := range s.Routes() {
		byOperation[r.OperationID] = r
	}
	tests := []struct {
		operation, method, path, anchor string
		auth                            Auth
	}{
		{"sync", "GET", "/_matrix/client/v3/sync", "get_matrixclientv3sync", AuthUser},
		{"getVersions", "GET", "/_matrix/client/versions", "get_matrixclientversions", AuthOptional},
		{"register", "POST", "/_matrix/client/v3/register", "post_matrixclientv3register", AuthNone},
		{"sendTransaction", "PUT", "/_matrix/federation/v1/send/{txnId}", "put_matrixfederationv1sendtxnid", AuthServer},
		{"getServerKey", "GET", "/_matrix/key/v2/server", "get_matrixkeyv2server", AuthNone},
		{"getWellknown", "GET", "/.well-known/matrix/client", "getwell-knownmatrixclient", AuthNone},
		{"inviteUser", "POST", "/_matrix/client/v3/rooms/{roomId}/invite", "post_matrixclientv3roomsroomidinvite", AuthUser},
	}
	for _, tt := range tests {
		r := byOperation[tt.operation]
		if r.Method != tt.method || r.Path != tt.path || r.Anchor() != tt.anchor || r.Auth != tt.auth {
			t.Errorf("%s: %s %s #%s %s", tt.operation, r.Method, r.Path, r.Anchor(), r.Auth)
		}
	}
	if len(byOperation) < 150 {
		t.Errorf("only %d operations", len(byOperation))
	}
	if s.Coverage(nil) != s.Coverage([]Implemented{}) || !strings.Contains(s.Coverage(nil), "Server-Server API") {
		t.Error("the coverage page is not stable")
	}
}

func TestCitationsOfThisPackageExist(t *testing.T) {
	for _, err := range FromEnv(t).CheckAnchors(".") {
		t.Error(err)
	}
}
