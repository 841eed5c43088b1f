package main

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente/governance/audit"
	"entente/storage"
)

// fill appends records of logins, the last of them now.
func (s *site) fill(n int) {
	s.t.Helper()
	c := storage.Commit{Positions: 1}
	for i := range n {
		at := time.Now().Add(time.Duration(i-n+1) * 24 * time.Hour)
		c.Audit = append(c.Audit, audit.Record{Kind: audit.Login, At: at, Who: "@kim:dhs.example", Address: "192.0.2.1"}.Stored())
	}
	if _, err := s.db.Commit(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// tamper writes to the database past the server.
func (s *site) tamper(statement string) {
	s.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(filepath.Dir(s.config), "data", "entente.db")+"?_busy_timeout=5000")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(s.t.Context(), statement); err != nil {
		s.t.Fatal(err)
	}
}

// The log is proven against the checkpoint that was exported, and each change
// of it since then is named.
func TestAuditIsProven(t *testing.T) {
	s := newSite(t, "")
	s.fill(5)
	file := filepath.Join(t.TempDir(), "checkpoints.jsonl")
	if err := os.WriteFile(file, []byte(s.run("audit", "checkpoint")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fill(2)
	holds(t, s.run("audit", "verify"), "7 records, 0 checkpoints compared\nnothing is wrong")
	holds(t, s.run("audit", "verify", "--checkpoint", file), "7 records, 1 checkpoint compared, proven up to record 5\nnothing is wrong")
	s.tamper(`UPDATE audit SET at = at - 1 WHERE seq = 3`)
	s.fail("edited: record 3 is not what was written", "audit", "verify")
	s.tamper(`UPDATE audit SET at = at + 1 WHERE seq = 3`)
	s.tamper(`DELETE FROM audit WHERE seq > 4`)
	holds(t, s.run("audit", "verify"), "nothing is wrong")
	s.fail("truncated: record 5 was cut off the end", "audit", "verify", "--checkpoint", file)
	code, out, _ := entente(t, "audit", "verify", "--checkpoint", file, "--json", "--config", s.config)
	var report audit.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || len(report.Findings) != 1 || report.Findings[0].What != audit.Truncated {
		t.Errorf("code %d, %+v, error %v", code, report, err)
	}
}

func TestCheckpointFilesThatAreRefused(t *testing.T) {
	s := newSite(t, "")
	s.fill(1)
	line := s.run("audit", "checkpoint")
	for words, text := range map[string]string{
		"holds no checkpoint": "",
		"not JSON":            "hello",
		"signature":           strings.Replace(line, `"seq":1`, `"seq":2`, 1),
		"not of dhs.example":  strings.Replace(line, `"server_name":"dhs.example"`, `"server_name":"dla.example"`, 1),
	} {
		file := filepath.Join(t.TempDir(), "checkpoints")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.fail(words, "audit", "verify", "--checkpoint", file)
	}
	s.fail("--checkpoint", "audit", "verify", "--checkpoint", "/nowhere")
}

func TestAuditIsShownAndExported(t *testing.T) {
	s := newSite(t, "")
	s.fill(3)
	s.run("agreement", "add", "dla.example")
	record := audit.Record{Kind: audit.Policy, At: time.Now(), Server: "evil.example", Rule: "federation.not_listed", Count: 3, First: time.Now(), Outcome: audit.Refused,
		Who: "@eve:evil.example", Detail: map[string]string{"detail": "\x1b[2J a"}}
	if _, err := s.db.Commit(t.Context(), storage.Commit{Positions: 1, Audit: []storage.AuditRecord{record.Stored()}}); err != nil {
		t.Fatal(err)
	}
	lines := func(args ...string) []string {
		return strings.Split(strings.TrimSuffix(s.run(args...), "\n"), "\n")
	}
	shown := lines("audit", "show")
	if len(shown) != 3 {
		t.Errorf("of a day, shown are %q", shown)
	}
	holds(t, shown[0], "3  ", "login ok", "who=@kim:dhs.example", "address=192.0.2.1")
	holds(t, shown[1], "agreement ok", "what=add", "server=dla.example")
	holds(t, shown[2], "policy refused", "rule=federation.not_listed", "3 times since", `detail="\x1b[2J a"`)
	for n, args := range map[int][]string{
		5: {"--since", "7d"}, 1: {"--peer", "evil.example"}, 3: {"--since", "2020-01-01", "--kind", "login"},
	} {
		if got := lines(append([]string{"audit", "show"}, args...)...); len(got) != n {
			t.Errorf("%v: shown are %q", args, got)
		}
	}
	if got := s.run("audit", "show", "--user", "@nobody:dhs.example"); got != "" {
		t.Errorf("shown are %q", got)
	}
	if got := s.run("audit", "show", "--since", "2190-01-01"); got != "" {
		t.Errorf("shown are %q", got)
	}
	exported := lines("audit", "export")
	if len(exported) != 5 {
		t.Errorf("exported are %q", exported)
	}
	for _, line := range exported {
		if !json.Valid([]byte(line)) || !strings.HasPrefix(line, `{"server_name":"dhs.example","seq":`) {
			t.Errorf("exported is %s", line)
		}
	}
	s.fail("--since", "audit", "export", "--since", "yesterday")
	s.tamper(`UPDATE audit SET body = CAST('x' AS BLOB) WHERE seq = 3`)
	holds(t, s.run("audit", "show"), "3  cannot be read")
}
