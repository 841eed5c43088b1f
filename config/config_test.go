package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// write puts a file into a folder of the test and answers its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mistakesOf parses text that must be wrong.
func mistakesOf(t *testing.T, text string) Mistakes {
	t.Helper()
	_, err := Parse("/etc/entente.yaml", []byte(text))
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("no mistakes in %q: %v", text, err)
	}
	return mistakes
}

func TestANameIsEnough(t *testing.T) {
	cfg, err := Parse("/etc/entente/entente.yaml", []byte("server_name: a.example\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.ServerName = "a.example"
	want.DataDir = "/etc/entente/entente-data"
	want.Signing.KeyFile = "/etc/entente/entente-data/signing.key"
	want.Database.SQLite = "/etc/entente/entente-data/entente.db"
	want.Listeners[0].ACME.Cache = "/etc/entente/entente-data/acme"
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestEverySettingCanBeSet(t *testing.T) {
	dir := t.TempDir()
	pem := write(t, dir, "ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	write(t, dir, "secret", "s3cret\n")
	write(t, dir, "tokens", "one\n\ntwo\n")
	text := `
server_name: hs1
data_dir: data
signing:
  key_file: key
  validity: 12h
  old_keys:
    - {id: "ed25519:old", key: "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw", expired: 2026-01-31T00:00:00Z}
listeners:
  - addresses: ["0.0.0.0:8008"]
    resources: [client]
    trusted_proxies: [127.0.0.1, "10.0.0.0/8"]
  - addresses: ["0.0.0.0:8448"]
    tls: {cert_file: ca.pem, key_file: ca.pem}
well_known:
  client: https://hs1.example
  server: hs1.example:443
  support: {page: "https://hs1.example/help", contacts: [{role: m.role.admin, email: ops@hs1.example}]}
admin: {address: off, pprof: false}
database: {postgres_file: secret_dsn, max_connections: 4}
cluster: {nats: "nats://127.0.0.1:4222"}
federation:
  mode: listed
  listed: [other.example, "*.gov.example"]
  static: {other.example: "127.0.0.1:8448"}
  ca_files: [ca.pem]
  system_roots: false
  allow_private_addresses: true
  allowed_ranges: [10.0.0.0/8]
  presence: true
  notaries: []
  staging: {events: 100, bytes: 8 MiB}
audit: {sinks: [{file: audit.jsonl}, {syslog: "tcp://127.0.0.1:601"}]}
registration: {open: true, tokens: [zero], tokens_file: tokens, shared_secret_file: secret}
passwords: {memory: 64 KiB, passes: 1, min_length: 1}
sessions: {access_token_lifetime: 5m, refresh_token_lifetime: 0}
presence: {local: true}
public_rooms: {publish: nobody}
rate_limits: {enabled: false, login: {per_second: 0, burst: 0}}
limits: {request_body: 2 MB, json_depth: 50, sync_timeout: 1m30s, upload: 1.5 GiB}
logging: {level: debug, format: json}
`
	write(t, dir, "secret_dsn", "postgres://u:p@h/db")
	cfg, err := Load(write(t, dir, "entente.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"key file":       {cfg.Signing.KeyFile, filepath.Join(dir, "key")},
		"validity":       {cfg.Signing.Validity.Std(), 12 * time.Hour},
		"old key":        {cfg.Signing.OldKeys[0].Expired.Year(), 2026},
		"resources":      {len(cfg.Listeners[1].Resources), 2},
		"certificate":    {cfg.Listeners[1].TLS.CertFile, pem},
		"admin":          {cfg.Admin.Address, AdminOff},
		"dsn":            {cfg.Database.Postgres.Reveal(), "postgres://u:p@h/db"},
		"no sqlite":      {cfg.Database.SQLite, ""},
		"mode":           {cfg.Federation.Mode, FederationListed},
		"static":         {cfg.Federation.Static["other.example"], "127.0.0.1:8448"},
		"ca file":        {cfg.Federation.CAFiles[0], pem},
		"staging":        {cfg.Federation.Staging, Staging{100, 8 << 20}},
		"audit file":     {cfg.Audit.Sinks[0].File, filepath.Join(dir, "audit.jsonl")},
		"audit syslog":   {cfg.Audit.Sinks[1].Syslog, "tcp://127.0.0.1:601"},
		"shared secret":  {cfg.Registration.SharedSecret.Reveal(), "s3cret"},
		"tokens":         {len(cfg.Registration.Tokens), 3},
		"refresh tokens": {cfg.Sessions.RefreshTokenLifetime.Std(), time.Duration(0)},
		"memory":         {cfg.Passwords.Memory, Size(64 << 10)},
		"login":          {cfg.RateLimits.Login, Rate{}},
		"read":           {cfg.RateLimits.Read, Default().RateLimits.Read},
		"body":           {cfg.Limits.RequestBody, Size(2_000_000)},
		"upload":         {cfg.Limits.Upload, Size(3 << 29)},
		"sync":           {cfg.Limits.SyncTimeout.Std(), 90 * time.Second},
		"logging":        {cfg.Logging, Logging{"debug", "json"}},
		"pprof":          {cfg.Admin.Pprof, false},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
}

func TestAllMistakesAtOnceWithLineAndRemedy(t *testing.T) {
	text := `server_nam: a.example
data_dir: [x]
listeners:
  - addresses: ["8008"]
    resourses: [client]
    resources: [clients]
  - tls: {cert_file: /nonexistent.pem}
federation:
  mode: opne
  static: {other.example: here}
  timeout: 5
registration: {open: "yes", shared_secret: a, shared_secret_file: /nonexistent}
rate_limits:
  login: {per_second: many, burst: 1.5}
limits: {upload: lots, sync_timeout: soon}
level: debug
logging: text
passwords: {passes: 0}
`
	got := mistakesOf(t, text)
	for _, want := range []struct {
		line            int
		setting         string
		problem, remedy string
	}{
		{0, "server_name", "no name", "add server_name"},
		{1, "server_nam", "no such setting", "did you mean server_name?"},
		{2, "data_dir", "expected a text, found a list", "quotes"},
		{4, "listeners[0].addresses[0]", "not host:port", "127.0.0.1:8008"},
		{5, "listeners[0].resourses", "no such setting", "did you mean resources?"},
		{6, "listeners[0].resources[0]", `"clients" is not one of client, federation`, "did you mean client?"},
		{7, "listeners[1].addresses", "no address", "add addresses"},
		{7, "listeners[1].tls", "both cert_file and key_file", "add the other"},
		{7, "listeners[1].tls.cert_file", "cannot be read", "correct the path"},
		{9, "federation.mode", `"opne" is not one of`, "did you mean open?"},
		{10, "federation.static[other.example]", "not host:port", "10.1.2.3:8448"},
		{11, "federation.timeout", "no such setting", ""},
		{12, "registration.open", "expected true or false, found a text", "without quotes"},
		{12, "registration.shared_secret", "both here and by shared_secret_file", "keep one"},
		{14, "rate_limits.login.per_second", "expected a number", ""},
		{14, "rate_limits.login.burst", "expected a whole number", ""},
		{15, "limits.upload", `"lots" is not a size`, "10 MiB"},
		{15, "limits.sync_timeout", `"soon" is not a duration`, "30s"},
		{16, "level", "no such setting", "did you mean logging.level?"},
		{17, "logging", "expected settings with names, found a text", ""},
		{18, "passwords.passes", "not from 1", "2 is usual"},
	} {
		found := false
		for _, m := range got {
			found = found || m.Line == want.line && m.Setting == want.setting &&
				strings.Contains(m.Problem, want.problem) && strings.Contains(m.Remedy, want.remedy) && m.Remedy != ""
		}
		if !found {
			t.Errorf("line %d, %s: %q with remedy %q is not reported", want.line, want.setting, want.problem, want.remedy)
		}
	}
	if len(got) != 21 {
		t.Errorf("%d mistakes, want 21:\n%v", len(got), got)
	}
	if first := got.Error(); !strings.Contains(first, "/etc/entente.yaml:1:1: server_nam: there is no such setting\n    remedy: did you mean server_name?") {
		t.Errorf("the text is\n%s", first)
	}
}

func TestMistakesOneByOne(t *testing.T) {
	for _, tc := range []struct{ text, setting, problem string }{
		{"server_name: https://a.example", "server_name", "is not a server name"},
		{"server_name: A.example", "server_name", "upper-case"},
		{"server_name: \"a.example:99999\"", "server_name", "is not a server name"},
		{"server_name: \"[::1\"", "server_name", "is not a server name"},
		{"server_name: true", "server_name", "expected a text, found true"},
		{"server_name: a\nserver_name: b", "server_name", "twice"},
		{"server_name: a\nfederation: {static: {b: \"c:1\", b: \"d:1\"}}", "federation.static[b]", "twice"},
		{"server_name: a\n---\nserver_name: b", "", "more than one"},
		{"server_name: *unknown", "server_name", "no anchor"},
		{"- a", "", "expected settings with names, found a list"},
		{"a: b: c", "", "not YAML"},
		{"server_name: a\nsigning: {old_keys: [{id: rsa:1, key: x}]}", "signing.old_keys[0].id", "not a key ID"},
		{"server_name: a\nsigning: {old_keys: [{id: \"ed25519:1\", key: x}]}", "signing.old_keys[0].key", "not a public key"},
		{"server_name: a\nsigning: {old_keys: [{id: \"ed25519:1\"}]}", "signing.old_keys[0].expired", "missing"},
		{"server_name: a\nsigning: {old_keys: [{expired: yesterday}]}", "signing.old_keys[0].expired", "is not a time"},
		{"server_name: a\nsigning: {validity: 5s}", "signing.validity", "less than a minute"},
		{"server_name: a\nlisteners: [{addresses: [\":1\"]}, {addresses: [\":1\"]}]", "listeners[1].addresses[0]", "the same as in listeners[0].addresses[0]"},
		{"server_name: a\nlisteners: [{addresses: [\"a b:1\"]}]", "listeners[0].addresses[0]", "neither an IP address"},
		{"server_name: a\nlisteners: [{addresses: [\":1\"], acme: {domains: [\"a:1\"]}}]", "listeners[0].acme.domains[0]", "not a host name"},
		{"server_name: a\nlisteners: [{addresses: [\":1\"], acme: {domains: [a], email: me}}]", "listeners[0].acme.email", "not an email"},
		{"server_name: a\nlisteners: [{addresses: [\":1\"], acme: {directory: a}}]", "listeners[0].acme.directory", "not an https URL"},
		{"server_name: a\nlisteners: [{addresses: [\":1\"], trusted_proxies: [proxy]}]", "listeners[0].trusted_proxies[0]", "not an address or a range"},
		{"server_name: a\nadmin: {address: on}", "admin.address", "not host:port"},
		{"server_name: a\ndatabase: {sqlite: x, postgres: \"postgres://h/d\"}", "database", "both sqlite and postgres"},
		{"server_name: a\ndatabase: {postgres: nonsense}", "database.postgres", "not a connection string"},
		{"server_name: a\ndatabase: {max_connections: 1}", "database.max_connections", "not from 2"},
		{"server_name: a\ncluster: {nats: \"nats://h:1\"}", "cluster.nats", "need PostgreSQL"},
		{"server_name: a\ncluster: {nats: h}", "cluster.nats", "not the URL"},
		{"server_name: a\nwell_known: {client: a.example}", "well_known.client", "is not an http"},
		{"server_name: a\nwell_known: {server: \"https://a\"}", "well_known.server", "is not a host name"},
		{"server_name: a\nwell_known: {support: {page: x}}", "well_known.support.page", "is not an http"},
		{"server_name: a\nwell_known: {support: {contacts: [{role: m.role.admin}]}}", "well_known.support.contacts[0]", "cannot be reached"},
		{"server_name: a\nwell_known: {support: {contacts: [{email: a@b, role: boss}]}}", "well_known.support.contacts[0].role", "not a role"},
		{"server_name: a\nwell_known: {support: {contacts: [{matrix_id: a, role: m.role.admin}]}}", "well_known.support.contacts[0].matrix_id", "not a Matrix user ID"},
		{"server_name: a\nwell_known: {support: {contacts: [{email: a, role: m.role.admin}]}}", "well_known.support.contacts[0].email", "not an email"},
		{"server_name: a\nfederation: {listed: [b]}", "federation.listed", "no effect in the mode open"},
		{"server_name: a\naudit: {sinks: [{}]}", "audit.sinks[0]", "either a file or"},
		{"server_name: a\naudit: {sinks: [{file: a, syslog: \"udp://b:514\"}]}", "audit.sinks[0]", "either a file or"},
		{"server_name: a\naudit: {sinks: [{syslog: \"udp://b\"}]}", "audit.sinks[0].syslog", "not a syslog receiver"},
		{"server_name: a\naudit: {sinks: [{syslog: \"http://b:1\"}]}", "audit.sinks[0].syslog", "not a syslog receiver"},
		{"server_name: a\naudit: {sinks: [{syslog: \"unix://b/c\"}]}", "audit.sinks[0].syslog", "not a syslog receiver"},
		{"server_name: a\naudit: {sinks: [{file: a}, {file: a}]}", "audit.sinks[1]", "listed twice"},
		{"server_name: a\nfederation: {mode: listed, listed: [\"b c\"]}", "federation.listed[0]", "not a server name"},
		{"server_name: a\nfederation: {static: {\"b c\": \"d:1\"}}", "federation.static[b c]", "not a server name"},
		{"server_name: a\nfederation: {notaries: [\"b c\"]}", "federation.notaries[0]", "not a server name"},
		{"server_name: a\nfederation: {system_roots: false}", "federation.system_roots", "no certificate authority"},
		{"server_name: a\nfederation: {allowed_ranges: [all]}", "federation.allowed_ranges[0]", "not an address"},
		{"server_name: a\nfederation: {connect_timeout: 1ms}", "federation.connect_timeout", "less than a second"},
		{"server_name: a\nfederation: {request_timeout: 5s}", "federation.request_timeout", "less than connect_timeout"},
		{"server_name: a\nfederation: {staging: {events: 1}}", "federation.staging.events", "less than one transaction"},
		{"server_name: a\nfederation: {staging: {bytes: 1}}", "federation.staging.bytes", "less than one transaction"},
		{"server_name: a\nregistration: {tokens: [\"a b\"]}", "registration.tokens[0]", "not a registration token"},
		{"server_name: a\nregistration: {shared_secret_file: nowhere}", "registration.shared_secret_file", "cannot be read"},
		{"server_name: a\npasswords: {memory: 1 KiB}", "passwords.memory", "not from 64 KiB"},
		{"server_name: a\nsessions: {access_token_lifetime: 1s}", "sessions.access_token_lifetime", "less than 10 seconds"},
		{"server_name: a\nlimits: {request_body: 1}", "limits.request_body", "less than two events"},
		{"server_name: a\nlimits: {sync_timeout: 1h}", "limits.sync_timeout", "not from 1s"},
		{"server_name: a\nrate_limits: {login: {per_second: -1}}", "rate_limits.login.per_second", "not from 0"},
		{"server_name: a\nrate_limits: {login: {burst: 0}}", "rate_limits.login.burst", "less than 1"},
		{"server_name: a\nappservices: {folder: /nonexistent}", "appservices.folder", "cannot be read"},
		{"server_name: a\ndata_dir: \"\"", "data_dir", "empty"},
	} {
		got := mistakesOf(t, tc.text)
		found := false
		for _, m := range got {
			found = found || m.Setting == tc.setting && strings.Contains(m.Problem, tc.problem) && m.Remedy != ""
		}
		if !found {
			t.Errorf("%q: no mistake in %s saying %q, but\n%v", tc.text, tc.setting, tc.problem, got)
		}
	}
}

func TestAnchorsAndMergesAreFollowed(t *testing.T) {
	cfg, err := Parse("x.yaml", []byte(`
server_name: &name a.example
rate_limits:
  login: &slow {per_second: 1, burst: 2}
  register: *slow
  join:
    <<: *slow
    burst: 9
well_known: {server: *name}
federation: # nothing: the defaults stay
`))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.RateLimits.Register != (Rate{1, 2}) || cfg.RateLimits.Join != (Rate{1, 9}) || cfg.WellKnown.Server != "a.example" {
		t.Errorf("got %+v, %q", cfg.RateLimits, cfg.WellKnown.Server)
	}
	if !cfg.Federation.SystemRoots {
		t.Error("an empty section lost its defaults")
	}
}

func TestSecretsStayOutOfTexts(t *testing.T) {
	cfg, err := Parse("x.yaml", []byte("server_name: a\nregistration: {shared_secret: hunter2, tokens: [tok1]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join([]string{
		sprint("%v", cfg), sprint("%+v", cfg), sprint("%#v", cfg.Registration), cfg.Registration.SharedSecret.LogValue().String(),
	}, "\n")
	if strings.Contains(text, "hunter2") || strings.Contains(text, "tok1") {
		t.Errorf("a secret shows in %s", text)
	}
	mistakes := mistakesOf(t, "server_name: a\ncluster: {nats: \"hunter2\"}\nregistration: {tokens: [\"hunter2 x\"]}\ndatabase: {postgres: hunter2}")
	if strings.Contains(mistakes.Error(), "hunter2") {
		t.Errorf("a secret shows in a mistake: %v", mistakes)
	}
}

func TestTheExampleSaysWhatTheConfigurationSays(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a name only": func(*Config) {},
		"many settings": func(c *Config) {
			c.Federation.Mode = FederationListed
			c.Federation.Listed = []string{"b.example", "*.c.example"}
			c.Federation.Static = map[string]string{"b.example": "127.0.0.1:1", "c": "d:2"}
			c.Registration.SharedSecret = "a \"quoted\" secret: # not a comment"
			c.Registration.Tokens = []Secret{"true", "123", "x"}
			c.RateLimits.Enabled = false
			c.RateLimits.Login = Rate{0.25, 7}
			c.Limits.Upload = 123456
			c.Sessions.AccessTokenLifetime = Duration(90 * time.Second)
			c.Signing.OldKeys = []OldKey{{ID: "ed25519:x", Key: "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw", Expired: time.Unix(1e9, 0).UTC()}}
			c.WellKnown.Support.Contacts = []Contact{{Role: "m.role.admin", Email: "ops@a.example"}}
			c.Listeners = append(c.Listeners, Listener{Addresses: []string{":8448", "[::1]:8449"}, Resources: []string{"federation"}, TrustedProxies: []string{"10.0.0.0/8"}})
			c.Admin = Admin{Address: AdminOff}
		},
	} {
		cfg := Default()
		cfg.ServerName = "a.example"
		change(cfg)
		text, err := Example(cfg)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse("/x/entente.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		d := newDecoder("/x/entente.yaml")
		(&checker{decoder: d, cfg: cfg, dir: "/x"}).resolve()
		if !reflect.DeepEqual(back, cfg) {
			t.Errorf("%s: got  %+v\nwant %+v", name, back, cfg)
		}
	}
}

// offSetting is a setting that the example shows but does not make.
var offSetting = regexp.MustCompile(`(?m)^( *)#([a-z_]+:|-$)`)

func TestEveryLineOfTheExampleCanBeTurnedOn(t *testing.T) {
	cfg := Default()
	cfg.ServerName = "a.example"
	text, err := Example(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := offSetting.ReplaceAllString(text, "$1$2")
	if strings.Count(all, "\n") < 200 || all == text {
		t.Fatal("the example has hardly any lines")
	}
	_, err = Parse("x.yaml", []byte(all))
	for _, m := range err.(Mistakes) {
		// Files that the examples name are not there, and some settings
		// exclude each other; but each line must be understood.
		if strings.Contains(m.Problem, "no such setting") || strings.Contains(m.Problem, "expected") || strings.Contains(m.Problem, "YAML") || strings.Contains(m.Problem, " is not ") {
			t.Error(m)
		}
	}
}

func TestTheReferencePageIsUpToDate(t *testing.T) {
	want, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/configuration.md is out of date: run go run ./cmd/entente config reference > docs/configuration.md")
	}
}

func TestEverySettingIsExplained(t *testing.T) {
	d, err := readDocs()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		for i := range typ.NumField() {
			field := typ.Field(i)
			if yamlName(field) == "" {
				continue
			}
			if text := d.of(typ, field.Name); len(text) < 5 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s.%s is not explained: %q", typ.Name(), field.Name, text)
			}
			if isSection(field.Type) {
				walk(field.Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}
