// Package spectest holds Entente to the text of the Matrix specification. It
// is for tests only: it reads the OpenAPI files, the event schemas and the
// prose of a checkout of the specification, whose root the environment
// variable MATRIX_SPEC_DIR names, and answers four questions with them: which
// endpoints exist (Routes), which of them we have (Coverage), whether an
// answer of ours has the shape it should (Handler, Transport, Response), and
// whether the rules that our comments cite exist (CheckAnchors).
//
// Without MATRIX_SPEC_DIR its tests, and those of its users, are skipped.
package spectest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
)

// EnvDir is the environment variable that names the root of a checkout of the
// Matrix specification: the folder that holds `data/api` and `content`.
const EnvDir = "MATRIX_SPEC_DIR"

// Spec is an opened checkout of the specification. It is safe for use by
// several goroutines.
type Spec struct {
	root   string
	routes []Route
	match  matcher

	mu      sync.Mutex
	files   map[string]any     // guarded by mu: parsed YAML by path below root
	schemas map[string]*schema // guarded by mu: compiled, by path#pointer

	pageMu sync.Mutex
	pages  map[string]map[string]bool // guarded by pageMu: anchors by page
}

// FromEnv opens the checkout that MATRIX_SPEC_DIR names, and skips the test
// when it is unset.
func FromEnv(tb testing.TB) *Spec {
	tb.Helper()
	dir := os.Getenv(EnvDir)
	if dir == "" {
		tb.Skip(EnvDir + " is not set: it should name a checkout of the Matrix specification (the folder that holds data/api and content)")
	}
	s, err := Open(dir)
	if err != nil {
		tb.Fatalf("%s=%s: %v", EnvDir, dir, err)
	}
	return s
}

// Open reads the endpoints of the checkout of the specification at root.
func Open(root string) (*Spec, error) {
	s := &Spec{root: root, files: make(map[string]any), schemas: make(map[string]*schema), pages: make(map[string]map[string]bool)}
	if err := s.readRoutes(); err != nil {
		return nil, err
	}
	s.match = newMatcher(s.routes)
	return s, nil
}

// place is one node of one file: a path below the root with slashes, and the
// JSON pointer inside the file ("" is the whole document).
type place struct{ file, pointer string }

func (p place) String() string { return p.file + "#" + p.pointer }

// child is the place one step below p.
func (p place) child(token string) place {
	return place{p.file, p.pointer + "/" + escapeToken(token)}
}

// refer resolves a $ref that stands in file p.
func (p place) refer(ref string) place {
	file, pointer, _ := strings.Cut(ref, "#")
	if file == "" {
		return place{p.file, pointer}
	}
	return place{path.Join(path.Dir(p.file), file), pointer}
}

// node reads the value at p, following $refs along the way and at the end. It
// returns the place where the value really stands.
func (s *Spec) node(p place) (any, place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodeLocked(p, 0)
}

func (s *Spec) nodeLocked(p place, depth int) (any, place, error) {
	v, at, err := s.rawLocked(p, depth)
	if err != nil {
		return nil, p, err
	}
	return s.followLocked(v, at, depth)
}

// rawLocked reads the value at p, following $refs along the way but not at
// the end, where a schema may say more beside its $ref.
func (s *Spec) rawLocked(p place, depth int) (any, place, error) {
	if depth > 32 {
		return nil, p, fmt.Errorf("%s: references go in a circle", p)
	}
	at := place{file: p.file}
	v, err := s.fileLocked(p.file)
	if err != nil {
		return nil, p, err
	}
	for _, token := range splitPointer(p.pointer) {
		if v, at, err = s.followLocked(v, at, depth); err != nil {
			return nil, p, err
		}
		switch t := v.(type) {
		case map[string]any:
			next, ok := t[token]
			if !ok {
				return nil, p, fmt.Errorf("%s: no %q at %s", p, token, at)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(t) {
				return nil, p, fmt.Errorf("%s: no item %q at %s", p, token, at)
			}
			v = t[i]
		default:
			return nil, p, fmt.Errorf("%s: %s is a leaf", p, at)
		}
		at = at.child(token)
	}
	return v, at, nil
}

// followLocked resolves v when it is nothing but a reference.
func (s *Spec) followLocked(v any, at place, depth int) (any, place, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return v, at, nil
	}
	ref, ok := m["$ref"].(string)
	if !ok {
		return v, at, nil
	}
	return s.nodeLocked(at.refer(ref), depth+1)
}

// fileLocked parses a file of the checkout once.
func (s *Spec) fileLocked(name string) (any, error) {
	if v, ok := s.files[name]; ok {
		return v, nil
	}
	raw, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	var v any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.files[name] = v
	return v, nil
}

func splitPointer(p string) []string {
	if p == "" || p == "/" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, t := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return parts
}

func escapeToken(t string) string {
	return strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1")
}
