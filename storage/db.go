package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say which database to open. One of SQLite and Postgres is set.
type Options struct {
	// SQLite is the path of a database file, made when absent.
	SQLite string
	// Postgres is a connection string.
	Postgres string
	// ServerName is the Matrix server name whose database this is; a database
	// belongs to one server name for good.
	ServerName string
	// Log receives what is worth an operator's attention; nil discards.
	Log *slog.Logger
	// Metrics registers the database's metrics; nil registers none.
	Metrics prometheus.Registerer
}

// driver is what differs between the two databases.
type driver interface {
	// query runs one statement outside any transaction.
	query(ctx context.Context, sql string, args []any) (rows, error)
	// view runs fn on one snapshot.
	view(ctx context.Context, fn func(q querier) error) error
	// transact runs a group: clock, checks, statements, commit.
	transact(ctx context.Context, g *groupWrite) error
	// committed reports whether the group whose last position is pos was
	// committed, after transact returned errOutcomeUnknown.
	committed(ctx context.Context, pos Position) (bool, error)
	// exec runs statements in a transaction of their own, unclocked.
	exec(ctx context.Context, fn func(q querier) error) error
	close() error
}

// querier runs statements on a connection or a snapshot.
type querier interface {
	query(ctx context.Context, sql string, args []any) (rows, error)
}

// rows is the result of a query.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close()
}

var errOutcomeUnknown = errors.New("storage: the outcome of a commit is unknown")

// DB is one server's database.
type DB struct {
	driver    driver
	log       *slog.Logger
	metrics   *metrics
	interner  *interner
	committer *committer
	follower  *follower
	node      string
	epoch     int64
	secret    []byte

	mu      sync.Mutex
	numbers map[string]*block // guarded by mu

	poll chan struct{} // hurries the log poll
	stop context.CancelFunc
	done sync.WaitGroup
}

// Open opens the database, migrates it to this version's schema and starts
// the committer.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var d driver
	var err error
	switch {
	case o.SQLite != "" && o.Postgres != "":
		return nil, errors.New("storage: both SQLite and PostgreSQL are configured; choose one")
	case o.SQLite != "":
		d, err = openSQLite(ctx, o.SQLite)
	case o.Postgres != "":
		d, err = openPostgres(ctx, o.Postgres)
	default:
		return nil, errors.New("storage: no database is configured")
	}
	if err != nil {
		return nil, err
	}
	db := &DB{
		driver: d, log: o.Log, metrics: newMetrics(o.Metrics), node: newNodeID(),
		numbers: map[string]*block{}, poll: make(chan struct{}, 1),
	}
	db.interner = newInterner(db)
	db.committer = newCommitter(db)
	db.follower = newFollower(db)
	if err := db.start(ctx, o.ServerName); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return db, nil
}

func (db *DB) start(ctx context.Context, serverName string) error {
	if err := migrate(ctx, db.driver); err != nil {
		return err
	}
	if err := db.claim(ctx, serverName); err != nil {
		return err
	}
	if err := db.follower.load(ctx); err != nil {
		return err
	}
	ctx, db.stop = context.WithCancel(context.WithoutCancel(ctx))
	go db.committer.loop(ctx)
	db.done.Go(func() { db.follower.loop(ctx) })
	return nil
}

const (
	insertInstance = `INSERT INTO instance (id, server_name, epoch, secret) VALUES (1, $1, 1, $2) ON CONFLICT (id) DO NOTHING`
	selectInstance = `SELECT server_name, epoch, secret FROM instance WHERE id = 1`
)

// claim binds the database to the server name, or refuses another's.
func (db *DB) claim(ctx context.Context, serverName string) error {
	var owner string
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	err := db.driver.exec(ctx, func(q querier) error {
		if err := discard(q.query(ctx, insertInstance, []any{serverName, secret[:]})); err != nil {
			return err
		}
		_, err := one(ctx, q, selectInstance, nil, &owner, &db.epoch, &db.secret)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the database's identity: %w", err)
	}
	if owner != serverName {
		return fmt.Errorf("this database belongs to the server name %q, and the configuration says %q: a server name cannot be changed, use another database", owner, serverName)
	}
	return nil
}

// Close writes what is queued and closes the database.
func (db *DB) Close() error {
	db.committer.close()
	db.stop()
	db.done.Wait()
	return db.driver.close()
}

// Epoch counts how often this database was restored from a backup; it is part
// of every token.
func (db *DB) Epoch() int64 { return db.epoch }

// Secret is 32 bytes that this database was born with: the key of hashes that
// mean nothing outside it. It never leaves the server.
func (db *DB) Secret() [32]byte { return [32]byte(db.secret) }

// Node names this process among the nodes of the server, anew at each start.
func (db *DB) Node() string { return db.node }

// View is a reading of the database. Its methods are defined beside the
// tables they read.
type View struct {
	db *DB
	q  querier
}

// View runs fn on one snapshot of the database.
func (db *DB) View(ctx context.Context, fn func(v *View) error) error {
	return db.driver.view(ctx, func(q querier) error { return fn(&View{db, counted{q, db.metrics.rowsRead}}) })
}

// Latest is a View whose every statement reads the latest state: right where
// one statement is all there is, and cheaper.
func (db *DB) Latest() *View { return &View{db, counted{db.driver, db.metrics.rowsRead}} }

// counted counts the rows that views read.
type counted struct {
	querier
	read prometheus.Counter
}

func (c counted) query(ctx context.Context, sql string, args []any) (rows, error) {
	r, err := c.querier.query(ctx, sql, args)
	return countedRows{r, c.read}, err
}

type countedRows struct {
	rows
	read prometheus.Counter
}

func (r countedRows) Next() bool {
	more := r.rows.Next()
	if more {
		r.read.Inc()
	}
	return more
}

// Stage writes rows in an unclocked transaction of their own: what nobody can
// see yet.
func (db *DB) Stage(ctx context.Context, write ...Row) error {
	_, err := db.Commit(ctx, Commit{Write: write})
	return err
}

// block is a range of numbers taken from a counter.
type block struct{ next, end int64 }

const (
	blockSize   = 4096
	takeNumbers = `INSERT INTO counter (name, next) VALUES ($1, $2 + 1)
		ON CONFLICT (name) DO UPDATE SET next = counter.next + $2 RETURNING next - $2`
)

// allocate takes n numbers from a counter, without order across nodes.
func (db *DB) allocate(ctx context.Context, name string, n int64) (first int64, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	b := db.numbers[name]
	if b == nil || b.end-b.next < n {
		size := max(n, blockSize)
		b = &block{}
		err := db.driver.exec(ctx, func(q querier) error {
			_, err := one(ctx, q, takeNumbers, []any{name, size}, &b.next)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("allocate numbers for %s: %w", name, err)
		}
		b.end = b.next + size
		db.numbers[name] = b
	}
	first = b.next
	b.next += n
	return first, nil
}

// one reads a single row into dest; found is false when there is none.
func one(ctx context.Context, q querier, sql string, args []any, dest ...any) (found bool, err error) {
	err = each(ctx, q, sql, args, func(r rowScanner) error {
		found = true
		return r.Scan(dest...)
	})
	return found, err
}

// each calls scan for every row of a result.
func each(ctx context.Context, q querier, sql string, args []any, scan func(r rowScanner) error) error {
	r, err := q.query(ctx, sql, args)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
		if err := scan(r); err != nil {
			return err
		}
	}
	return r.Err()
}

// discard reads a result to its end for its effect.
func discard(r rows, err error) error {
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
	}
	return r.Err()
}

// now is the time for rows that only operators read.
func now() int64 { return time.Now().UnixMilli() }
