// Package storagetest gives tests real databases: SQLite in a temporary file,
// and PostgreSQL in a schema of its own when ENTENTE_TEST_POSTGRES names a
// server.
package storagetest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"entente/storage"
)

// PostgresVariable names the environment variable that holds the connection
// URL of a PostgreSQL server for tests.
const PostgresVariable = "ENTENTE_TEST_POSTGRES"

// Each runs fn on every kind of database. PostgreSQL is skipped when no server
// is named.
func Each(t *testing.T, fn func(t *testing.T, o storage.Options)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// SQLite names a new SQLite database, removed when the test ends.
func SQLite(t testing.TB) storage.Options {
	t.Helper()
	return storage.Options{SQLite: filepath.Join(t.TempDir(), "entente.db"), ServerName: "test", Log: Logger(t)}
}

// Postgres names a new schema of the PostgreSQL server for tests, dropped when
// the test ends.
func Postgres(t testing.TB) storage.Options {
	t.Helper()
	server := os.Getenv(PostgresVariable)
	if server == "" {
		t.Skipf("%s is not set: no PostgreSQL to test on", PostgresVariable)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s is no URL: %v", PostgresVariable, err)
	}
	schema := "t" + strings.ToLower(rand.Text())
	run(t, server, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { run(t, server, "DROP SCHEMA "+schema+" CASCADE") })
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return storage.Options{Postgres: u.String(), ServerName: "test", Log: Logger(t)}
}

func run(t testing.TB, server, sql string) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, server)
	if err == nil {
		_, err = c.Exec(ctx, sql)
		if e := c.Close(ctx); err == nil {
			err = e
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Open opens a database and closes it when the test ends.
func Open(t testing.TB, o storage.Options) *storage.DB {
	t.Helper()
	db, err := storage.Open(context.Background(), o)
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

// Logger writes to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.Logf("%s", b)
	return len(b), nil
}
