// Package entente has no code of its own: its tests hold the whole repository
// to its layout (this file) and its style (style_test.go).
package entente

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"entente/internal/spectest"
)

// The groups that the rows below are made of. An entry stands for a package
// and all below it.
var (
	pure      = []string{"internal/fault", "roomserver/event", "roomserver/auth", "roomserver/state", "roomserver/stateres"}
	wire      = []string{"internal/dial", "internal/lru", "federation/keys", "federation/resolve", "federation/client"}
	ground    = slices.Concat(pure, wire, []string{"storage", "cluster"})
	domains   = []string{"roomserver", "accounts", "media", "governance"}
	transport = slices.Concat(ground, domains, []string{"internal/web"})
)

// place is a row of the map: what a package, and all below it that has no row
// of its own, may import of this module. Packages of its own folder it may
// import always, unless alone is set.
type place struct {
	path  string
	may   []string
	alone bool
	why   string
}

// atlas is the map of docs/architecture.md as a table. Arrows go down only.
var atlas = []place{
	{path: "internal/fault", why: "the kinds of errors: everything imports it, so it imports nothing"},
	{path: "internal/dial", why: "plumbing has no domain"},
	{path: "internal/lru", why: "plumbing has no domain"},
	{path: "internal/spectest", why: "it reads the specification's files and knows nothing of the server that it judges"},
	{path: "internal/e2e", why: "it is tests only, of processes: it needs no package to know of them"},
	{path: "internal/web", may: []string{"internal/fault"}, why: "plumbing of all transports, which has no domain and no storage"},
	{path: "config", why: "components take the few settings that they need, not the configuration: only cmd joins the two"},

	{path: "roomserver/event", may: []string{"internal/fault"}, why: "the bottom of the pure part"},
	{path: "roomserver/auth", may: []string{"internal/fault", "roomserver/event"}, why: "the rules of the specification, on values"},
	{path: "roomserver/state", may: []string{"internal/fault", "roomserver/event"}, why: "a data structure; storage gives it its rows"},
	{path: "roomserver/stateres", may: []string{"internal/fault", "roomserver/event", "roomserver/auth"}, why: "an algorithm on values, which asks the rules"},

	{path: "federation/keys", may: []string{"internal/fault", "roomserver/event"}, why: "keys and signatures; the network reaches it as an argument"},
	{path: "federation/resolve", may: []string{"internal/fault", "roomserver/event"}, why: "discovery knows names and addresses only"},
	{path: "federation/client", may: slices.Concat(pure, wire), why: "below the room server, which calls peers through it: this breaks the cycle of rooms and federation"},
	{path: "storage", may: pure, why: "it keeps what the pure parts define, and decides nothing"},
	{path: "storage/storagetest", may: []string{"storage"}, why: "databases for the tests of all others"},
	{path: "cluster", may: []string{"internal/fault", "storage"}, why: "wake-ups and leases, whatever they are for"},

	{path: "governance", may: ground, why: "it decides for the three others of its row and asks none of them"},
	{path: "accounts", may: slices.Concat(ground, []string{"governance"}), why: "users without rooms"},
	{path: "media", may: slices.Concat(ground, []string{"governance"}), why: "contents without rooms"},
	{path: "roomserver", may: slices.Concat(ground, []string{"governance"}), why: "rooms; who calls, and over what, is not its business"},

	{path: "federation/inbound", may: transport, alone: true, why: "transports never import each other"},
	{path: "federation/sender", may: slices.Concat(ground, domains), alone: true, why: "transports never import each other"},
	{path: "clientapi", may: transport, why: "transports never import each other"},
	{path: "adminapi", may: transport, why: "transports never import each other"},

	{path: "cmd/entente", may: slices.Concat(transport, []string{"config", "clientapi", "adminapi", "federation"}), why: "wiring sees everything"},
	{path: "cmd/loadtest", why: "it measures any homeserver from outside, so it knows none"},
}

// foreign is a ban on packages that are not ours. An entry of packages or only
// stands for a package and all below it.
type foreign struct {
	packages []string // what may not be imported
	only     []string // who may all the same
	within   []string // whom the ban is for; empty is everyone
	why      string
}

var bans = []foreign{
	{packages: []string{"database/sql", "github.com/jackc/pgx", "github.com/mattn/go-sqlite3"},
		only: []string{"storage"}, why: "SQL lives in storage only"},
	{packages: []string{"log"}, why: "loggers are handed in, and they are slog's"},
	{packages: []string{"testing", "net/http/httptest"}, only: []string{"internal/spectest", "storage/storagetest", "internal/e2e"},
		why: "a server does not carry its tests"},
	{packages: []string{"github.com/spf13", "net/http/pprof"}, only: []string{"cmd"}, why: "commands and listeners are wiring"},
	{packages: []string{"github.com/matrix-org/gomatrixserverlib"}, why: "it is an oracle for tests: docs/adr/0001-own-event-codec.md"},
	{packages: []string{"os", "net", "net/http", "log/slog", "database/sql", "github.com/prometheus"},
		within: []string{"roomserver/event", "roomserver/auth", "roomserver/state", "roomserver/stateres"},
		why:    "the pure parts have no clock, no network and no SQL"},
	{packages: []string{"io/ioutil", "github.com/pkg/errors"}, why: "the standard library has better"},
}

// module is the part of what "go list" tells of a package that matters here.
type module struct {
	ImportPath string
	Name       string
	Imports    []string
}

func packages(t *testing.T) []module {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports", "./...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var found []module
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var m module
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		found = append(found, m)
	}
}

// covers says whether the entry is the package or a folder above it.
func covers(entry, pkg string) bool {
	return pkg == entry || strings.HasPrefix(pkg, entry+"/")
}

func covered(entries []string, pkg string) bool {
	return slices.ContainsFunc(entries, func(e string) bool { return covers(e, pkg) })
}

// placeOf is the row of the package: the one that names it most closely.
func placeOf(pkg string) *place {
	var best *place
	for i, p := range atlas {
		if covers(p.path, pkg) && (best == nil || len(p.path) > len(best.path)) {
			best = &atlas[i]
		}
	}
	return best
}

func TestArrowsGoDown(t *testing.T) {
	for _, m := range packages(t) {
		pkg, ours := strings.CutPrefix(m.ImportPath, "entente/")
		if !ours {
			continue // the root, which has tests only
		}
		row := placeOf(pkg)
		if row == nil {
			t.Errorf("%s has no place on the map: give it a row, and a line in docs/architecture.md", pkg)
			continue
		}
		for _, path := range m.Imports {
			imported, ours := strings.CutPrefix(path, "entente/")
			if ours && !row.allows(pkg, imported) {
				t.Errorf("%s imports %s; its row (%s) says: %s", pkg, imported, row.path, row.why)
			}
			if !ours {
				checkForeign(t, pkg, path)
			}
		}
	}
}

// allows says whether the row lets the package import another one of ours. An
// entry that has a finer row of its own below it does not cover that.
func (p *place) allows(pkg, imported string) bool {
	if covered(p.may, imported) && !testOnly(imported) {
		return true
	}
	return !p.alone && covers(p.path, imported) && placeOf(imported) == p && pkg != imported
}

// testOnly packages are for tests, which this table does not look at.
func testOnly(pkg string) bool {
	return covered([]string{"internal/spectest", "storage/storagetest", "internal/e2e"}, pkg)
}

func checkForeign(t *testing.T, pkg, path string) {
	t.Helper()
	for _, ban := range bans {
		if !covered(ban.packages, path) || covered(ban.only, pkg) {
			continue
		}
		// "log" is the package and not log/slog.
		if slices.Contains(ban.packages, "log") && path != "log" {
			continue
		}
		if len(ban.within) == 0 || covered(ban.within, pkg) {
			t.Errorf("%s imports %s: %s", pkg, path, ban.why)
		}
	}
}

// Every rule that a comment cites must exist in the specification.
func TestCitationsExist(t *testing.T) {
	for _, err := range spectest.FromEnv(t).CheckAnchors(".") {
		// The checker's own comments and tests say what a citation looks like.
		if !strings.HasPrefix(err.Error(), "internal/spectest/") {
			t.Error(err)
		}
	}
}
