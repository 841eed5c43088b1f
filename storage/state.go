package storage

import (
	"context"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

const (
	insertNode    = `INSERT INTO state_node (room, id, data) VALUES ($1, $2, $3)`
	selectNodes   = `SELECT id, data FROM state_node WHERE room = $1 AND id = ANY($2)`
	insertKey     = `INSERT INTO state_key (room, num, type, state_key) VALUES ($1, $2, $3, $4)`
	selectKeyNum  = `SELECT num FROM state_key WHERE room = $1 AND type = $2 AND state_key = $3`
	selectKeyNums = `SELECT num, type, state_key FROM state_key WHERE room = $1 AND type = ANY($2) AND state_key = ANY($3)`
	selectKeys    = `SELECT num, type, state_key FROM state_key WHERE room = $1 AND num = ANY($2)`
	selectByType  = `SELECT num, type, state_key FROM state_key WHERE room = $1 AND type = $2`
	selectMaxKey  = `SELECT COALESCE(MAX(num) + 1, 0) FROM state_key WHERE room = $1`
)

// StateNode is a row of a room's persistent state map.
type StateNode struct {
	Room RoomNID
	state.Row
}

func (n *StateNode) write(w *writer) { w.exec(insertNode, int64(n.Room), n.ID, n.Data) }

// NoStateNodes removes rows of a room's state map that nothing leads to.
type NoStateNodes struct {
	Room RoomNID
	IDs  []int64
}

const (
	deleteNodes   = `DELETE FROM state_node WHERE room = $1 AND id = ANY($2)`
	selectNodeIDs = `SELECT id FROM state_node WHERE room = $1`
	selectRoots   = `SELECT before_root FROM event WHERE room = $1 AND before_root IS NOT NULL
		UNION SELECT after_root FROM event WHERE room = $1 AND after_root IS NOT NULL
		UNION SELECT root FROM state_delta WHERE room = $1
		UNION SELECT root FROM room_head WHERE room = $1`
)

func (n *NoStateNodes) write(w *writer) { w.exec(deleteNodes, int64(n.Room), n.IDs) }

// StateNodeIDs lists the rows of a room's state map.
func (v *View) StateNodeIDs(ctx context.Context, room RoomNID) ([]int64, error) {
	return v.int64s(ctx, selectNodeIDs, int64(room))
}

// StateRoots lists every root that anything of a room refers to.
func (v *View) StateRoots(ctx context.Context, room RoomNID) ([]state.Root, error) {
	ids, err := v.int64s(ctx, selectRoots, int64(room))
	out := make([]state.Root, len(ids))
	for i, n := range ids {
		out[i] = state.Root(n)
	}
	return out, err
}

func (v *View) int64s(ctx context.Context, sql string, args ...any) (out []int64, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var n int64
		err := r.Scan(&n)
		out = append(out, n)
		return err
	})
	return out, err
}

// StateSource reads state nodes for state.NewStore.
type StateSource struct{ db *DB }

// StateSource is where the persistent state maps are read.
func (db *DB) StateSource() StateSource { return StateSource{db} }

// Rows reads rows of a room's state map.
func (s StateSource) Rows(ctx context.Context, room int64, ids []int64) ([]state.Row, error) {
	out := make([]state.Row, 0, len(ids))
	err := each(ctx, s.db.Latest().q, selectNodes, []any{room, ids}, func(r rowScanner) error {
		var row state.Row
		err := r.Scan(&row.ID, &row.Data)
		out = append(out, row)
		return err
	})
	return out, err
}

// AllocateNode gives the identifier of a new state node.
func (db *DB) AllocateNode(ctx context.Context) (int64, error) {
	return db.allocate(ctx, "state_node", 1)
}

// AllocateChain gives the number of a new chain of the chain-cover index.
func (db *DB) AllocateChain(ctx context.Context) (int64, error) {
	return db.allocate(ctx, "chain", 1)
}

// StateKey numbers a state key of a room. The commit expects the room's head,
// which counts the keys.
type StateKey struct {
	Room RoomNID
	Num  state.KeyNum
	Key  event.Key
}

func (k *StateKey) write(w *writer) {
	w.exec(insertKey, int64(k.Room), int64(k.Num), w.number(types, k.Key.Type), k.Key.StateKey)
}

// KeyNum finds the number of a state key.
func (v *View) KeyNum(ctx context.Context, room RoomNID, key event.Key) (num state.KeyNum, ok bool, err error) {
	found, err := v.db.interner.lookup(ctx, v.q, types, []string{key.Type})
	if err != nil || len(found) == 0 {
		return 0, false, err
	}
	var n int64
	ok, err = one(ctx, v.q, selectKeyNum, []any{int64(room), found[key.Type], key.StateKey}, &n)
	return state.KeyNum(n), ok, err
}

// KeyNums finds the numbers of those state keys that have one.
func (v *View) KeyNums(ctx context.Context, room RoomNID, keys []event.Key) (map[event.Key]state.KeyNum, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	names, stateKeys := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		names[i], stateKeys[i] = k.Type, k.StateKey
	}
	found, err := v.db.interner.lookup(ctx, v.q, types, distinct(names))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	nids := make([]int64, 0, len(found))
	for _, n := range found {
		nids = append(nids, n)
	}
	listed, err := v.keys(ctx, selectKeyNums, int64(room), nids, distinct(stateKeys))
	out := make(map[event.Key]state.KeyNum, len(listed))
	for num, key := range listed {
		out[key] = num
	}
	return out, err
}

// Keys finds the state keys with these numbers.
func (v *View) Keys(ctx context.Context, room RoomNID, nums []state.KeyNum) (map[state.KeyNum]event.Key, error) {
	ids := make([]int64, len(nums))
	for i, n := range nums {
		ids[i] = int64(n)
	}
	return v.keys(ctx, selectKeys, int64(room), ids)
}

// KeysOfType finds all state keys of one event type that the room ever had.
func (v *View) KeysOfType(ctx context.Context, room RoomNID, typ string) (map[state.KeyNum]event.Key, error) {
	found, err := v.db.interner.lookup(ctx, v.q, types, []string{typ})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return v.keys(ctx, selectByType, int64(room), found[typ])
}

// KeyCount is how many state keys of a room are numbered.
func (v *View) KeyCount(ctx context.Context, room RoomNID) (n int64, err error) {
	_, err = one(ctx, v.q, selectMaxKey, []any{int64(room)}, &n)
	return n, err
}

func (v *View) keys(ctx context.Context, sql string, args ...any) (map[state.KeyNum]event.Key, error) {
	type found struct {
		num, typ int64
		stateKey string
	}
	var list []found
	err := each(ctx, v.q, sql, args, func(r rowScanner) error {
		var f found
		err := r.Scan(&f.num, &f.typ, &f.stateKey)
		list = append(list, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	seen := map[int64]bool{}
	var nids []int64
	for _, f := range list {
		if !seen[f.typ] {
			seen[f.typ] = true
			nids = append(nids, f.typ)
		}
	}
	names, err := v.db.interner.resolve(ctx, v.q, types, nids)
	out := make(map[state.KeyNum]event.Key, len(list))
	for _, f := range list {
		out[state.KeyNum(f.num)] = event.Key{Type: names[f.typ], StateKey: f.stateKey}
	}
	return out, err
}

func distinct(in []string) []string {
	seen := make(map[string]bool, len(in))
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// AllKeys as a Delta's key says that so many keys changed that they are not
// listed: a reader compares the root with the one before.
const AllKeys state.KeyNum = 1<<32 - 1

// Delta is one changed key of a room's current state.
type Delta struct {
	Room RoomNID
	// Pos is when; as a row, the position that At names.
	Pos Position
	// Num is the key's number, or AllKeys.
	Num      state.KeyNum
	Old, New event.NID // zero: none
	// Root is the state after it.
	Root state.Root

	tick int
}

// At makes the delta's position the i-th of its commit.
func (d *Delta) At(i int) *Delta { d.tick = i; return d }

// Place sets the position that a commit starting at first gave the delta.
func (d *Delta) Place(first Position) { d.Pos = first + Position(d.tick) }

const (
	insertDelta  = `INSERT INTO state_delta (room, pos, num, old, new, root) VALUES ($1, $2, $3, $4, $5, $6)`
	selectDeltas = `SELECT pos, num, old, new, root FROM state_delta WHERE room = $1 AND pos > $2 AND pos <= $3 ORDER BY pos, num`
	selectRootAt = `SELECT root FROM state_delta WHERE room = $1 AND pos <= $2 ORDER BY pos DESC LIMIT 1`
)

func (d *Delta) write(w *writer) {
	w.exec(insertDelta, int64(d.Room), tick(d.tick), int64(d.Num), nullNID(d.Old), nullNID(d.New), int64(d.Root))
}

// Deltas lists how the current state of a room changed after since, up to and
// including until, in order.
func (v *View) Deltas(ctx context.Context, room RoomNID, since, until Position) ([]Delta, error) {
	var out []Delta
	err := each(ctx, v.q, selectDeltas, []any{int64(room), int64(since), int64(until)}, func(r rowScanner) error {
		d := Delta{Room: room}
		var old, new *int64
		err := r.Scan((*int64)(&d.Pos), (*uint32)(&d.Num), &old, &new, (*int64)(&d.Root))
		d.Old, d.New = event.NID(deref(old, 0)), event.NID(deref(new, 0))
		out = append(out, d)
		return err
	})
	return out, err
}

// RootAt is the current state of a room as it was at a position; zero when the
// room had none.
func (v *View) RootAt(ctx context.Context, room RoomNID, at Position) (root state.Root, err error) {
	_, err = one(ctx, v.q, selectRootAt, []any{int64(room), int64(at)}, (*int64)(&root))
	return root, err
}
