package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgres reads through a pool and writes through one connection, pipelined.
type postgres struct {
	pool *pgxpool.Pool
	mu   sync.Mutex
	conn *pgx.Conn // writes; guarded by mu; nil after it failed
}

// A node that froze inside a transaction must not stop the others.
const postgresSession = `SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s'`

func openPostgres(ctx context.Context, dsn string) (*postgres, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("the PostgreSQL connection string cannot be read (expected postgres://user@host/database): %w", redactDSN(err))
	}
	cfg.MinConns, cfg.MaxConns = 1, max(cfg.MaxConns, 8)
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, postgresSession)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", redactDSN(err))
	}
	d := &postgres{pool: pool}
	var durable string
	if _, err := one(ctx, d, `SHOW synchronous_commit`, nil, &durable); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL: %w", redactDSN(err))
	}
	if durable == "off" {
		pool.Close()
		return nil, errors.New("PostgreSQL runs with synchronous_commit = off, which loses acknowledged messages in a crash: set it to on for this database (ALTER DATABASE … SET synchronous_commit = on)")
	}
	return d, nil
}

// redactDSN keeps a connection string's password out of errors.
func redactDSN(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("it does not parse")
	}
	return err
}

func (d *postgres) query(ctx context.Context, sql string, args []any) (rows, error) {
	r, err := d.pool.Query(ctx, sql, args...)
	return r, postgresError(err)
}

// pgTx runs statements in a transaction.
type pgTx struct{ tx pgx.Tx }

func (t pgTx) query(ctx context.Context, sql string, args []any) (rows, error) {
	r, err := t.tx.Query(ctx, sql, args...)
	return r, postgresError(err)
}

func (d *postgres) view(ctx context.Context, fn func(q querier) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return postgresError(pgx.BeginTxFunc(ctx, d.pool, options, func(tx pgx.Tx) error { return fn(pgTx{tx}) }))
}

func (d *postgres) exec(ctx context.Context, fn func(q querier) error) error {
	return postgresError(pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return fn(pgTx{tx}) }))
}

// writeConn is the write connection, made anew after a failure.
func (d *postgres) writeConn(ctx context.Context) (*pgx.Conn, error) {
	if d.conn != nil && !d.conn.IsClosed() {
		return d.conn, nil
	}
	c, err := pgx.ConnectConfig(ctx, d.pool.Config().ConnConfig.Copy())
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", redactDSN(err))
	}
	if _, err := c.Exec(ctx, postgresSession); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	d.conn = c
	return c, nil
}

const (
	postgresLock = `SELECT pg_advisory_xact_lock(hashtextextended('entente clock ' || current_schema(), 0))`
	postgresTick = `SELECT setval('clock_pos', nextval('clock_pos') + $1 - 1)`
)

// transact takes two round trips: clock and checks, then rows and commit.
func (d *postgres) transact(ctx context.Context, g *groupWrite) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	conn, err := d.writeConn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && !conn.IsClosed() {
			err = errors.Join(err, d.rollback(ctx, conn))
		}
	}()
	last, err := d.open(ctx, conn, g)
	if err != nil {
		return err
	}
	out, err := g.statements(Position(last) - Position(g.positions) + 1)
	if err != nil {
		return err
	}
	return d.writeAndCommit(ctx, conn, out)
}

// rollback ends a failed transaction, and drops a connection that cannot.
func (d *postgres) rollback(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		d.conn = nil
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return conn.Close(closing)
	}
	return nil
}

// open begins the transaction, takes the clock and reads the checks.
func (d *postgres) open(ctx context.Context, conn *pgx.Conn, g *groupWrite) (last int64, err error) {
	checks := g.checks()
	var b pgx.Batch
	b.Queue("BEGIN")
	locked := g.positions > 0 || g.audits()
	if locked { // the audit log is one chain over all nodes, with or without the clock
		b.Queue(postgresLock)
	}
	if g.positions > 0 {
		b.Queue(postgresTick, g.positions)
	}
	for _, c := range checks {
		b.Queue(c.sql, c.args...)
	}
	r := conn.SendBatch(ctx, &b)
	defer func() { err = postgresError(cmp.Or(err, r.Close())) }()
	if _, err := r.Exec(); err != nil {
		return 0, err
	}
	if locked {
		if _, err := r.Exec(); err != nil {
			return 0, err
		}
	}
	if g.positions > 0 {
		if err := r.QueryRow().Scan(&last); err != nil {
			return 0, err
		}
	}
	for _, c := range checks {
		result, err := r.Query()
		if err != nil {
			return 0, err
		}
		for result.Next() {
			if err := c.scan(result); err != nil {
				result.Close()
				return 0, err
			}
		}
		result.Close()
		if err := result.Err(); err != nil {
			return 0, err
		}
	}
	return last, nil
}

func (d *postgres) writeAndCommit(ctx context.Context, conn *pgx.Conn, out []statement) (err error) {
	var b pgx.Batch
	for _, s := range out {
		b.Queue(s.sql, s.args...)
	}
	b.Queue("COMMIT")
	r := conn.SendBatch(ctx, &b)
	defer func() { err = cmp.Or(err, postgresError(r.Close())) }()
	for i := 0; i <= len(out); i++ {
		if _, err := r.Exec(); err != nil {
			var refused *pgconn.PgError
			if !errors.As(err, &refused) {
				return errors.Join(errOutcomeUnknown, err)
			}
			return postgresError(err)
		}
	}
	return nil
}

const selectLogged = `SELECT EXISTS (SELECT 1 FROM log WHERE pos = $1)`

// committed takes the clock's lock first: whoever holds it may still commit.
func (d *postgres) committed(ctx context.Context, pos Position) (happened bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = nil
	err = d.exec(ctx, func(q querier) error {
		if err := discard(q.query(ctx, postgresLock, nil)); err != nil {
			return err
		}
		_, err := one(ctx, q, selectLogged, []any{int64(pos)}, &happened)
		return err
	})
	return happened, err
}

func (d *postgres) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pool.Close()
	if d.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return d.conn.Close(ctx)
}
