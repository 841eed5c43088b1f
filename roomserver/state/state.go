// Package state holds the state of rooms as persistent maps: a room's state
// keys, numbered in order of appearance, to the events that hold them. A
// snapshot is a Root; snapshots share what they have in common, so that a
// change costs a few hundred bytes however many members the room has, and two
// snapshots compare in what differs.
//
// The map is a radix tree over the key numbers, sixteen wide, whose nodes are
// never changed once written. A change makes new nodes for the path from the
// leaf to the top, and one packed row holds them all. The package is pure: it
// reads rows through a Source and returns new rows as values, which the caller
// puts into the commit that makes the new root known.
//
// A row, once its identifier is known, is never another row: identifiers are
// not used again, not even those of commits that failed. That is what lets
// rows be cached without ever being invalidated.
package state

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"entente/roomserver/event"
)

// ErrMissing means that a row is not stored, or not any more: the snapshot was
// collected while it was read. Callers retry from a fresh head.
var ErrMissing = errors.New("state row is missing")

// ErrCorrupt means that a row is not what this package wrote.
var ErrCorrupt = errors.New("state row is corrupt")

// KeyNum is the number of a state key in its room, dense, in order of
// appearance. Storage keeps the dictionary.
type KeyNum uint32

// Root is a snapshot: the identifier of its top row. Zero is the empty map.
type Root int64

// Entry is a key and the event that holds it. As a change, an event of zero
// removes the key.
type Entry struct {
	Key KeyNum
	NID event.NID
}

// Row is what is stored: some nodes of one room's map. Identifiers are positive
// and unique within the room for ever. The data is shared with the cache and
// must not be changed.
type Row struct {
	ID   int64
	Data []byte
}

// Source reads stored rows.
type Source interface {
	// Rows returns those rows of the room that exist among ids, in any order.
	// The ids are ascending and distinct; there may be thousands. The data
	// belongs to the caller and must not be changed later.
	Rows(ctx context.Context, room int64, ids []int64) ([]Row, error)
}

// Alloc hands out a row identifier that was never used before. Identifiers
// that grow with time make the smallest rows; nothing depends on it.
type Alloc func(ctx context.Context) (int64, error)

// Store is where the states of all rooms of a server are read.
type Store struct {
	src    Source
	cache  *Cache
	secret [32]byte
}

// NewStore makes a store that reads through src. The cache may be nil, and may
// be shared by the stores of one database. The secret keys the set hashes and
// is the same for the life of the database; with another one, older roots
// merely compare as different.
func NewStore(src Source, cache *Cache, secret [32]byte) *Store {
	return &Store{src: src, cache: cache, secret: secret}
}

// Room is the state of one room: all of its snapshots.
func (s *Store) Room(room int64) Room { return Room{store: s, num: room} }

// Room reads and changes the snapshots of one room. It is a small value, safe
// for concurrent use.
type Room struct {
	store *Store
	num   int64
}

// Hash is the set hash of the snapshot: equal for equal maps whatever their
// history, and different for different ones but for a chance of 2^-128. The
// empty map has the zero hash. It means nothing outside one database.
func (r Room) Hash(ctx context.Context, root Root) (Hash, error) {
	if root == 0 {
		return Hash{}, nil
	}
	top, err := r.top(ctx, root)
	if err != nil {
		return Hash{}, err
	}
	return top.hash, nil
}

// Len is the number of keys in the snapshot.
func (r Room) Len(ctx context.Context, root Root) (int, error) {
	if root == 0 {
		return 0, nil
	}
	top, err := r.top(ctx, root)
	if err != nil {
		return 0, err
	}
	return int(top.count), nil
}

// Equal reports whether two snapshots hold the same entries. It reads two
// rows at most.
func (r Room) Equal(ctx context.Context, a, b Root) (bool, error) {
	if a == b {
		return true, nil
	}
	ha, err := r.Hash(ctx, a)
	if err != nil {
		return false, err
	}
	hb, err := r.Hash(ctx, b)
	return err == nil && ha == hb, err
}

// top reads the row of a root.
func (r Room) top(ctx context.Context, root Root) (*row, error) {
	top, err := r.row(ctx, int64(root))
	if err != nil {
		return nil, err
	}
	if !top.top {
		return nil, r.noRoot(top.id)
	}
	return top, nil
}

func (r Room) noRoot(id int64) error {
	return fmt.Errorf("%w: row %d of room %d is no root", ErrCorrupt, id, r.num)
}

// row reads one row, from the cache if it is there.
func (r Room) row(ctx context.Context, id int64) (*row, error) {
	if got := r.store.cache.get(r.num, id); got != nil {
		return got, nil
	}
	rows, err := r.fetch(ctx, []int64{id})
	if err != nil {
		return nil, err
	}
	r.store.cache.put(r.num, rows[0])
	return rows[0], nil
}

// load reads the rows of many nodes at once: one read of the source for all
// that the cache does not hold. The answer is parallel to refs, with nil where
// the ref is zero.
func (r Room) load(ctx context.Context, refs []ref) ([]*row, error) {
	out := make([]*row, len(refs))
	var missing []int64
	for i, f := range refs {
		switch {
		case f.row == 0:
		case i > 0 && f.row == refs[i-1].row && out[i-1] != nil:
			out[i] = out[i-1]
		default:
			if out[i] = r.store.cache.get(r.num, f.row); out[i] == nil {
				missing = append(missing, f.row)
			}
		}
	}
	if missing == nil {
		return out, nil
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	rows, err := r.fetch(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, got := range rows {
		r.store.cache.put(r.num, got)
	}
	for i, f := range refs {
		if f.row != 0 && out[i] == nil {
			at, _ := slices.BinarySearch(missing, f.row)
			out[i] = rows[at]
		}
	}
	return out, nil
}

// fetch reads rows past the cache. The ids are ascending and distinct; the
// answer is parallel to them.
func (r Room) fetch(ctx context.Context, ids []int64) ([]*row, error) {
	stored, err := r.store.src.Rows(ctx, r.num, ids)
	if err != nil {
		return nil, fmt.Errorf("read state of room %d: %w", r.num, err)
	}
	rows := make([]*row, len(ids))
	for _, s := range stored {
		at, asked := slices.BinarySearch(ids, s.ID)
		if !asked {
			continue
		}
		if rows[at], err = parseRow(s.ID, s.Data); err != nil {
			return nil, fmt.Errorf("room %d: %w", r.num, err)
		}
	}
	for i, got := range rows {
		if got == nil {
			return nil, fmt.Errorf("%w: row %d of room %d", ErrMissing, ids[i], r.num)
		}
	}
	return rows, nil
}

// at checks that a ref leads to a node of the wanted level: rows are checked
// by themselves when they are parsed, but only the way there says what a node
// of another row must be.
func (r Room) at(got *row, f ref, level int) error {
	if int(f.idx) >= len(got.nodes) || got.level(f.idx) != level {
		return fmt.Errorf("%w: room %d has no node %d of level %d in row %d", ErrCorrupt, r.num, f.idx, level, f.row)
	}
	return nil
}
