package storage

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3" // also registers the driver "sqlite3"
)

// The write-ahead log is copied into the database by a goroutine of its own;
// commits never do it themselves.
const (
	// checkpointPause is between two copies, at least.
	checkpointPause = time.Second
	// longestLog is how many pages the log may have before writing waits for a
	// copy to be complete, so that it starts again from its beginning.
	longestLog = 16_384
)

// sqlite writes through one connection and reads through a pool that cannot
// write.
type sqlite struct {
	write   *sql.DB
	conn    *sql.Conn           // the one write connection, guarded by mu
	raw     *sqlite3.SQLiteConn // the driver's side of conn, guarded by mu
	read    *sql.DB
	check   *sql.DB // for checkpoints
	texts   sqliteTexts
	mu      sync.Mutex
	writes  map[string]*sql.Stmt    // guarded by mu
	execs   map[string]driverExecer // statements without results, guarded by mu
	named   []sqldriver.NamedValue  // guarded by mu, used again by each exec
	reads   sync.Map                // translated text -> *sql.Stmt
	news    chan struct{}           // something was committed
	stop    context.CancelFunc
	stopped chan struct{}
}

// driverExecer is a statement of the driver. Rows are written through it,
// without database/sql in between: they are most of what a server does here.
type driverExecer interface {
	ExecContext(ctx context.Context, args []sqldriver.NamedValue) (sqldriver.Result, error)
	Close() error
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
	d := &sqlite{
		writes: map[string]*sql.Stmt{}, execs: map[string]driverExecer{}, news: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	var err error
	d.write, err = sql.Open("sqlite3", dsn(url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_txlock": {"immediate"}, "_cache_size": {"-32000"},
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
	if d.check, err = sql.Open("sqlite3", dsn(nil)); err != nil {
		return nil, err
	}
	d.check.SetMaxOpenConns(1)
	err = d.conn.Raw(func(c any) error {
		d.raw = c.(*sqlite3.SQLiteConn)
		return nil
	})
	if err != nil {
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		// A failed checkpoint is tried again after the next commit; nothing is lost meanwhile.
		if pages, err := d.checkpoint(ctx, "PASSIVE"); err == nil && pages > longestLog {
			d.mu.Lock()
			_, _ = d.checkpoint(ctx, "RESTART")
			d.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkpointPause):
		}
	}
}

// checkpoint copies what it can, and answers how many pages the log has.
func (d *sqlite) checkpoint(ctx context.Context, mode string) (pages int, err error) {
	var busy, copied int
	err = d.check.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &pages, &copied)
	return pages, err
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
	text := w.d.texts.of(s.sql)
	st := w.d.execs[text]
	if st == nil {
		prepared, err := w.d.raw.Prepare(text)
		if err != nil {
			return sqliteError(err)
		}
		st = prepared.(driverExecer)
		w.d.execs[text] = st
	}
	args, err := sqliteArgs(s.args)
	if err != nil {
		return err
	}
	named := w.d.named[:0]
	for i, a := range args {
		v, err := sqldriver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return err
		}
		named = append(named, sqldriver.NamedValue{Ordinal: i + 1, Value: v})
	}
	w.d.named = named
	_, err = st.ExecContext(ctx, named)
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
	select {
	case d.news <- struct{}{}:
	default:
	}
	return nil
}

func (d *sqlite) exec(ctx context.Context, fn func(q querier) error) error {
	return d.transaction(ctx, func(_ context.Context, w sqliteWrite) error { return fn(w) })
}

// transact takes positions where the log ends: nobody else writes meanwhile.
func (d *sqlite) transact(ctx context.Context, g *groupWrite) error {
	return d.transaction(ctx, func(ctx context.Context, w sqliteWrite) error {
		for _, c := range g.checks() {
			if err := each(ctx, w, c.sql, c.args, c.scan); err != nil {
				return err
			}
		}
		out, err := g.statements(g.prev + 1)
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
	for _, st := range d.execs {
		err = errors.Join(err, st.Close())
	}
	return errors.Join(err, d.read.Close(), d.check.Close(), d.conn.Close(), d.write.Close())
}
