package spectest

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// pageReader gathers the anchors of one page as the specification's web site
// makes them: headings in order, through the shortcodes that include modules,
// fragments of room versions, endpoints, events and definitions.
type pageReader struct {
	spec    *Spec
	anchors map[string]bool
}

var (
	heading    = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*$`)
	explicitID = regexp.MustCompile(`\s*\{\s*(?:#|id=")([^"}\s]+)"?\s*\}\s*$`)
	shortcode  = regexp.MustCompile(`\{\{[%<]\s*([a-z-]+)\s*(.*?)\s*[%>]\}\}`)
	attribute  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	htmlID     = regexp.MustCompile(`<[a-z]+ (?:id|name)="([^"]+)"`)
	link       = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// read adds the anchors of the Markdown file at name, a path below the root
// of the specification.
func (p *pageReader) read(name string) error {
	raw, err := os.ReadFile(filepath.Join(p.spec.root, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	fence := ""
	for _, line := range strings.Split(string(raw), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "":
			if strings.HasPrefix(trimmed, fence) {
				fence = ""
			}
		case strings.HasPrefix(trimmed, "```"), strings.HasPrefix(trimmed, "~~~"):
			fence = trimmed[:3]
		default:
			if err := p.line(name, line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pageReader) line(file, line string) error {
	for _, m := range htmlID.FindAllStringSubmatch(line, -1) {
		p.anchors[m[1]] = true
	}
	if m := heading.FindStringSubmatch(line); m != nil {
		p.heading(m[1])
		return nil
	}
	for _, m := range shortcode.FindAllStringSubmatch(line, -1) {
		attrs := make(map[string]string)
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			attrs[a[1]] = a[2]
		}
		if err := p.shortcode(file, m[1], attrs); err != nil {
			return err
		}
	}
	return nil
}

func (p *pageReader) heading(text string) {
	if m := explicitID.FindStringSubmatch(text); m != nil {
		p.anchors[m[1]] = true
		return
	}
	p.add(slug(link.ReplaceAllString(text, "$1")))
}

// add adds an anchor; the second of a name gets -1, the third -2.
func (p *pageReader) add(anchor string) {
	name := anchor
	for n := 1; p.anchors[name]; n++ {
		name = anchor + "-" + strconv.Itoa(n)
	}
	p.anchors[name] = true
}

func (p *pageReader) shortcode(file, name string, attrs map[string]string) error {
	switch name {
	case "cs-module":
		return p.read(path.Join(path.Dir(file), "modules", attrs["filename"]+".md"))
	case "rver-fragment":
		return p.read(path.Join("content/rooms/fragments", attrs["name"]+".md"))
	case "http-api":
		return p.endpoints(attrs)
	case "definition":
		return p.definition(attrs["path"])
	case "event":
		title := attrs["title"]
		if title == "" {
			title = attrs["event"]
		}
		p.add(slug(title))
		p.anchors[slug(attrs["event"])] = true
	case "event-group":
		return p.events(attrs["group_name"])
	case "msgtypes":
		return p.events("m.room.message$")
	}
	return nil
}

func (p *pageReader) endpoints(attrs map[string]string) error {
	prefix := ""
	if base := attrs["anchor_base"]; base != "" {
		prefix = base + "_"
	}
	routes, err := p.spec.fileRoutes(API(attrs["spec"]), attrs["api"])
	if err != nil {
		return err
	}
	for _, r := range routes {
		p.anchors[prefix+r.Anchor()] = true
	}
	return nil
}

// definition adds the anchors of an object and of the objects in it:
// definition- and the title of each.
func (p *pageReader) definition(name string) error {
	return p.titles(place{file: "data/" + name + ".yaml"}, make(map[string]bool))
}

func (p *pageReader) titles(at place, seen map[string]bool) error {
	v, at, err := p.spec.node(at)
	if err != nil || seen[at.String()] {
		return err
	}
	seen[at.String()] = true
	switch t := v.(type) {
	case map[string]any:
		if title, ok := t["title"].(string); ok {
			p.anchors["definition-"+slug(title)] = true
		}
		for key, sub := range t {
			if _, isMap := sub.(map[string]any); !isMap && key != "allOf" && key != "oneOf" && key != "anyOf" || strings.HasPrefix(key, "example") {
				continue
			}
			if err := p.titles(at.child(key), seen); err != nil {
				return err
			}
		}
	case []any:
		for i := range t {
			if err := p.titles(at.child(strconv.Itoa(i)), seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// events adds the event types (message types) whose schema's file starts with
// a prefix.
func (p *pageReader) events(prefix string) error {
	files, err := filepath.Glob(filepath.Join(p.spec.root, "data", "event-schemas", "schema", prefix+"*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		if _, msgtype, ok := strings.Cut(name, "$"); ok {
			name = msgtype
		}
		p.add(slug(name))
	}
	return nil
}

// slug turns a heading into its anchor: lower case, letters, digits, - and _,
// a hyphen for each space.
func slug(text string) string {
	var b strings.Builder
	for _, c := range strings.TrimSpace(strings.ToLower(text)) {
		switch {
		case c == ' ':
			b.WriteByte('-')
		case c == '-' || c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c):
			b.WriteRune(c)
		}
	}
	return b.String()
}
