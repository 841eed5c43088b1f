package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entente/cmd/loadtest/internal/load"
	"entente/cmd/loadtest/internal/load/fakeserver"
)

// run executes a command line and returns what it printed.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := newRoot(&out, &errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestEveryScenarioRunsFromTheCommandLine(t *testing.T) {
	world := fakeserver.NewWorld()
	a := httptest.NewServer((&fakeserver.Server{World: world, Name: "a"}).Handler())
	defer a.Close()
	b := httptest.NewServer((&fakeserver.Server{World: world, Name: "b", Secret: "s"}).Handler())
	defer b.Close()
	small := []string{"--target", a.URL, "--warm-up", "10", "--state", "8", "--members", "2", "--count", "5", "--rest", "0"}
	peer := []string{"--peer", b.URL, "--peer-secret", "s"}
	tests := []struct {
		name string
		args []string
	}{
		{"send-sequential", nil},
		{"send-rooms", []string{"--clients", "2"}},
		{"send-room", []string{"--clients", "3", "--open-syncs=false"}},
		{"fanout", []string{"--receivers", "3", "--rate", "500"}},
		{"sync-latency", nil},
		{"initial-sync", []string{"--rooms", "2"}},
		{"federation", append([]string{"--clients", "2"}, peer...)},
		{"federated-join", append([]string{"--room-state", "12"}, peer...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "result.json")
			args := append(append([]string{tt.name, "--json", file}, small...), tt.args...)
			stdout, stderr, err := run(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(stdout, tt.name) || !strings.Contains(stdout, "one signature") || !strings.Contains(stderr, "users: ") {
				t.Errorf("stdout:\n%s\nstderr:\n%s", stdout, stderr)
			}
			raw, err := os.ReadFile(file)
			var r load.Result
			if err != nil || json.Unmarshal(raw, &r) != nil || r.Scenario != tt.name || r.Operations == 0 {
				t.Errorf("%v: %s", err, raw)
			}
		})
	}
}

func TestJSONOnStandardOutputStandsAlone(t *testing.T) {
	a := httptest.NewServer((&fakeserver.Server{World: fakeserver.NewWorld(), Name: "a"}).Handler())
	defer a.Close()
	stdout, stderr, err := run(t, "send-sequential", "--target", a.URL, "--warm-up", "0", "--state", "0", "--members", "1", "--count", "3", "--rest", "0", "--json", "-", "--quiet")
	if err != nil || !json.Valid([]byte(stdout)) || !strings.HasPrefix(stderr, "scenario") {
		t.Errorf("%v\nstdout:\n%s\nstderr:\n%s", err, stdout, stderr)
	}
}

func TestMistakesAreRefusedBeforeAnythingIsSent(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"send-rooms", "--count", "0"}, "--count must be between"},
		{[]string{"send-rooms", "--clients", "100000000"}, "--clients must be between"},
		{[]string{"fanout", "--rate", "0"}, "--rate must be more"},
		{[]string{"federation"}, "needs a second homeserver"},
		{[]string{"send-room", "--target", "nowhere"}, "no base URL"},
		{[]string{"send-room", "extra"}, "unknown command"},
		{[]string{"cpu-baseline", "--dir", "/nonexistent/dir"}, "fsync baseline"},
	}
	for _, tt := range tests {
		if _, _, err := run(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestHelpTeaches(t *testing.T) {
	stdout, _, err := run(t, "--help")
	if err != nil || !strings.Contains(stdout, "ed25519 signatures") {
		t.Errorf("%v\n%s", err, stdout)
	}
	stdout, _, err = run(t, "cpu-baseline")
	if err != nil || !strings.Contains(stdout, "one fsync") {
		t.Errorf("%v\n%s", err, stdout)
	}
}
