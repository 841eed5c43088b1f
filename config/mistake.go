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
