package governance_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"entente/governance"
	"entente/governance/audit"
	"entente/internal/fault"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// newCA is a certificate authority, PEM.
func newCA(t testing.TB) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: noon().AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func newAgreements(db *storage.DB) *governance.Agreements {
	return governance.NewAgreements(db, ours, noon)
}

// auditOf reads the audit log.
func auditOf(t testing.TB, db *storage.DB) []audit.Record {
	t.Helper()
	entries, err := db.Latest().Audit(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var out []audit.Record
	for _, e := range entries {
		r, err := audit.Read(e.AuditRecord)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// What an agreement says is read back as it was written, each change raises
// the policy's version, and each is in the audit log with who made it.
func TestAgreementsAreKept(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, ctx := storagetest.Open(t, o), t.Context()
		g := newAgreements(db)
		a := with("DLA.example", func(a *governance.Agreement) {
			a.Keys = map[id.KeyID]ed25519.PublicKey{"ed25519:a": publicKey("a"), "ed25519:b": publicKey("b")}
			a.CA, a.ValidFrom, a.ValidUntil = newCA(t), noon(), noon().AddDate(1, 0, 0)
			a.Outbound = governance.Invitations{By: governance.Patterns{"liaison-*"}, Of: governance.Patterns{}}
			a.RoomVersions, a.EDUs = governance.Patterns{"11", "12"}, governance.Patterns{"m.typing"}
			a.Note = "Treaty 12\n§ 3"
		})
		first, err := g.Add(ctx, "os:kim", a, false)
		if err != nil {
			t.Fatal(err)
		}
		a.Peer, a.Created, a.Changed, a.ChangedBy = theirs, noon(), noon(), "os:kim"
		if got, err := g.Get(ctx, "dla.EXAMPLE"); err != nil || !reflect.DeepEqual(*got, a) {
			t.Errorf("read back %+v, error %v, want %+v", got, err, a)
		}
		second, err := g.Suspend(ctx, "os:lee", theirs, "incident 4711")
		if err != nil || second != first+1 {
			t.Errorf("version %d after %d, error %v", second, first, err)
		}
		if got, err := g.Get(ctx, theirs); err != nil || !got.Suspended || got.ChangedBy != "os:lee" || len(got.Keys) != 2 {
			t.Errorf("suspended is %+v, error %v", got, err)
		}
		if _, err := g.Resume(ctx, "os:lee", theirs, ""); err != nil {
			t.Error(err)
		}
		if _, err := g.Remove(ctx, "os:kim", theirs, "it is over"); err != nil {
			t.Error(err)
		}
		if all, err := g.List(ctx); err != nil || len(all) != 0 {
			t.Errorf("left are %v, error %v", all, err)
		}
		var acts []string
		for _, r := range auditOf(t, db) {
			acts = append(acts, strings.Join([]string{string(r.Kind), r.What, r.Who, r.Server, r.Detail["reason"]}, " "))
		}
		want := []string{
			"agreement add os:kim dla.example ", "agreement suspend os:lee dla.example incident 4711",
			"agreement resume os:lee dla.example ", "agreement remove os:kim dla.example it is over",
		}
		if !reflect.DeepEqual(acts, want) {
			t.Errorf("audit has %q", acts)
		}
	})
}

func TestAgreementsThatAreRefused(t *testing.T) {
	db := storagetest.Open(t, storagetest.SQLite(t))
	g := newAgreements(db)
	if _, err := g.Add(t.Context(), "os:kim", governance.NewAgreement(third), false); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		peer   string
		change func(a *governance.Agreement)
		kind   fault.Kind
		words  string
	}{
		"no server name":       {"a b", nil, fault.InvalidParam, "not a server name"},
		"ourselves":            {"DHS.example", nil, fault.InvalidParam, "this server itself"},
		"there already":        {"Fema.Example", nil, fault.Conflict, "already"},
		"an end before it":     {theirs, func(a *governance.Agreement) { a.ValidFrom, a.ValidUntil = noon(), noon() }, fault.InvalidParam, "end"},
		"a strange key ID":     {theirs, func(a *governance.Agreement) { a.Keys = map[id.KeyID]ed25519.PublicKey{"rsa:a": publicKey("a")} }, fault.InvalidParam, "ed25519"},
		"a short key":          {theirs, func(a *governance.Agreement) { a.Keys = map[id.KeyID]ed25519.PublicKey{"ed25519:a": {1}} }, fault.InvalidParam, "32 bytes"},
		"no certificate":       {theirs, func(a *governance.Agreement) { a.CA = "-----BEGIN" }, fault.InvalidParam, "PEM"},
		"a user ID":            {theirs, func(a *governance.Agreement) { a.Inbound.By = governance.Patterns{"@a:dla.example"} }, fault.InvalidParam, "localparts"},
		"an unknown version":   {theirs, func(a *governance.Agreement) { a.RoomVersions = governance.Patterns{"99"} }, fault.InvalidParam, "99"},
		"an unknown data type": {theirs, func(a *governance.Agreement) { a.EDUs = governance.Patterns{"typing"} }, fault.InvalidParam, "m.typing"},
		"a long note":          {theirs, func(a *governance.Agreement) { a.Note = strings.Repeat("x", 5000) }, fault.InvalidParam, "note"},
		"too many keys": {theirs, func(a *governance.Agreement) {
			a.Keys = map[id.KeyID]ed25519.PublicKey{}
			for i := range 65 {
				a.Keys[id.KeyID("ed25519:"+strings.Repeat("a", i+1))] = publicKey("a")
			}
		}, fault.InvalidParam, "keys"},
	} {
		t.Run(name, func(t *testing.T) {
			a := governance.NewAgreement(c.peer)
			if c.change != nil {
				c.change(&a)
			}
			if _, err := g.Add(t.Context(), "os:kim", a, false); !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("error is %v", err)
			}
		})
	}
	for name, change := range map[string]func(ctx context.Context, by, peer, reason string) (int64, error){
		"suspend": g.Suspend, "resume": g.Resume, "remove": g.Remove,
	} {
		if _, err := change(t.Context(), "os:kim", theirs, ""); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s of what is not there: %v", name, err)
		}
	}
	if n := len(auditOf(t, db)); n != 1 {
		t.Errorf("%d records of one change", n)
	}
	if _, err := g.Add(t.Context(), "os:kim", with(third, func(a *governance.Agreement) { a.Note = "new" }), true); err != nil {
		t.Errorf("replace: %v", err)
	}
}

// Changes that cross one another are all made, one after the other.
func TestChangesCross(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		beside := storagetest.Open(t, o)
		db := storagetest.Open(t, o)
		var wg sync.WaitGroup
		versions := make([]int64, 6)
		for i := range versions {
			wg.Go(func() {
				g := newAgreements(map[bool]*storage.DB{true: db, false: beside}[i%2 == 0])
				version, err := g.Add(context.Background(), "os:kim", governance.NewAgreement("s"+string(rune('a'+i))+".example"), false)
				if err != nil {
					t.Error(err)
				}
				versions[i] = version
			})
		}
		wg.Wait()
		distinct := map[int64]bool{}
		for _, v := range versions {
			distinct[v] = true
		}
		all, err := newAgreements(db).List(t.Context())
		if err != nil || len(all) != len(versions) || len(distinct) != len(versions) {
			t.Errorf("%d agreements with versions %v, error %v", len(all), versions, err)
		}
		if report, err := audit.Verify(t.Context(), db, nil); err != nil || len(report.Findings) != 0 || report.Records != 6 {
			t.Errorf("the audit log of crossing changes: %+v, error %v", report, err)
		}
	})
}

// Wait names the nodes that lag, and returns when they have confirmed or
// stopped. One that gives no sign of life for long counts as stopped.
func TestWaitForNodes(t *testing.T) {
	db, ctx := storagetest.Open(t, storagetest.SQLite(t)), t.Context()
	var mu sync.Mutex
	now := noon()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	g := governance.NewAgreements(db, ours, clock)
	beat := func(name string, policy int64, seen time.Time) {
		t.Helper()
		if err := db.Stage(ctx, &storage.Node{ID: name, Host: "host", Policy: policy, Started: 1, Seen: seen.UnixMilli()}); err != nil {
			t.Fatal(err)
		}
	}
	beat("up to date", 7, noon())
	beat("slow", 6, noon())
	beat("frozen", 6, noon())
	told := make(chan []storage.Node, 10)
	done := make(chan error, 1)
	go func() { done <- g.Wait(ctx, 7, func(lagging []storage.Node) { told <- lagging }) }()
	names := func(nodes []storage.Node) string {
		var out []string
		for _, n := range nodes {
			out = append(out, n.ID)
		}
		return strings.Join(out, ",")
	}
	if got := names(<-told); got != "frozen,slow" {
		t.Errorf("lagging are %s", got)
	}
	beat("slow", 7, noon().Add(time.Second))
	if got := names(<-told); got != "frozen" {
		t.Errorf("lagging are %s", got)
	}
	mu.Lock()
	now = now.Add(21 * time.Second)
	mu.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if nodes, err := db.Latest().Nodes(ctx); err != nil || names(nodes) != "slow,up to date" {
		t.Errorf("nodes left are %s, error %v", names(nodes), err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := g.Wait(ended, 99, func([]storage.Node) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// What stands in the audit log about an agreement says what is in it, but does
// not repeat certificates.
func TestAgreementInTheAuditLog(t *testing.T) {
	db := storagetest.Open(t, storagetest.SQLite(t))
	_, err := newAgreements(db).Add(t.Context(), "os:kim", with(theirs, func(a *governance.Agreement) {
		a.CA, a.Keys = newCA(t), map[id.KeyID]ed25519.PublicKey{"ed25519:a": publicKey("a")}
		a.ValidUntil, a.EDUs = noon().AddDate(0, 1, 0), governance.Patterns{}
	}), false)
	if err != nil {
		t.Fatal(err)
	}
	detail := auditOf(t, db)[0].Detail
	if !strings.HasPrefix(detail["ca"], "sha256:") || !strings.HasPrefix(detail["keys"], "ed25519:a=") {
		t.Errorf("detail is %v", detail)
	}
	delete(detail, "ca")
	delete(detail, "keys")
	if want := map[string]string{
		"ours_invite": "all", "theirs_invited": "all", "theirs_invite": "all", "ours_invited": "all",
		"room_versions": "all", "edus": "none", "valid_until": "2026-12-22T12:00:00Z",
	}; !maps.Equal(detail, want) {
		t.Errorf("detail is %v", detail)
	}
}
