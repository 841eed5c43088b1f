package config

import (
	_ "embed" // for the source that the reference is made from
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

//go:embed settings.go
var settingsSource string

// docs are the comments on settings, by type and field.
type docs map[string]map[string]string

// readDocs takes the comments from the source of this package, so that there
// is only one text to keep true.
func readDocs() (docs, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "settings.go", settingsSource, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	found := docs{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		fields := map[string]string{}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				fields[name.Name] = strings.TrimSpace(field.Doc.Text())
			}
		}
		found[spec.Name.Name] = fields
		return true
	})
	return found, nil
}

func (d docs) of(t reflect.Type, field string) string { return d[t.Name()][field] }

const referenceIntro = `# Configuration

This page is printed by ` + "`entente config reference`" + ` from the comments in the code.

The file is YAML. An unknown setting is an error, and ` + "`entente config check`" + ` reports
every mistake at once with its line and a remedy. What is left out has its default.
A relative path is relative to the folder of the configuration file. A secret may stand in
the file or in a file of its own, named by the setting that ends in ` + "`_file`" + `; the newline
at the end of such a file is not part of the secret.

Durations are written as 30s, 5m, 12h, 7d or 2w; sizes as 512 KiB, 10 MiB or a number of bytes.
`

// Reference is the reference of all settings, in Markdown.
func Reference() (string, error) {
	d, err := readDocs()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(referenceIntro)
	d.section(&b, reflect.ValueOf(*Default()), "", 2)
	return b.String(), nil
}

// section writes the settings of a struct: first its own, then the sections
// below it.
func (d docs) section(b *strings.Builder, v reflect.Value, path string, level int) {
	t := v.Type()
	for i := range t.NumField() {
		if name := yamlName(t.Field(i)); name != "" && !isSection(t.Field(i).Type) {
			d.setting(b, t, t.Field(i), v.Field(i), join(path, name), level)
		}
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name := yamlName(field)
		if name == "" || !isSection(field.Type) {
			continue
		}
		at, value := join(path, name), v.Field(i)
		if field.Type.Kind() == reflect.Slice {
			at += "[]"
			value = reflect.New(field.Type.Elem()).Elem()
		}
		fmt.Fprintf(b, "\n%s %s\n\n%s\n", strings.Repeat("#", min(level, 4)), at, d.of(t, field.Name))
		if field.Type == reflect.TypeFor[Rate]() {
			rate := value.Interface().(Rate)
			fmt.Fprintf(b, "\nDefault: `{per_second: %v, burst: %d}`\n", rate.PerSecond, rate.Burst)
			continue
		}
		d.section(b, value, at, level+1)
	}
}

// setting writes one setting: name, type, text, what it may be.
func (d docs) setting(b *strings.Builder, t reflect.Type, field reflect.StructField, v reflect.Value, at string, level int) {
	if level == 2 {
		fmt.Fprintf(b, "\n## %s\n\n%s", at, d.of(t, field.Name))
	} else {
		text := strings.ReplaceAll(d.of(t, field.Name), "\n", "\n  ")
		fmt.Fprintf(b, "\n* `%s` (%s): %s", at, noun(field.Type), text)
	}
	if enum := field.Tag.Get("enum"); enum != "" {
		fmt.Fprintf(b, " One of `%s`.", strings.ReplaceAll(enum, ",", "`, `"))
	}
	if value := scalarText(v); value != "" {
		fmt.Fprintf(b, " Default: `%s`.", value)
	} else if example := field.Tag.Get("example"); example != "" {
		fmt.Fprintf(b, " Example: `%s`.", example)
	}
	b.WriteString("\n")
}

// isSection reports whether a setting has settings below it.
func isSection(t reflect.Type) bool {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textType)
}
