package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entente/config"
	"entente/governance"
	"entente/governance/audit"
	"entente/internal/fault"
	"entente/storage"
	"entente/storage/storagetest"
)

// site is a configured server for commands to work on.
type site struct {
	t      *testing.T
	config string
	db     *storage.DB
}

// newSite configures a server with a key and an SQLite database.
func newSite(t *testing.T, more string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, config: filepath.Join(dir, "entente.yaml")}
	text := "server_name: dhs.example\ndata_dir: data\n" + more
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := config.CreateSigningKey(filepath.Join(dir, "data", "signing.key")); err != nil {
		t.Fatal(err)
	}
	s.db = storagetest.Open(t, storage.Options{SQLite: filepath.Join(dir, "data", "entente.db"), ServerName: "dhs.example"})
	return s
}

// run runs a command that must succeed, and answers what it printed.
func (s *site) run(args ...string) string {
	s.t.Helper()
	code, out, errs := entente(s.t, append(args, "--config", s.config)...)
	if code != 0 {
		s.t.Fatalf("%v: code %d, %s%s", args, code, out, errs)
	}
	return out
}

// fail runs a command that must fail, and say so in these words.
func (s *site) fail(words string, args ...string) {
	s.t.Helper()
	code, out, errs := entente(s.t, append(args, "--config", s.config)...)
	if code != 1 || !strings.Contains(out+errs, words) {
		s.t.Errorf("%v: code %d, %q, %q, want %q", args, code, out, errs, words)
	}
}

func holds(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// An operator makes, reads, questions, suspends, resumes and ends an agreement
// while the server runs; each command returns when the server has applied it.
func TestAgreementOfARunningServer(t *testing.T) {
	s := newSite(t, "federation: {mode: listed}\n")
	service, err := governance.Open(t.Context(), governance.Options{
		DB: s.db, Settings: governance.Settings{ServerName: "dhs.example", Mode: governance.ModeListed},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	rule := func() string {
		var refusal *governance.Refusal
		if errors.As(service.Allow("dla.example"), &refusal) {
			return refusal.Rule
		}
		return ""
	}
	holds(t, s.run("agreement", "list"), "federation is listed, 0 agreements")
	holds(t, s.run("agreement", "add", "dla.example", "--key", "ed25519:a1="+base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
		"--until", "2199-09-30", "--ours-invite", "liaison-*", "--theirs-invite", "none", "--edus", "typing,m.receipt", "--room-versions", "11,12", "--note", "Treaty 12"),
		"active", "until 2199-10-01T00:00:00Z", "ed25519:a1=AAAA", "liaison-* may invite all of theirs", "none may invite all of ours", "m.typing,m.receipt", "11,12", "Treaty 12")
	if got := rule(); got != "" {
		t.Errorf("added: %q", got)
	}
	s.fail("--replace", "agreement", "add", "dla.example")
	holds(t, s.run("agreement", "suspend", "DLA.example", "--reason", "incident"), "suspended")
	if got := rule(); got != governance.RuleSuspended {
		t.Errorf("suspended: %q", got)
	}
	holds(t, s.run("agreement", "list"), "1 agreement", "dla.example", "suspended", "pinned", "Treaty 12")
	s.run("agreement", "resume", "dla.example")
	if got := rule(); got != "" {
		t.Errorf("resumed: %q", got)
	}
	s.run("agreement", "add", "dla.example", "--replace", "--suspended")
	holds(t, s.run("agreement", "show", "dla.example"), "suspended", "without an end", "those that the peer publishes", "all may invite all of theirs")
	s.run("agreement", "remove", "dla.example", "--no-wait")
	if err := service.Refresh(t.Context()); err != nil || rule() != governance.RuleNotListed {
		t.Errorf("removed: %q, error %v", rule(), err)
	}
	s.fail("agreement list", "agreement", "show", "dla.example")
	s.fail("agreement list", "agreement", "suspend", "dla.example")
}

// A node that does not confirm is named, and the command fails, though the
// change is made.
func TestSuspendNamesTheNodeThatLags(t *testing.T) {
	s := newSite(t, "")
	s.run("agreement", "add", "dla.example")
	node := &storage.Node{ID: "n1", Host: "host-1", Policy: 1, Started: 1, Seen: 1 << 50}
	if err := s.db.Stage(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	s.fail("waiting for node host-1 (n1)", "agreement", "suspend", "dla.example", "--timeout", "1500ms")
	s.fail("have not confirmed it: host-1 (n1)", "agreement", "suspend", "dla.example", "--timeout", "10ms")
	holds(t, s.run("agreement", "list"), "suspended")
}

func TestAgreementForMachines(t *testing.T) {
	s := newSite(t, "")
	s.run("agreement", "add", "dla.example", "--from", "2026-01-01T08:00:00+02:00")
	var all []struct {
		Peer, State string
		ValidFrom   string  `json:"valid_from"`
		ValidUntil  *string `json:"valid_until"`
		EDUs        []string
	}
	if err := json.Unmarshal([]byte(s.run("agreement", "list", "--json")), &all); err != nil || len(all) != 1 ||
		all[0].Peer != "dla.example" || all[0].ValidFrom != "2026-01-01T06:00:00Z" || all[0].ValidUntil != nil || all[0].EDUs[0] != "*" {
		t.Errorf("%+v, error %v", all, err)
	}
	holds(t, s.run("agreement", "show", "dla.example", "--json"), `"peer": "dla.example"`)
	var answers []governance.Answer
	if err := json.Unmarshal([]byte(s.run("agreement", "explain", "dla.example", "--json")), &answers); err != nil || len(answers) == 0 || !answers[0].Permitted {
		t.Errorf("%+v, error %v", answers, err)
	}
}

func TestExplainCommand(t *testing.T) {
	s := newSite(t, "federation: {mode: listed, listed: [listed.example]}\n")
	s.run("agreement", "add", "dla.example", "--until", "2030-01-31", "--theirs-invite", "liaison-*", "--edus", "none")
	holds(t, s.run("agreement", "explain", "dla.example", "--at", "2027-01-01", "--edu", "typing", "--room-version", "11",
		"--from", "@kim:dla.example", "--to", "@lee:dhs.example"),
		"yes  may dla.example and this server talk", "no   is m.typing exchanged", "agreement.edu", "no   may @kim:dla.example invite @lee:dhs.example to a room of version 11?", "agreement.invite_inbound, asked by user")
	holds(t, s.run("agreement", "explain", "dla.example", "--at", "2030-02-01"), "agreement.expired", "was valid until 2030-02-01T00:00:00Z")
	holds(t, s.run("agreement", "explain", "listed.example"), "federation.listed")
	holds(t, s.run("agreement", "explain", "other.example"), "federation.not_listed")
	s.fail("both --from and --to", "agreement", "explain", "dla.example", "--from", "@kim:dla.example")
	s.fail("not a user ID", "agreement", "explain", "dla.example", "--from", "kim", "--to", "@lee:dhs.example")
	s.fail("no room version", "agreement", "explain", "dla.example", "--room-version", "13")
	s.fail("not a server name", "agreement", "explain", "dla example")
	s.fail("not a time", "agreement", "explain", "dla.example", "--at", "tomorrow")
}

func TestAgreementMistakes(t *testing.T) {
	s := newSite(t, "")
	for words, args := range map[string][]string{
		"not a key":           {"--key", "ed25519:a1"},
		"--ca":                {"--ca", "/nowhere"},
		"not PEM":             {"--ca", s.config},
		"--until":             {"--until", "soon"},
		"--from":              {"--from", "soon"},
		"before it begins":    {"--from", "2027-01-02", "--until", "2026-01-01"},
		"no room version":     {"--room-versions", "99"},
		"no type of":          {"--edus", "m.nonsense"},
		"pattern of localpar": {"--ours-invite", "@kim:dhs.example"},
	} {
		s.fail(words, append([]string{"agreement", "add", "dla.example"}, args...)...)
	}
	s.fail("this server itself", "agreement", "add", "dhs.example")
	s.fail("not a server name", "agreement", "add", "dla example")
	if err := s.db.View(t.Context(), func(v *storage.View) error {
		all, err := v.Agreements(t.Context())
		if len(all) != 0 {
			t.Errorf("left are %v", all)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// Commands make no database where a server never ran.
func TestCommandsNeedADatabase(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "entente.yaml")
	if err := os.WriteFile(path, []byte("server_name: dhs.example\ndata_dir: data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"agreement", "list"}, {"audit", "verify"}} {
		code, _, errs := entente(t, append(args, "-c", path)...)
		if code != 1 || !strings.Contains(errs, "entente serve") {
			t.Errorf("%v: code %d, %q", args, code, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("the data folder was made")
	}
}

func TestOperatorIsThePersonBehindSudo(t *testing.T) {
	t.Setenv("SUDO_USER", "kim")
	if got := operator(); got != "os:kim" {
		t.Errorf("operator is %q", got)
	}
	t.Setenv("SUDO_USER", "")
	if got := operator(); !strings.HasPrefix(got, "os:") || got == "os:kim" {
		t.Errorf("operator is %q", got)
	}
	s := newSite(t, "")
	t.Setenv("SUDO_USER", "lee")
	s.run("agreement", "add", "dla.example")
	entries, err := s.db.Latest().Audit(t.Context(), 0, 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d records, error %v", len(entries), err)
	}
	if r, err := audit.Read(entries[0].AuditRecord); err != nil || r.Who != "os:lee" || r.What != "add" || r.Server != "dla.example" {
		t.Errorf("%+v, error %v", r, err)
	}
	if fault.KindOf(friendly(errors.New("x"))) != fault.Internal {
		t.Error("an error of no kind got one")
	}
}
