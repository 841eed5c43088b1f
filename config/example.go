package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const exampleIntro = `# The configuration of an Entente homeserver.
#
# A line that starts with # has no effect: it explains a setting, or shows its
# default or an example. Remove the # in front of a setting to change it.
# After a change run "entente config check", then restart the server.
# "entente config reference" prints the same in the form of a manual.
`

// Example is the text of a configuration file that says what cfg says, with
// every setting explained. What has its default is shown, but commented out.
func Example(cfg *Config) (string, error) {
	d, err := readDocs()
	if err != nil {
		return "", err
	}
	w := &exampleWriter{docs: d}
	w.b.WriteString(exampleIntro)
	w.section(reflect.ValueOf(*cfg), reflect.ValueOf(*Default()), "", false)
	return w.b.String(), nil
}

type exampleWriter struct {
	docs docs
	b    strings.Builder
}

// always are the settings that a file states even where they have their
// defaults, since an operator looks for them first.
var always = []string{"ServerName", "DataDir", "Listeners"}

// section writes the settings of a struct. With off, all is commented out.
func (w *exampleWriter) section(v, def reflect.Value, indent string, off bool) {
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		name := yamlName(field)
		if name == "" {
			continue
		}
		if indent == "" {
			w.b.WriteString("\n")
		}
		w.comment(w.docs.of(t, field.Name), indent)
		stated := !off && (slices.Contains(always, field.Name) || !reflect.DeepEqual(v.Field(i).Interface(), def.Field(i).Interface()))
		switch {
		case field.Type == reflect.TypeFor[Rate]():
			rate := v.Field(i).Interface().(Rate)
			w.line(indent, !stated, fmt.Sprintf("%s: {per_second: %v, burst: %d}", name, rate.PerSecond, rate.Burst))
		case isSection(field.Type) && field.Type.Kind() == reflect.Slice:
			w.list(name, v.Field(i), indent, !stated)
		case isSection(field.Type):
			w.line(indent, off, name+":")
			w.section(v.Field(i), def.Field(i), indent+"  ", off)
		default:
			w.setting(field, v.Field(i), indent, !stated)
		}
	}
}

// list writes a list of sections, or one made of examples if it is empty.
func (w *exampleWriter) list(name string, v reflect.Value, indent string, off bool) {
	w.line(indent, off, name+":")
	zero := reflect.New(v.Type().Elem()).Elem()
	if v.Len() == 0 {
		w.item(zero, zero, indent, true)
	}
	for i := range v.Len() {
		w.item(v.Index(i), zero, indent, off)
	}
}

// item writes one entry of a list. Its dash stands on a line of its own, so
// that any of its settings may be commented out.
func (w *exampleWriter) item(v, zero reflect.Value, indent string, off bool) {
	w.line(indent+"  ", off, "-")
	w.section(v, zero, indent+"    ", off)
}

func (w *exampleWriter) setting(field reflect.StructField, v reflect.Value, indent string, off bool) {
	value := scalarText(v)
	if example := field.Tag.Get("example"); value == "" && off && example != "" {
		value = example
		if field.Type.Kind() == reflect.String {
			value = quote(example)
		}
	}
	if value == "" {
		value = emptyText(field.Type)
	}
	w.line(indent, off, yamlName(field)+": "+value)
}

// emptyText is how an empty value is written.
func emptyText(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "[]"
	case reflect.Map:
		return "{}"
	}
	return `""`
}

func (w *exampleWriter) comment(text, indent string) {
	for line := range strings.Lines(text) {
		w.b.WriteString(indent + "# " + strings.TrimRight(line, "\n") + "\n")
	}
}

func (w *exampleWriter) line(indent string, off bool, text string) {
	if off {
		indent += "#"
	}
	w.b.WriteString(indent + text + "\n")
}

// scalarText is a value as YAML, empty for an empty text, list or map.
func scalarText(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case Duration:
		return value.String()
	case Size:
		return value.String()
	case time.Time:
		if value.IsZero() {
			return ""
		}
		return value.Format(time.RFC3339)
	}
	switch v.Kind() {
	case reflect.String:
		return quoted(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case reflect.Slice:
		return listText(v)
	case reflect.Map:
		return mapText(v)
	}
	return ""
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return quote(s)
}

// Plain words may stand without quotes, unless YAML reads them as something
// else.
var (
	plainWord   = regexp.MustCompile(`^[a-zA-Z/][a-zA-Z0-9_./-]*$`)
	specialWord = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|y|n)$`)
)

// quote writes a text so that YAML reads the same text.
func quote(s string) string {
	if plainWord.MatchString(s) && !specialWord.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

func listText(v reflect.Value) string {
	if v.Len() == 0 {
		return ""
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = scalarText(v.Index(i))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func mapText(v reflect.Value) string {
	if v.Len() == 0 {
		return ""
	}
	var items []string
	for _, key := range sortedKeys(v) {
		items = append(items, quote(key)+": "+scalarText(v.MapIndex(reflect.ValueOf(key))))
	}
	return "{" + strings.Join(items, ", ") + "}"
}
