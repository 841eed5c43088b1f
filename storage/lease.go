package storage

import (
	"context"
	"time"
)

// Lease is work that this node does and no other, until it ends. What is
// written under it carries the epoch, so that a node that lost the lease
// without noticing writes nothing any more.
type Lease struct {
	Name  string
	Epoch int64
}

const (
	takeLease = `INSERT INTO lease (name, node, epoch, until) VALUES ($1, $2, 1, $3)
		ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until,
		epoch = lease.epoch + CASE WHEN lease.node = excluded.node THEN 0 ELSE 1 END
		WHERE lease.node = excluded.node OR lease.until < $4 RETURNING epoch`
	renewLeases = `UPDATE lease SET until = $3 WHERE node = $1 AND name = ANY($2) AND until >= $4 RETURNING name`
	endLease    = `UPDATE lease SET until = 0 WHERE name = $1 AND node = $2`
)

// alone reports whether the database has one node only: SQLite's.
func (db *DB) alone() bool {
	_, ok := db.driver.(*sqlite)
	return ok
}

// Lease takes the work for this node, or keeps it; ok is false while another
// node has it. A database of one node has nobody to ask.
func (db *DB) Lease(ctx context.Context, name string, during time.Duration) (lease Lease, ok bool, err error) {
	lease = Lease{Name: name, Epoch: 1}
	if db.alone() {
		return lease, true, nil
	}
	at := now()
	err = db.driver.exec(ctx, func(q querier) error {
		ok, err = one(ctx, q, takeLease, []any{name, db.node, at + during.Milliseconds(), at}, &lease.Epoch)
		return err
	})
	return lease, ok, err
}

// RenewLeases keeps work for this node and answers which of it this node still
// has.
func (db *DB) RenewLeases(ctx context.Context, names []string, during time.Duration) (kept map[string]bool, err error) {
	kept = make(map[string]bool, len(names))
	if len(names) == 0 {
		return kept, nil
	}
	if db.alone() {
		for _, name := range names {
			kept[name] = true
		}
		return kept, nil
	}
	at := now()
	err = db.driver.exec(ctx, func(q querier) error {
		return each(ctx, q, renewLeases, []any{db.node, names, at + during.Milliseconds(), at}, func(r rowScanner) error {
			var name string
			err := r.Scan(&name)
			kept[name] = true
			return err
		})
	})
	return kept, err
}

// EndLease lets another node have the work.
type EndLease struct{ Name string }

func (e *EndLease) write(w *writer) {
	if !w.db.alone() {
		w.exec(endLease, e.Name, w.db.node)
	}
}
