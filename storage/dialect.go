package storage

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
)

var (
	anyParameter = regexp.MustCompile(`= ANY\(\$(\d+)\)`)
	parameter    = regexp.MustCompile(`\$(\d+)`)
	// textKey is a table whose key is a single text: SQLite would keep it twice.
	textKey   = regexp.MustCompile(`(?s)(CREATE TABLE \w+ \(\n    \w+ +TEXT PRIMARY KEY,[^;]*?)\n\);\n`)
	onlyBlock = regexp.MustCompile(`(?ms)^-- only: (\w+)\n(.*?)^-- end\n`)
)

// sqliteTexts translates statements to SQLite's dialect, each once.
type sqliteTexts struct{ known sync.Map }

func (t *sqliteTexts) of(text string) string {
	if s, ok := t.known.Load(text); ok {
		return s.(string)
	}
	s := anyParameter.ReplaceAllString(text, "IN (SELECT value FROM json_each(?$1))")
	s = parameter.ReplaceAllString(s, "?$1")
	t.known.Store(text, s)
	return s
}

// sqliteArgs turns lists into JSON texts, which json_each reads.
func sqliteArgs(args []any) ([]any, error) {
	for i, a := range args {
		switch a.(type) {
		case []int64, []string:
			text, err := json.Marshal(a)
			if err != nil {
				return nil, err
			}
			args[i] = string(text)
		}
	}
	return args, nil
}

// migrationText selects the lines of a migration meant for one database
// ("sqlite" or "postgres").
func migrationText(text, database string) string {
	text = onlyBlock.ReplaceAllStringFunc(text, func(block string) string {
		m := onlyBlock.FindStringSubmatch(block)
		if m[1] != database {
			return ""
		}
		return m[2]
	})
	if database == "sqlite" {
		text = strings.ReplaceAll(text, "BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY")
		text = textKey.ReplaceAllString(text, "$1\n) WITHOUT ROWID;\n")
	}
	return text
}
