package storage

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migration is one step of the schema.
type migration struct {
	version int
	name    string
	text    string
}

const (
	createVersion = `CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL)`
	selectVersion = `SELECT version FROM schema_version WHERE id = 1`
	setVersion    = `INSERT INTO schema_version (id, version) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET version = excluded.version`
)

// loadMigrations reads the steps in order; file NNNN_name.sql is version NNNN.
func loadMigrations() ([]migration, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var out []migration
	for i, name := range names {
		base := path.Base(name)
		n, err := strconv.Atoi(base[:4])
		if err != nil || n != i+1 {
			return nil, fmt.Errorf("storage: migration %s is not number %d", base, i+1)
		}
		text, err := migrations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, migration{n, base, string(text)})
	}
	return out, nil
}

// dialect is a driver's name in "-- only:" lines.
func dialect(d driver) string {
	if _, ok := d.(*postgres); ok {
		return "postgres"
	}
	return "sqlite"
}

// migrate brings the schema to this version, each step in a transaction.
func migrate(ctx context.Context, d driver) error {
	steps, err := loadMigrations()
	if err != nil {
		return err
	}
	for _, m := range steps {
		err := d.exec(ctx, func(q querier) error { return m.apply(ctx, d, q) })
		if err != nil {
			return fmt.Errorf("migrate the database, step %s: %w", m.name, err)
		}
	}
	var have int
	if _, err := one(ctx, d, selectVersion, nil, &have); err != nil {
		return err
	}
	if have > len(steps) {
		return fmt.Errorf("the database was written by a newer version of entente (schema %d, this one knows %d): start that version", have, len(steps))
	}
	return nil
}

func (m migration) apply(ctx context.Context, d driver, q querier) error {
	if _, ok := d.(*postgres); ok {
		if err := discard(q.query(ctx, postgresLock, nil)); err != nil { // nodes that start together migrate once
			return err
		}
	}
	if err := discard(q.query(ctx, createVersion, nil)); err != nil {
		return err
	}
	var have int
	if _, err := one(ctx, q, selectVersion, nil, &have); err != nil || have >= m.version {
		return err
	}
	for _, s := range strings.Split(migrationText(m.text, dialect(d)), ";\n") {
		if strings.TrimSpace(stripComments(s)) == "" {
			continue
		}
		if err := discard(q.query(ctx, s, nil)); err != nil {
			return err
		}
	}
	return discard(q.query(ctx, setVersion, []any{m.version}))
}

func stripComments(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
