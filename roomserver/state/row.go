package state

import (
	"encoding/binary"
	"fmt"

	"entente/roomserver/event"
)

// The tree's shape. Sixteen wide is what measured best: docs/adr/0002.
const (
	slotBits = 4
	width    = 1 << slotBits
	maxLevel = (32+slotBits-1)/slotBits - 1 // leaves are level 0
)

// A row is
//
//	header   one byte: the format and two flags
//	top      if flagTop: the set hash, and the number of keys as a uvarint
//	base     if flagBase: a uvarint, by how much base passes the row's own
//	         identifier. Without it, base is the identifier less one
//	nodes    to the end, level by level from the leaves up, each level from
//	         left to right. The last node of a row with flagTop is the root
//
// and a node is one byte, its level above slotBits bits of the number of its
// slots less one, and a token for each slot, a uvarint. Of a leaf, the token
// is 0 for no event, or 1 and the zigzag distance to the event before it in
// the leaf. Of the other nodes it is one of those below, or from tokenRow on:
// twice the distance from base down to the row of the child, plus one if the
// child's index in that row follows as another uvarint. Without it the index
// is the child's level, which is right in all rows that hold a single path.
// The last slot of a node is never empty.
const (
	formatRow = 0x01
	flagTop   = 0x10
	flagBase  = 0x20

	tokenNone  = 0 // no child
	tokenLocal = 1 // the next node of the level below, in this row, without a parent yet
	tokenRun   = 2 // in the row of the last child with an index, as many nodes further as slots lie between
	tokenRow   = 3

	// maxRow bounds the rows that we write, to what PostgreSQL still keeps
	// in line and SQLite fits twice on a page.
	maxRow = 1900
	// maxData bounds the rows that we read.
	maxData = 1<<16 - 1
	// headRoom is what the parts before the nodes may take.
	headRoom = 1 + hashSize + 2*binary.MaxVarintLen64
)

// ref is where a node is: its row and its index there. Zero is no node.
type ref struct {
	row int64
	idx uint32
}

// row is a stored row that was checked. Its nodes stay packed: a node of
// sixteen pointers takes 20 to 60 bytes so, and ten times that unpacked.
type row struct {
	id    int64
	data  []byte
	nodes []nodePos
	base  int64
	top   bool
	count uint32
	hash  Hash
	few   [8]nodePos // what nodes fit in, in nearly all rows: one place in memory
}

// nodePos is where a node starts in the row's data, and the index of its
// first child in the same row, if it has one.
type nodePos struct {
	off, kid uint16
}

const nodePosSize = 4

// level is the level of node i.
func (r *row) level(i uint32) int { return int(r.data[r.nodes[i].off] >> slotBits) }

// slots is the number of slots of node i that are written down.
func (r *row) slots(i uint32) int { return int(r.data[r.nodes[i].off]&(width-1)) + 1 }

// root is the top node of a top row.
func (r *row) root() ref { return ref{r.id, uint32(len(r.nodes) - 1)} }

// value is the event in one slot of leaf i.
func (r *row) value(i uint32, slot int) event.NID {
	if slot >= r.slots(i) {
		return 0
	}
	l := r.leaf(i)
	for range slot {
		l.next()
	}
	nid, _ := l.next()
	return nid
}

// values unpacks leaf i.
func (r *row) values(i uint32, out *[width]event.NID) {
	l := r.leaf(i)
	n := r.slots(i)
	for s := range n {
		out[s], _ = l.next()
	}
	clear(out[n:])
}

// child is the node in one slot of inner node i.
func (r *row) child(i uint32, slot int) ref {
	if slot >= r.slots(i) {
		return ref{}
	}
	n := r.inner(i)
	for s := range slot {
		n.next(s)
	}
	f, _ := n.next(slot)
	return f
}

// children unpacks inner node i.
func (r *row) children(i uint32, out *[width]ref) {
	in := r.inner(i)
	n := r.slots(i)
	for s := range n {
		out[s], _ = in.next(s)
	}
	clear(out[n:])
}

func (r *row) leaf(i uint32) leafReader {
	return leafReader{data: r.data, pos: int(r.nodes[i].off) + 1}
}

func (r *row) inner(i uint32) innerReader {
	return innerReader{row: r, pos: int(r.nodes[i].off) + 1, kid: uint32(r.nodes[i].kid), under: r.level(i) - 1}
}

// leafReader reads a leaf one slot after another.
type leafReader struct {
	data []byte
	pos  int
	last event.NID
}

// next reads a slot; ok is always true in a row that was checked.
func (l *leafReader) next() (nid event.NID, ok bool) {
	v, pos := uvarint(l.data, l.pos)
	if pos < 0 {
		return 0, false
	}
	l.pos = pos
	if v == 0 {
		return 0, true
	}
	v--
	l.last += event.NID(int64(v>>1) ^ -int64(v&1))
	return l.last, l.last > 0
}

// innerReader reads an inner node one slot after another.
type innerReader struct {
	row   *row
	pos   int
	kid   uint32 // the next local child
	under int    // the children's level
	run   ref    // the last child with an index
	at    int    // its slot
}

// next reads a slot; ok is always true in a row that was checked.
func (n *innerReader) next(slot int) (f ref, ok bool) {
	v, pos := uvarint(n.row.data, n.pos)
	if pos < 0 {
		return ref{}, false
	}
	n.pos = pos
	switch v {
	case tokenNone:
		return ref{}, true
	case tokenLocal:
		n.kid++
		return ref{n.row.id, n.kid - 1}, true
	case tokenRun:
		return ref{n.run.row, n.run.idx + uint32(slot-n.at)}, n.run.row != 0
	}
	v -= tokenRow
	f = ref{n.row.base - int64(v>>1), uint32(n.under)}
	if f.row <= 0 || f.row == n.row.id {
		return ref{}, false
	}
	if v&1 == 0 {
		return f, true
	}
	idx, pos := uvarint(n.row.data, n.pos)
	if pos < 0 || idx > maxData {
		return ref{}, false
	}
	n.pos = pos
	f.idx = uint32(idx)
	n.run, n.at = f, slot
	return f, true
}

// uvarint reads the number at pos, in its shortest form only, and returns
// where it ends: negative if there is none.
func uvarint(b []byte, pos int) (uint64, int) {
	if pos < len(b) && b[pos] < 0x80 {
		return uint64(b[pos]), pos + 1
	}
	v, n := binary.Uvarint(b[min(pos, len(b)):])
	if n <= 0 || b[pos+n-1] == 0 {
		return 0, -1
	}
	return v, pos + n
}

// parseRow checks a stored row, all of it, and finds its nodes. It keeps data.
func parseRow(id int64, data []byte) (*row, error) {
	r := &row{id: id, data: data, base: id - 1}
	r.nodes = r.few[:0]
	pos, ok := r.parseHeader()
	if !ok {
		return nil, fmt.Errorf("%w: header of row %d", ErrCorrupt, id)
	}
	// Levels only grow, and children come before their parents: of the level
	// below, those from orphan to start have no parent in this row yet.
	orphan, start, level := 0, 0, 0
	for pos < len(data) {
		l := int(data[pos] >> slotBits)
		if l > level {
			orphan, start = start, len(r.nodes)
			if l > level+1 {
				orphan = start // the level below has no node here
			}
			level = l
		}
		if l < level || l > maxLevel {
			return nil, fmt.Errorf("%w: level in row %d", ErrCorrupt, id)
		}
		r.nodes = append(r.nodes, nodePos{uint16(pos), uint16(orphan)})
		end, kids, ok := r.checkNode(uint32(len(r.nodes) - 1))
		if !ok || orphan+kids > start {
			return nil, fmt.Errorf("%w: node %d of row %d", ErrCorrupt, len(r.nodes)-1, id)
		}
		pos, orphan = end, orphan+kids
	}
	if len(r.nodes) == 0 || r.top && len(r.nodes)-start != 1 {
		return nil, fmt.Errorf("%w: nodes of row %d", ErrCorrupt, id)
	}
	return r, nil
}

// parseHeader reads what stands before the nodes and returns where they start.
func (r *row) parseHeader() (pos int, ok bool) {
	d := r.data
	if r.id <= 0 || len(d) == 0 || len(d) > maxData || d[0]&^(flagTop|flagBase) != formatRow {
		return 0, false
	}
	pos = 1
	if d[0]&flagTop != 0 {
		if len(d) < pos+hashSize {
			return 0, false
		}
		r.top, r.hash = true, hashFrom(d[pos:])
		n, end := uvarint(d, pos+hashSize)
		if end < 0 || n == 0 || n > 1<<32-1 {
			return 0, false
		}
		r.count, pos = uint32(n), end
	}
	if d[0]&flagBase != 0 {
		by, end := uvarint(d, pos)
		if end < 0 || by > 1<<63-1-uint64(r.id) {
			return 0, false
		}
		r.base, pos = r.id+int64(by), end
	}
	return pos, true
}

// checkNode walks the tokens of node i. It returns where the node ends and how
// many children it has in the same row.
func (r *row) checkNode(i uint32) (end, kids int, ok bool) {
	n := r.slots(i)
	if r.level(i) == 0 {
		l := r.leaf(i)
		var nid event.NID
		for range n {
			if nid, ok = l.next(); !ok {
				return 0, 0, false
			}
		}
		return l.pos, 0, nid != 0
	}
	in := r.inner(i)
	var f ref
	for s := range n {
		if f, ok = in.next(s); !ok {
			return 0, 0, false
		}
	}
	return in.pos, int(in.kid) - int(r.nodes[i].kid), f.row != 0
}
