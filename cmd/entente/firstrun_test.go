package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFirstStartMakesWhatItNeedsAndSaysWhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	path := filepath.Join(dir, "entente.yaml")
	first, err := prepare(path, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	if first.Config.ServerName != "a.example" || first.Key.Private == nil {
		t.Errorf("got %+v", first.Config)
	}
	said := strings.Join(first.Made, "\n")
	for file, mode := range map[string]os.FileMode{
		path: 0o600, filepath.Join(dir, "entente-data"): 0o700 | os.ModeDir, filepath.Join(dir, "entente-data", "signing.key"): 0o600,
	} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", file, info.Mode(), mode)
		}
		if !strings.Contains(said, file) {
			t.Errorf("the operator is not told of %s: %s", file, said)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "# ") < 100 {
		t.Errorf("the configuration does not explain itself: %v", err)
	}

	second, err := prepare(path, "ignored.example")
	if err != nil || len(second.Made) != 0 || second.Key.ID != first.Key.ID || second.Config.ServerName != "a.example" {
		t.Errorf("the second start made %v with key %v, %v", second.Made, second.Key, err)
	}
}

func TestALostKeyIsNotReplacedSilently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "entente.yaml")
	s, err := prepare(path, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.Config.Signing.KeyFile, s.Config.Signing.KeyFile+".bak"); err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(path, ""); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a lost key gives %v", err)
	}
}

func TestAFirstStartNeedsAProperName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "entente.yaml")
	if _, err := prepare(path, "not a name"); err == nil {
		t.Error("the name is taken")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a configuration with mistakes is on disk")
	}
}

func TestAConfigurationWithMistakesIsNotTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "entente.yaml")
	if err := os.WriteFile(path, []byte("server_name: A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(path, "a.example"); err == nil || !strings.Contains(err.Error(), "upper-case") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}
