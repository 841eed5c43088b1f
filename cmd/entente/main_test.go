package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entente runs the command and answers its exit code and what it printed.
func entente(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"config"}, {"config", "check", "--help"}} {
		code, out, _ := entente(t, args...)
		if code != 0 || !strings.Contains(out, "Usage:") {
			t.Errorf("%v: code %d, %s", args, code, out)
		}
	}
	if code, _, errs := entente(t, "config", "chekc"); code != 1 && errs == "" {
		t.Errorf("a wrong command: code %d, %q", code, errs)
	}
	if code, _, errs := entente(t, "--nonsense"); code != 1 || !strings.Contains(errs, "nonsense") {
		t.Errorf("a wrong flag: code %d, %q", code, errs)
	}
	if code, out, _ := entente(t, "version"); code != 0 || !strings.HasPrefix(out, "entente ") {
		t.Errorf("version: code %d, %q", code, out)
	}
}

func TestTheDefaultConfigurationPassesTheCheck(t *testing.T) {
	code, text, _ := entente(t, "config", "default", "--server-name", "a.example")
	if code != 0 || !strings.Contains(text, "server_name: a.example") {
		t.Fatalf("code %d, %s", code, text)
	}
	path := filepath.Join(t.TempDir(), "entente.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := entente(t, "config", "check", "--config", path); code != 0 || !strings.Contains(out, "no mistakes") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
}

func TestCheckReportsEveryMistakeAndFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "entente.yaml")
	if err := os.WriteFile(path, []byte("server_name: a b\nlogging: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := entente(t, "config", "check", "-c", path)
	if code != 1 || out != "" || !strings.HasSuffix(errs, "2 mistakes\n") ||
		!strings.Contains(errs, ":1:1: server_name") || !strings.Contains(errs, ":2:18: logging.level") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	code, _, errs = entente(t, "config", "check", "-c", path+".missing")
	if code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("a missing file: code %d, %q", code, errs)
	}
}

func TestReferenceIsThePageInDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, _ := entente(t, "config", "reference"); code != 0 || out != string(page) {
		t.Errorf("code %d, and the page differs", code)
	}
}

func TestMakingAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.key")
	if code, out, _ := entente(t, "config", "key", path); code != 0 || !strings.HasPrefix(out, "ed25519:") {
		t.Errorf("code %d, %q", code, out)
	}
	if code, _, errs := entente(t, "config", "key", path); code != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("a second time: code %d, %q", code, errs)
	}
}
