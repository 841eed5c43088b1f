package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong in a file, and what to do about it.
type Mistake struct {
	// File and Line say where; Line is 0 when it is about something absent.
	File   string
	Line   int
	Column int
	// Setting is the path of the setting, for example "listeners[0].address".
	Setting string
	// Problem and Remedy are sentences without a full stop.
	Problem string
	Remedy  string
}

// String is the mistake in two lines: where and what, and the remedy.
func (m Mistake) String() string {
	where := m.File
	if m.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Column)
	}
	if m.Setting != "" {
		where += ": " + m.Setting
	}
	text := where + ": " + m.Problem
	if m.Remedy != "" {
		text += "\n    remedy: " + m.Remedy
	}
	return text
}

// Mistakes are all that is wrong with a configuration.
type Mistakes []Mistake

// Error lists the mistakes.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}

// sorted puts the mistakes in the order of the file.
func (m Mistakes) sorted() Mistakes {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return m
}
