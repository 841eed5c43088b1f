package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"entente/internal/spectest"
	"entente/storage"
	"entente/storage/storagetest"
)

// agency is a server in a process of its own, which can be stopped, killed and
// started again where it was.
type agency struct {
	Name   string // the server name
	Client string // base URL of the Client-Server API
	// Judged is the same behind a proxy that compares every answer with the
	// specification, where there is a copy of it.
	Judged string

	t         *testing.T
	dir       string
	client    string // host:port
	peers     string // host:port of the federation listener
	admin     string // host:port
	authority string
	database  storage.Options
	known     []*agency // all agencies, this one included

	process *exec.Cmd
	ended   chan struct{}
	log     logTail
}

// onBothDatabases runs the test with two agencies, North and South, that
// federate, on every kind of database.
func onBothDatabases(t *testing.T, test func(t *testing.T, north, south *agency)) {
	t.Helper()
	t.Parallel() // much of it is waiting
	for kind, database := range map[string]func(testing.TB) storage.Options{
		"sqlite": storagetest.SQLite, "postgres": storagetest.Postgres,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			both := []*agency{
				newAgency(t, ca, "north.test", database(t)),
				newAgency(t, ca, "south.test", database(t)),
			}
			for _, a := range both {
				a.known = both
				a.configure()
			}
			for _, a := range both {
				a.start()
			}
			test(t, both[0], both[1])
		})
	}
}

func newAgency(t *testing.T, ca *authority, name string, database storage.Options) *agency {
	t.Helper()
	a := &agency{
		Name: name, t: t, dir: t.TempDir(), authority: ca.file, database: database,
		client: freeAddress(t), peers: freeAddress(t), admin: freeAddress(t),
	}
	a.Client = "http://" + a.client
	a.Judged = judged(t, a.client)
	ca.issue(t, name, a.path("tls.crt"), a.path("tls.key"))
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, a.log.String())
		}
		if text := a.log.String(); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic") {
			t.Errorf("%s raced or panicked:\n%s", name, text)
		}
	})
	return a
}

// freeAddress is an address on loopback that nobody listens on. The peers must
// know it before the server starts, and it must still be free after the server
// was killed: it lies below the ports that systems give to connections.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// judged is the base URL of a proxy that fails the test when an answer is not
// what the specification says.
func judged(t *testing.T, address string) string {
	t.Helper()
	proxy := http.Handler(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: address}) },
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	if os.Getenv(spectest.EnvDir) != "" {
		proxy = spectest.FromEnv(t).Handler(t, proxy)
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func (a *agency) path(name string) string { return filepath.Join(a.dir, name) }

var configuration = template.Must(template.New("entente.yaml").Parse(`
server_name: {{.Name}}
data_dir: {{.Dir}}/data
listeners:
  - addresses: ["{{.Client}}"]
    resources: [client]
  - addresses: ["{{.Peers}}"]
    resources: [federation]
    tls: {cert_file: {{.Dir}}/tls.crt, key_file: {{.Dir}}/tls.key}
admin:
  address: "{{.Admin}}"
database:
{{- if .Postgres}}
  postgres: "{{.Postgres}}"
  max_connections: 8
{{- else}}
  sqlite: {{.Dir}}/entente.db
{{- end}}
federation:
  ca_files: [{{.Authority}}]
  system_roots: false
  allow_private_addresses: true
  longest_backoff: 1s
  static:
{{- range $name, $address := .Static}}
    {{$name}}: "{{$address}}"
{{- end}}
registration: {open: true}
passwords: {memory: 64 KiB, passes: 1}
rate_limits: {enabled: false}
`))

func (a *agency) configure() {
	a.t.Helper()
	static := make(map[string]string)
	for _, other := range a.known {
		static[other.Name] = other.peers
	}
	var text bytes.Buffer
	err := configuration.Execute(&text, map[string]any{
		"Name": a.Name, "Dir": a.dir, "Client": a.client, "Peers": a.peers, "Admin": a.admin,
		"Postgres": a.database.Postgres, "Authority": a.authority, "Static": static,
	})
	if err == nil {
		err = os.WriteFile(a.path("entente.yaml"), text.Bytes(), 0o600)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// start runs the server and waits until it is ready.
func (a *agency) start() {
	a.t.Helper()
	cmd := exec.Command(os.Getenv(binaryVariable), "serve", "--config", a.path("entente.yaml"))
	cmd.Stdout, cmd.Stderr = &a.log, &a.log
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended shows in its log
	}()
	a.process, a.ended = cmd, ended
	eventually(a.t, a.Name+" is ready", func(ctx context.Context) error {
		select {
		case <-ended:
			a.t.Fatalf("%s ended: %v\n%s", a.Name, cmd.ProcessState, a.log.String())
		default:
		}
		return get(ctx, a.Client+"/_matrix/client/versions")
	})
}

// stop asks the server to end, as an operator does, and waits for it.
func (a *agency) stop() { a.end(syscall.SIGTERM) }

// kill ends the server without a chance to tidy up.
func (a *agency) kill() { a.end(syscall.SIGKILL) }

func (a *agency) end(signal syscall.Signal) {
	if a.process == nil {
		return
	}
	_ = a.process.Process.Signal(signal) // it may have ended by itself
	select {
	case <-a.ended:
	case <-time.After(patience):
		_ = a.process.Process.Kill()
		a.t.Errorf("%s did not stop", a.Name)
		<-a.ended
	}
	a.process = nil
}

// patience is how long a test waits for what should be there in a moment. It
// is long because a test machine may be busy; nothing is timed by it.
const patience = 60 * time.Second

// eventually asks until the condition holds.
func eventually(t *testing.T, what string, holds func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// get wants a 200 from the URL.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// logTail keeps the end of a server's log.
type logTail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const maxLog = 256 << 10

func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if over := len(l.text) - maxLog; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
