package audit_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entente/governance/audit"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	_ "github.com/jackc/pgx/v5/stdlib"
	"maunium.net/go/mautrix/id"
)

const server = "dhs.example"

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func signer(name string) event.Signer {
	seed := sha256.Sum256([]byte(name))
	return event.Signer{Server: server, KeyID: id.KeyID("ed25519:" + name), Key: ed25519.NewKeyFromSeed(seed[:])}
}

// keys knows the key "a".
func keys(keyID id.KeyID) (ed25519.PublicKey, bool) {
	return signer("a").Key.Public().(ed25519.PublicKey), keyID == "ed25519:a"
}

// fill appends n records to the log.
func fill(t testing.TB, db *storage.DB, n int) {
	t.Helper()
	var c storage.Commit
	c.Positions = 1
	for i := range n {
		r := audit.Record{Kind: audit.Login, At: noon().Add(time.Duration(i) * time.Second), Who: fmt.Sprintf("@user%d:%s", i, server)}
		c.Audit = append(c.Audit, r.Stored())
	}
	if _, err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func entries(t testing.TB, db *storage.DB) []storage.AuditEntry {
	t.Helper()
	all, err := db.Latest().Audit(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func records(t testing.TB, db *storage.DB) []audit.Record {
	t.Helper()
	var out []audit.Record
	for _, e := range entries(t, db) {
		r, err := audit.Read(e.AuditRecord)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// intruder is someone who may write to the database past the server.
type intruder struct {
	t  *testing.T
	db *sql.DB
}

func intrude(t *testing.T, o storage.Options) *intruder {
	t.Helper()
	driver, dsn := "sqlite3", "file:"+o.SQLite+"?_busy_timeout=5000"
	if o.Postgres != "" {
		driver, dsn = "pgx", o.Postgres
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &intruder{t, db}
}

func (i *intruder) exec(statement string, args ...any) {
	i.t.Helper()
	if _, err := i.db.ExecContext(i.t.Context(), statement, args...); err != nil {
		i.t.Fatalf("%s: %v", statement, err)
	}
}

// put writes an entry in a place that is free.
func (i *intruder) put(e storage.AuditEntry) {
	i.t.Helper()
	i.exec(`INSERT INTO audit (seq, at, body, hash) VALUES ($1, $2, $3, $4)`, e.Seq, e.At, e.Body, e.Hash)
}

// restore makes the log what it was.
func (i *intruder) restore(log []storage.AuditEntry) {
	i.t.Helper()
	i.exec(`DELETE FROM audit`)
	for _, e := range log {
		i.put(e)
	}
}

// move gives the records from a number on another number.
func (i *intruder) move(from, by int64) {
	i.t.Helper()
	i.exec(`UPDATE audit SET seq = -seq WHERE seq >= $1`, from)
	i.exec(`UPDATE audit SET seq = -seq + $1 WHERE seq < 0`, by)
}

// forged is a record that was never written, chained to an entry.
func forged(after storage.AuditEntry) storage.AuditEntry {
	e := storage.AuditEntry{Seq: after.Seq + 1, AuditRecord: audit.Record{Kind: audit.Admin, At: noon(), Who: "@eve:" + server}.Stored()}
	e.Hash = storage.AuditHash(after.Hash, e.Seq, e.AuditRecord)
	return e
}

// summary is what verification found, in short.
func summary(r *audit.Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %d-%d", f.What, f.From, f.To))
	}
	return strings.Join(out, ", ")
}

func open(t *testing.T, o storage.Options) *storage.DB {
	t.Helper()
	o.ServerName = server
	return storagetest.Open(t, o)
}

// pass lets time pass in a bubble of synctest, until all that was to happen
// has happened.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
