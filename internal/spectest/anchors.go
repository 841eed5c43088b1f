package spectest

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// citation is how a comment cites a rule: a page of the specification and a
// heading on it. Several may follow one "Spec:".
var (
	citing   = regexp.MustCompile(`\bSpec: `)
	citation = regexp.MustCompile(`([a-z0-9-]+(?:/[a-z0-9-]+)*)/?#([\pL\pN_.%-]+)`)
)

// CheckAnchors reads the comments of every Go file below root and reports
// each citation, the word Spec and a colon and then page/#anchor, that names
// no heading of the specification; one of a whole page (rooms/) must name a
// page. Folders named testdata, vendor or starting with a dot are left out.
func (s *Spec) CheckAnchors(root string) []error {
	var errs []error
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "vendor"):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".go"):
			errs = append(errs, s.checkFile(name)...)
		}
		return nil
	})
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

func (s *Spec) checkFile(name string) []error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, group := range file.Comments {
		for _, c := range group.List {
			for i, line := range strings.Split(c.Text, "\n") {
				if !citing.MatchString(line) {
					continue
				}
				where := fmt.Sprintf("%s:%d", name, set.Position(c.Pos()).Line+i)
				for _, err := range s.checkCitation(line) {
					errs = append(errs, fmt.Errorf("%s: %w", where, err))
				}
			}
		}
	}
	return errs
}

// checkCitation checks what follows each "Spec:" of one line of a comment.
func (s *Spec) checkCitation(line string) []error {
	var errs []error
	for _, rest := range citing.Split(line, -1)[1:] {
		found := citation.FindAllStringSubmatch(rest, -1)
		if len(found) == 0 { // a whole page
			page, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if _, err := s.Anchors(strings.Trim(page, "/.,;")); err != nil {
				errs = append(errs, err)
			}
		}
		for _, m := range found {
			// A full stop after the anchor ends the sentence.
			if err := s.CheckAnchor(m[1], strings.TrimRight(m[2], ".")); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// CheckAnchor reports an error when the page (client-server-api, rooms/v12)
// has no such anchor. Besides headings, endpoints and event types, the
// objects of an endpoint's request and answer have anchors, which start with
// the endpoint's.
func (s *Spec) CheckAnchor(page, anchor string) error {
	have, err := s.Anchors(page)
	if err != nil {
		return err
	}
	if have[anchor] {
		return nil
	}
	for _, part := range []string{"_request", "_response-"} {
		if i := strings.Index(anchor, part); i > 0 && have[anchor[:i]] {
			return nil
		}
	}
	return fmt.Errorf("%s has no anchor #%s", page, anchor)
}

// Anchors lists the anchors of a page of the specification. The map is shared:
// callers must not change it.
func (s *Spec) Anchors(page string) (map[string]bool, error) {
	s.pageMu.Lock()
	defer s.pageMu.Unlock()
	if have := s.pages[page]; have != nil {
		return have, nil
	}
	p := &pageReader{spec: s, anchors: make(map[string]bool)}
	base := path.Join("content", page)
	for _, name := range []string{base + ".md", base + "/_index.md"} {
		err := p.read(name)
		if err == nil {
			s.pages[page] = p.anchors
			return p.anchors, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || len(p.anchors) > 0 {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the specification has no page %q", page)
}
