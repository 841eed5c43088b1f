package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "github.com/mattn/go-sqlite3" // registers the driver "sqlite3"
)

// checkpointEvery is how often the write-ahead log is copied into the
// database; commits never do it themselves.
const checkpointEvery = 5 * time.Second

// sqlite writes through one connection and reads through a pool that cannot
// write.
type sqlite struct {
	write   *sql.DB
	conn    *sql.Conn // the one write connection, guarded by mu
	read    *sql.DB
	texts   sqliteTexts
	mu      sync.Mutex
	writes  map[string]*sql.Stmt // guarded by mu
	reads   sync.Map             // translated text -> *sql.Stmt
	stop    context.CancelFunc
	stopped chan struct{}
}

func openSQLite(ctx context.Context, path string) (*sqlite, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the database's folder: %w", err)
	}
	dsn := func(extra url.Values) string {
		q := url.Values{"_busy_timeout": {"10000"}, "_foreign_keys": {"1"}}
		for k, v := range extra {
			q[k] = v
		}
		return (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()
	}
	d := &sqlite{writes: map[string]*sql.Stmt{}, stopped: make(chan struct{})}
	var err error
	d.write, err = sql.Open("sqlite3", dsn(url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_txlock": {"immediate"}, "_cache_size": {"-8000"},
	}))
	if err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	if d.conn, err = d.write.Conn(ctx); err != nil {
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	if _, err = d.conn.ExecContext(ctx, "PRAGMA wal_autocheckpoint = 0"); err != nil {
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	if d.read, err = sql.Open("sqlite3", dsn(url.Values{"_query_only": {"1"}, "_cache_size": {"-4000"}})); err != nil {
		return nil, err
	}
	readers := max(4, runtime.NumCPU())
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	go d.checkpoints(ctx)
	return d, nil
}

// checkpoints moves the write-ahead log into the database file, on a
// connection of its own so that commits do not wait for it.
func (d *sqlite) checkpoints(ctx context.Context) {
	defer close(d.stopped)
	t := time.NewTicker(checkpointEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			// A failed checkpoint is tried again at the next tick; nothing is lost meanwhile.
			_, _ = d.read.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
		}
	}
}

func (d *sqlite) query(ctx context.Context, text string, args []any) (rows, error) {
	text = d.texts.of(text)
	args, err := sqliteArgs(args)
	if err != nil {
		return nil, err
	}
	st, ok := d.reads.Load(text)
	if !ok {
		prepared, err := d.read.PrepareContext(ctx, text)
		if err != nil {
			return nil, sqliteError(err)
		}
		var loaded bool
		if st, loaded = d.reads.LoadOrStore(text, prepared); loaded {
			_ = prepared.Close()
		}
	}
	r, err := st.(*sql.Stmt).QueryContext(ctx, args...)
	if err != nil {
		return nil, sqliteError(err)
	}
	return sqlRows{r}, nil
}

// sqlRows adapts database/sql's rows: its Close error is also reported by Err.
type sqlRows struct{ *sql.Rows }

func (r sqlRows) Close() { _ = r.Rows.Close() }

// sqliteTx runs statements in a read transaction.
type sqliteTx struct {
	d  *sqlite
	tx *sql.Tx
}

func (t sqliteTx) query(ctx context.Context, text string, args []any) (rows, error) {
	args, err := sqliteArgs(args)
	if err != nil {
		return nil, err
	}
	text = t.d.texts.of(text)
	if st, ok := t.d.reads.Load(text); ok {
		r, err := t.tx.StmtContext(ctx, st.(*sql.Stmt)).QueryContext(ctx, args...)
		return sqlRows{r}, sqliteError(err)
	}
	r, err := t.tx.QueryContext(ctx, text, args...)
	return sqlRows{r}, sqliteError(err)
}

func (d *sqlite) view(ctx context.Context, fn func(q querier) error) error {
	tx, err := d.read.BeginTx(ctx, nil)
	if err != nil {
		return sqliteError(err)
	}
	defer func() { _ = tx.Rollback() }()
	return fn(sqliteTx{d, tx})
}

// sqliteWrite runs statements on the write connection, which mu guards.
type sqliteWrite struct{ d *sqlite }

func (w sqliteWrite) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	text = w.d.texts.of(text)
	if st := w.d.writes[text]; st != nil {
		return st, nil
	}
	st, err := w.d.conn.PrepareContext(ctx, text)
	if err == nil {
		w.d.writes[text] = st
	}
	return st, sqliteError(err)
}

func (w sqliteWrite) query(ctx context.Context, text string, args []any) (rows, error) {
	st, err := w.statement(ctx, text)
	if err != nil {
		return nil, err
	}
	if args, err = sqliteArgs(args); err != nil {
		return nil, err
	}
	r, err := st.QueryContext(ctx, args...)
	return sqlRows{r}, sqliteError(err)
}

func (w sqliteWrite) exec(ctx context.Context, s statement) error {
	st, err := w.statement(ctx, s.sql)
	if err != nil {
		return err
	}
	args, err := sqliteArgs(s.args)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(ctx, args...)
	return sqliteError(err)
}

// transaction runs fn between BEGIN IMMEDIATE and COMMIT. The driver starts a
// goroutine for each statement whose context can end, so the statements get
// one that cannot; they are bounded by the size of a commit.
func (d *sqlite) transaction(ctx context.Context, fn func(ctx context.Context, w sqliteWrite) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	w := sqliteWrite{d}
	if err := w.exec(ctx, statement{"BEGIN IMMEDIATE", nil}); err != nil {
		return err
	}
	err := fn(ctx, w)
	if err == nil {
		err = w.exec(ctx, statement{"COMMIT", nil})
	}
	if err != nil {
		return errors.Join(err, w.exec(ctx, statement{"ROLLBACK", nil}))
	}
	return nil
}

func (d *sqlite) exec(ctx context.Context, fn func(q querier) error) error {
	return d.transaction(ctx, func(_ context.Context, w sqliteWrite) error { return fn(w) })
}

const sqliteTick = `UPDATE clock SET pos = pos + $1 WHERE id = 1 RETURNING pos`

func (d *sqlite) transact(ctx context.Context, g *groupWrite) error {
	return d.transaction(ctx, func(ctx context.Context, w sqliteWrite) error {
		var last int64
		if g.positions > 0 {
			if _, err := one(ctx, w, sqliteTick, []any{g.positions}, &last); err != nil {
				return err
			}
		}
		for _, c := range g.checks() {
			if err := each(ctx, w, c.sql, c.args, c.scan); err != nil {
				return err
			}
		}
		out, err := g.statements(Position(last) - Position(g.positions) + 1)
		if err != nil {
			return err
		}
		for _, s := range out {
			if err := w.exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// committed is never asked: a local COMMIT either succeeded or did not.
func (d *sqlite) committed(context.Context, Position) (bool, error) { return false, nil }

func (d *sqlite) close() error {
	d.stop()
	<-d.stopped
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(err, d.read.Close(), d.conn.Close(), d.write.Close())
}
