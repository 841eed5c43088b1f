package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// position is where a setting stands in the file.
type position struct{ line, column int }

// decoder fills a struct from YAML. It goes on after a mistake, so that all of
// them are found at once, and remembers where each setting stands.
type decoder struct {
	file     string
	lenient  bool // ignore unknown keys
	broken   bool // not YAML at all
	mistakes Mistakes
	at       map[string]position
	anchors  map[string]ast.Node
	root     reflect.Type
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, at: map[string]position{}, anchors: map[string]ast.Node{}}
}

// wrong notes a mistake in a setting, at the line of the setting or of what
// it belongs to.
func (d *decoder) wrong(path, problem, remedy string) {
	var where position
	for parent := path; parent != ""; {
		if at, ok := d.at[parent]; ok {
			where = at
			break
		}
		parent = parent[:max(strings.LastIndexAny(parent, ".["), 0)]
	}
	d.wrongAt(where, path, problem, remedy)
}

func (d *decoder) wrongAt(where position, path, problem, remedy string) {
	d.mistakes = append(d.mistakes, Mistake{
		File: d.file, Line: where.line, Column: where.column, Setting: path, Problem: problem, Remedy: remedy,
	})
}

// document decodes the text into the struct that target points to.
func (d *decoder) document(text []byte, target any) {
	file, err := parse(text)
	if err != nil {
		d.broken = true
		d.syntax(err)
		return
	}
	value := reflect.ValueOf(target).Elem()
	d.root = value.Type()
	for i, doc := range file.Docs {
		if i > 0 && doc.Body != nil {
			d.wrongAt(place(doc.Body), "", "the file has more than one YAML document", "remove the line --- and join the documents")
			return
		}
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			d.value(doc.Body, value, "", nil)
		}
	}
}

// parse parses YAML. The parser has been seen to panic on odd input; an
// operator's typing error must not end in a stack trace.
func parse(text []byte) (file *ast.File, err error) {
	defer func() {
		if v := recover(); v != nil {
			file, err = nil, errors.New("the text confuses the YAML parser")
		}
	}()
	return parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
}

// syntax notes that the text is not YAML.
func (d *decoder) syntax(err error) {
	where, problem := position{}, err.Error()
	if detail := yaml.Error(nil); errors.As(err, &detail) {
		problem = detail.GetMessage()
		if t := detail.GetToken(); t != nil && t.Position != nil {
			where = position{t.Position.Line, t.Position.Column}
		}
	}
	d.wrongAt(where, "", "not YAML: "+problem, "check indentation (spaces, no tabs), colons and quotes")
}

// place is where a node starts.
func place(n ast.Node) position {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return position{t.Position.Line, t.Position.Column}
	}
	return position{}
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// value decodes a node of any kind. The enum is the values that a text, or
// each text in a list, may have.
func (d *decoder) value(n ast.Node, v reflect.Value, path string, enum []string) {
	n = d.plain(n, path)
	if n == nil || n.Type() == ast.NullType {
		return // no value: the default stays
	}
	if reflect.PointerTo(v.Type()).Implements(textType) {
		d.text(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.list(n, v, path, enum)
	case reflect.Map:
		d.table(n, v, path)
	default:
		d.scalar(n, v, path, enum)
	}
}

// plain follows anchors, aliases and tags to the node that holds the value.
func (d *decoder) plain(n ast.Node, path string) ast.Node {
	for range 32 {
		switch node := n.(type) {
		case *ast.AnchorNode:
			d.anchors[node.Name.String()] = node.Value
			n = node.Value
		case *ast.AliasNode:
			target, ok := d.anchors[node.Value.String()]
			if !ok {
				d.wrongAt(place(node), path, "the alias *"+node.Value.String()+" has no anchor before it", "write out the value")
				return nil
			}
			n = target
		case *ast.TagNode:
			n = node.Value
		default:
			return n
		}
	}
	return nil
}

// entries are the pairs of a mapping.
func (d *decoder) entries(n ast.Node, path string) ([]*ast.MappingValueNode, bool) {
	switch node := n.(type) {
	case *ast.MappingNode:
		return node.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}, true
	}
	d.wrongAt(place(n), path, "expected settings with names, found "+kind(n), "write each setting on its own line, indented, as name: value")
	return nil, false
}

// keyText is the text of a mapping's key.
func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.GetToken().Value
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	for _, entry := range entries {
		if _, merge := entry.Key.(*ast.MergeKeyNode); merge {
			if from := d.plain(entry.Value, path); from != nil {
				d.structure(from, v, path)
			}
			continue
		}
		key := keyText(entry.Key)
		at := join(path, key)
		field, known := fields[key]
		switch {
		case seen[key]:
			d.wrongAt(place(entry.Key), at, "the setting is given twice", "keep one of them")
			continue
		case !known && !d.lenient:
			d.wrongAt(place(entry.Key), at, "there is no such setting", d.suggest(key, path, v.Type()))
			continue
		case !known:
			continue
		}
		seen[key] = true
		d.at[at] = place(entry.Key)
		var enum []string
		if values := field.Tag.Get("enum"); values != "" {
			enum = strings.Split(values, ",")
		}
		d.value(entry.Value, v.FieldByIndex(field.Index), at, enum)
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, path string, enum []string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrongAt(place(n), path, "expected a list, found "+kind(n), "write [a, b], or each entry on its own line after a dash")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		at := path + "[" + strconv.Itoa(i) + "]"
		d.at[at] = place(item)
		d.value(item, v.Index(i), at, enum)
	}
}

func (d *decoder) table(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(entries)))
	for _, entry := range entries {
		key := keyText(entry.Key)
		at := path + "[" + key + "]"
		if _, twice := d.at[at]; twice {
			d.wrongAt(place(entry.Key), at, "the entry is given twice", "keep one of them")
			continue
		}
		d.at[at] = place(entry.Key)
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(entry.Value, value, at, nil)
		v.SetMapIndex(reflect.ValueOf(key), value)
	}
}

// text decodes a value that parses itself.
func (d *decoder) text(n ast.Node, v reflect.Value, path string) {
	s, ok := literal(n)
	if !ok {
		d.wrongAt(place(n), path, "expected a value, found "+kind(n), formOf(v.Type()))
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		d.wrongAt(place(n), path, fmt.Sprintf("%q is not %s", s, noun(v.Type())), formOf(v.Type()))
	}
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path string, enum []string) {
	expected := func(remedy string) {
		d.wrongAt(place(n), path, "expected "+noun(v.Type())+", found "+kind(n), remedy)
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := literal(n)
		if !ok {
			expected("put the text in quotes")
			return
		}
		if len(enum) > 0 && !slices.Contains(enum, s) {
			d.wrongAt(place(n), path, fmt.Sprintf("%q is not one of %s", s, strings.Join(enum, ", ")), choose(s, enum))
			return
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			expected("write true or false, without quotes")
			return
		}
		v.SetBool(b.Value)
	case reflect.Int:
		whole, ok := n.(*ast.IntegerNode)
		number, err := strconv.ParseInt(fmt.Sprint(valueOf(whole, ok)), 10, 32)
		if !ok || err != nil {
			expected("write a whole number")
			return
		}
		v.SetInt(number)
	case reflect.Float64:
		s, _ := literal(n)
		number, err := strconv.ParseFloat(s, 64)
		if _, quoted := n.(*ast.StringNode); quoted || err != nil {
			expected("write a number")
			return
		}
		v.SetFloat(number)
	}
}

func valueOf(n *ast.IntegerNode, ok bool) any {
	if !ok {
		return nil
	}
	return n.Value
}

// fieldsOf maps the names of a struct's settings to its fields.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := make(map[string]reflect.StructField, t.NumField())
	for i := range t.NumField() {
		if name := yamlName(t.Field(i)); name != "" {
			fields[name] = t.Field(i)
		}
	}
	return fields
}

// yamlName is a setting's name, empty for a field that is none.
func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		return ""
	}
	return name
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
