package entente

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The limits of the house. They bound the tail; the usual file is under 400
// lines and the usual function under 50.
const (
	maxFileLines     = 700
	maxFunctionLines = 100
	maxParameters    = 6
	maxMethods       = 6
)

// exceptions are what may break a rule, as a file and the name of a
// declaration in it, each with its reason. One that excuses nothing any more
// must go.
var exceptions = map[string]string{}

// source is a Go file of the repository.
type source struct {
	path string // from the root, with slashes
	set  *token.FileSet
	file *ast.File
}

// test says whether the file is compiled into tests only.
func (s *source) test() bool {
	return strings.HasSuffix(s.path, "_test.go") || testOnly(filepath.ToSlash(filepath.Dir(s.path)))
}

func (s *source) lines(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

func sources(t *testing.T) []*source {
	t.Helper()
	var found []*source
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		found = append(found, &source{path: filepath.ToSlash(path), set: set, file: file})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// house collects findings and sets the exceptions against them.
type house struct {
	t       *testing.T
	excused map[string]bool
}

// find reports something at a node, unless the declaration around it is
// excepted.
func (h *house) find(s *source, n ast.Node, format string, args ...any) {
	h.t.Helper()
	subject := s.path + " " + s.around(n)
	if _, ok := exceptions[subject]; ok {
		h.excused[subject] = true
		return
	}
	h.t.Errorf("%s:%d: %s", s.path, s.set.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// around is the name of the top-level declaration that holds the node.
func (s *source) around(n ast.Node) string {
	for _, decl := range s.file.Decls {
		if n.Pos() < decl.Pos() || n.End() > decl.End() {
			continue
		}
		switch d := decl.(type) {
		case *ast.FuncDecl:
			return d.Name.Name
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok && n.Pos() >= t.Pos() && n.End() <= t.End() {
					return t.Name.Name
				}
			}
		}
	}
	return "file"
}

func TestHouseStyle(t *testing.T) {
	h := &house{t: t, excused: make(map[string]bool)}
	all := sources(t)
	h.packageComments(all)
	for _, s := range all {
		h.size(s)
		h.markers(s)
		h.documented(s)
		h.calls(s)
	}
	for subject := range exceptions {
		if !h.excused[subject] {
			t.Errorf("the exception for %s excuses nothing: remove it", subject)
		}
	}
}

func (h *house) packageComments(all []*source) {
	commented, folders := make(map[string]bool), make(map[string]bool)
	for _, s := range all {
		dir := filepath.Dir(s.path)
		folders[dir] = true
		if s.file.Doc != nil {
			commented[dir] = true
		}
	}
	for dir := range folders {
		if !commented[dir] {
			h.t.Errorf("%s: the package has no comment", dir)
		}
	}
}

// size holds files, functions and interfaces to their limits.
func (h *house) size(s *source) {
	if n := s.lines(s.file) + s.set.Position(s.file.Pos()).Line - 1; n > maxFileLines {
		h.find(s, s.file, "%d lines, at most %d", n, maxFileLines)
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if lines := s.lines(n); lines > maxFunctionLines {
				h.find(s, n, "%d lines, at most %d", lines, maxFunctionLines)
			}
		case *ast.FuncType:
			if n.Params.NumFields() > maxParameters {
				h.find(s, n, "%d parameters, at most %d", n.Params.NumFields(), maxParameters)
			}
		case *ast.InterfaceType:
			if n.Methods.NumFields() > maxMethods {
				h.find(s, n, "an interface of %d methods, at most %d", n.Methods.NumFields(), maxMethods)
			}
			if n.Methods.NumFields() == 0 {
				h.find(s, n, "write any")
			}
		}
		return true
	})
}

// unfinished is what a comment may not say: work that is left belongs where it
// is planned.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func (h *house) markers(s *source) {
	for _, group := range s.file.Comments {
		if mark := unfinished.FindString(group.Text()); mark != "" {
			h.find(s, group, "%s", mark)
		}
	}
}

// plain methods are explained by the interface that they make true.
var plain = map[string]bool{"Error": true, "Unwrap": true, "String": true, "Len": true, "Less": true, "Swap": true}

// documented wants a comment on every exported name. Tests and methods of
// unexported types are left out, and a comment on a group serves its members.
func (h *house) documented(s *source) {
	if strings.HasSuffix(s.path, "_test.go") {
		return
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && (d.Recv == nil || !plain[d.Name.Name]) {
				h.find(s, d, "%s has no comment", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				h.documentedSpec(s, d, spec)
			}
		}
	}
}

func (h *house) documentedSpec(s *source, d *ast.GenDecl, spec ast.Spec) {
	switch v := spec.(type) {
	case *ast.TypeSpec:
		if v.Name.IsExported() && d.Doc == nil && v.Doc == nil && v.Comment == nil {
			h.find(s, v, "%s has no comment", v.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range v.Names {
			if name.IsExported() && d.Doc == nil && v.Doc == nil && v.Comment == nil {
				h.find(s, name, "%s has no comment", name.Name)
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	kind := d.Recv.List[0].Type
	for {
		switch k := kind.(type) {
		case *ast.StarExpr:
			kind = k.X
		case *ast.IndexExpr:
			kind = k.X
		case *ast.IndexListExpr:
			kind = k.X
		case *ast.Ident:
			return k.IsExported()
		default:
			return false
		}
	}
}

// shun is a ban on calls. The pattern is matched with package and name.
type shun struct {
	call  *regexp.Regexp
	where func(s *source) bool
	why   string
}

var shunned = []shun{
	{regexp.MustCompile(`^slog\.(Debug|Info|Warn|Error|Log|LogAttrs|Default|SetDefault)(Context)?$`),
		func(*source) bool { return true }, "there is no global logger: take one"},
	{regexp.MustCompile(`^fmt\.Print(f|ln)?$`),
		func(*source) bool { return true }, "only commands print, and they print to the writer that they were given"},
	{regexp.MustCompile(`^os\.Exit$`),
		func(s *source) bool { return s.file.Name.Name != "main" && !s.test() }, "only commands end the process"},
	{regexp.MustCompile(`^time\.Sleep$`),
		func(*source) bool { return true }, "wait for what you wait for"},
	{regexp.MustCompile(`^time\.(Now|Since|Until|After|AfterFunc|NewTimer|NewTicker|Tick)$`),
		func(s *source) bool { return covered(pure, filepath.ToSlash(filepath.Dir(s.path))) && !s.test() }, "the pure parts have no clock"},
	{regexp.MustCompile(`^http\.(DefaultClient|DefaultServeMux|Get|Post|PostForm|Head|HandleFunc|Handle)$`),
		func(s *source) bool { return !s.test() }, "requests go through a client with limits, routes into a router of one's own"},
}

func (h *house) calls(s *source) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			h.find(s, f, "no init functions: they are global state")
		}
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		base, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		name := base.Name + "." + selector.Sel.Name
		for _, ban := range shunned {
			if ban.call.MatchString(name) && ban.where(s) {
				h.find(s, selector, "%s: %s", name, ban.why)
			}
		}
		return true
	})
}
