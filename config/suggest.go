package config

import (
	"reflect"
	"strings"
)

// suggest guesses which setting an unknown key was meant to be: one beside
// it, or one of the same name elsewhere.
func (d *decoder) suggest(key, path string, in reflect.Type) string {
	var names []string
	for i := range in.NumField() {
		if name := yamlName(in.Field(i)); name != "" {
			names = append(names, name)
		}
	}
	if name := nearest(key, names); name != "" {
		return "did you mean " + name + "?"
	}
	if elsewhere := find(d.root, "", key); elsewhere != "" {
		return "did you mean " + elsewhere + "?"
	}
	if path == "" {
		return "remove it; \"entente config reference\" lists all settings"
	}
	return "remove it; here there are " + strings.Join(names, ", ")
}

// find is the path of a setting of that name, or empty.
func find(t reflect.Type, path, name string) string {
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(textType) {
		return ""
	}
	for i := range t.NumField() {
		own := yamlName(t.Field(i))
		if own == "" {
			continue
		}
		if own == name {
			return join(path, own)
		}
		if below := find(t.Field(i).Type, join(path, own), name); below != "" {
			return below
		}
	}
	return ""
}

// choose is the remedy for a value that is not one of those allowed.
func choose(s string, enum []string) string {
	if name := nearest(s, enum); name != "" {
		return "did you mean " + name + "?"
	}
	return "choose one of them"
}

// nearest is the candidate that word was most likely meant to be, or empty.
func nearest(word string, candidates []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, candidate := range candidates {
		if d := distance(strings.ToLower(word), candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the edit distance of two words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
