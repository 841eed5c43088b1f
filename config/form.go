package config

import (
	"reflect"
	"slices"
	"time"
)

// noun says in words what a setting of a type is.
func noun(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "a duration"
	case reflect.TypeFor[Size]():
		return "a size"
	case reflect.TypeFor[time.Time]():
		return "a time"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "names with values"
	}
	return "settings"
}

// formOf says how a value of a type that parses itself is written.
func formOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "write it as 30s, 5m, 12h or 7d"
	case reflect.TypeFor[Size]():
		return "write it as 512 KiB, 10 MiB or a number of bytes"
	}
	return "write it as 2026-01-31T00:00:00Z"
}

// sortedKeys are the keys of a map of texts in order.
func sortedKeys(v reflect.Value) []string {
	keys := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		keys = append(keys, key.String())
	}
	slices.Sort(keys)
	return keys
}
