package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// space is a table of interned names.
type space int

const (
	users space = iota
	servers
	types
	serverSets
	spaces // how many there are
)

// interned says how each space is read and extended.
var interned = [spaces]struct{ counter, byName, byNumber, insert string }{
	users: {
		"user", `SELECT nid, user_id FROM user_name WHERE user_id = ANY($1)`, `SELECT nid, user_id FROM user_name WHERE nid = ANY($1)`,
		`INSERT INTO user_name (nid, user_id) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING`,
	},
	servers: {
		"server", `SELECT nid, name FROM server_name WHERE name = ANY($1)`, `SELECT nid, name FROM server_name WHERE nid = ANY($1)`,
		`INSERT INTO server_name (nid, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
	},
	types: {
		"type", `SELECT nid, type FROM event_type WHERE type = ANY($1)`, `SELECT nid, type FROM event_type WHERE nid = ANY($1)`,
		`INSERT INTO event_type (nid, type) VALUES ($1, $2) ON CONFLICT (type) DO NOTHING`,
	},
	serverSets: {
		"server_set", `SELECT nid, members FROM server_set WHERE members = ANY($1)`, `SELECT nid, members FROM server_set WHERE nid = ANY($1)`,
		`INSERT INTO server_set (nid, members) VALUES ($1, $2) ON CONFLICT (members) DO NOTHING`,
	},
}

// internedKept bounds the names kept in memory, for each space.
const internedKept = 200_000

// interner numbers names. Numbers, once given, never change, so the cache
// needs no invalidation.
type interner struct {
	db *DB
	mu sync.RWMutex
	// guarded by mu
	numbers [spaces]map[string]int64
	names   [spaces]map[int64]string
}

func newInterner(db *DB) *interner {
	in := &interner{db: db}
	for s := range spaces {
		in.numbers[s], in.names[s] = map[string]int64{}, map[int64]string{}
	}
	return in
}

func (in *interner) cached(s space, name string) (int64, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	n, ok := in.numbers[s][name]
	return n, ok
}

// number is the number of a name, given now if it has none.
func (in *interner) number(ctx context.Context, s space, name string) (int64, error) {
	if n, ok := in.cached(s, name); ok {
		return n, nil
	}
	found, err := in.ensure(ctx, s, []string{name})
	return found[name], err
}

// ensure finds the numbers of distinct names, and numbers those that have
// none.
func (in *interner) ensure(ctx context.Context, s space, names []string) (map[string]int64, error) {
	found, err := in.lookup(ctx, in.db.driver, s, names)
	if err != nil || len(found) == len(names) {
		return found, err
	}
	fresh := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := found[name]; return ok })
	first, err := in.db.allocate(ctx, interned[s].counter, int64(len(fresh)))
	if err != nil {
		return nil, err
	}
	err = in.db.driver.exec(ctx, func(q querier) error {
		for i, name := range fresh {
			if err := discard(q.query(ctx, interned[s].insert, []any{first + int64(i), name})); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("number names of the kind %s: %w", interned[s].counter, err)
	}
	return in.lookup(ctx, in.db.driver, s, names)
}

// lookup finds the numbers of those names that have one.
func (in *interner) lookup(ctx context.Context, q querier, s space, names []string) (map[string]int64, error) {
	found := make(map[string]int64, len(names))
	var missing []string
	in.mu.RLock()
	for _, name := range names {
		if n, ok := in.numbers[s][name]; ok {
			found[name] = n
		} else {
			missing = append(missing, name)
		}
	}
	in.mu.RUnlock()
	if missing == nil {
		return found, nil
	}
	err := each(ctx, q, interned[s].byName, []any{missing}, func(r rowScanner) error {
		n, name, err := in.scan(s, r)
		found[name] = n
		return err
	})
	return found, err
}

// resolve finds the names of numbers.
func (in *interner) resolve(ctx context.Context, q querier, s space, numbers []int64) (map[int64]string, error) {
	found := make(map[int64]string, len(numbers))
	var missing []int64
	in.mu.RLock()
	for _, n := range numbers {
		if name, ok := in.names[s][n]; ok {
			found[n] = name
		} else {
			missing = append(missing, n)
		}
	}
	in.mu.RUnlock()
	if missing == nil {
		return found, nil
	}
	err := each(ctx, q, interned[s].byNumber, []any{missing}, func(r rowScanner) error {
		n, name, err := in.scan(s, r)
		found[n] = name
		return err
	})
	return found, err
}

// scan reads a row of a space and keeps it. What is kept is bounded by
// forgetting everything when a space has grown too large: rare, and cheaper
// than keeping an order of use.
func (in *interner) scan(s space, r rowScanner) (n int64, name string, err error) {
	if err := r.Scan(&n, &name); err != nil {
		return 0, "", err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.numbers[s]) >= internedKept {
		in.numbers[s], in.names[s] = map[string]int64{}, map[int64]string{}
	}
	in.numbers[s][name], in.names[s][n] = n, name
	return n, name, nil
}
