package state

import (
	"context"
	"encoding/binary"
	"fmt"

	"entente/roomserver/event"
)

// writer packs changed nodes into rows, children before their parents, so that
// a row holds neighbours. A node refers to a child in the same row by order
// alone, to any other by the row's identifier.
type writer struct {
	ctx    context.Context
	alloc  Alloc
	rows   []Row
	newest int64 // the greatest row that may be pointed to

	id     int64 // of the row that is open; zero if none is
	base   int64
	size   int
	levels [maxLevel + 1]packed
}

// packed is one level of the open row.
type packed struct {
	nodes []*node
	data  []byte
}

// place writes a tree, children first.
func (w *writer) place(n *node) error {
	for _, kid := range n.kids {
		if kid != nil {
			if err := w.place(kid); err != nil {
				return err
			}
		}
	}
	if w.id != 0 && w.add(n) {
		return nil
	}
	if w.id != 0 {
		w.close(nil) // no room in it
	}
	if err := w.open(); err != nil {
		return err
	}
	w.add(n)
	return nil
}

// add packs a node into the open row, unless it has no room there. An empty
// row has room for any node.
func (w *writer) add(n *node) bool {
	at := &w.levels[n.level]
	before := len(at.data)
	at.data = w.pack(at.data, n)
	grown := w.size + len(at.data) - before
	if grown > maxRow {
		at.data = at.data[:before]
		return false
	}
	w.size = grown
	at.nodes = append(at.nodes, n)
	n.ref.row = w.id
	return true
}

// open starts a row.
func (w *writer) open() error {
	id, err := w.alloc(w.ctx)
	if err != nil {
		return fmt.Errorf("allocate state row: %w", err)
	}
	if id <= 0 {
		return fmt.Errorf("allocate state row: %d is no identifier", id)
	}
	w.id, w.base, w.size = id, id-1, headRoom
	if w.newest > w.base {
		w.base = w.newest
	}
	return nil
}

// close finishes the open row; with an edit, it is the top row.
func (w *writer) close(top *edit) {
	data := make([]byte, 1, w.size)
	data[0] = formatRow
	if top != nil {
		data[0] |= flagTop
		data = top.hash.append(data)
		data = binary.AppendUvarint(data, uint64(top.count))
	}
	if w.base >= w.id {
		data[0] |= flagBase
		data = binary.AppendUvarint(data, uint64(w.base-w.id))
	}
	idx := uint32(0)
	for i := range w.levels {
		at := &w.levels[i]
		for _, n := range at.nodes {
			n.ref.idx = idx
			idx++
		}
		data = append(data, at.data...)
		at.nodes, at.data = at.nodes[:0], at.data[:0]
	}
	w.rows = append(w.rows, Row{ID: w.id, Data: data})
	w.newest = max(w.newest, w.id)
	w.id = 0
}

// pack appends a node's stored form.
func (w *writer) pack(b []byte, n *node) []byte {
	last := width - 1
	if n.level == 0 {
		for n.values[last] == 0 {
			last--
		}
		return packLeaf(append(b, byte(last)), n.values[:last+1])
	}
	for n.refs[last].row == 0 && n.kids[last] == nil {
		last--
	}
	b = append(b, byte(n.level<<slotBits|last))
	var run ref
	runAt := 0
	for s := range last + 1 {
		f := n.refs[s]
		if kid := n.kids[s]; kid != nil {
			f = kid.ref
		}
		switch {
		case f.row == 0:
			b = append(b, tokenNone)
		case f.row == w.id:
			b = append(b, tokenLocal)
		case run.row == f.row && run.idx+uint32(s-runAt) == f.idx:
			b = append(b, tokenRun)
		case f.idx == uint32(n.level-1):
			b = binary.AppendUvarint(b, uint64(w.base-f.row)<<1+tokenRow)
		default:
			b = binary.AppendUvarint(b, uint64(w.base-f.row)<<1+1+tokenRow)
			b = binary.AppendUvarint(b, uint64(f.idx))
			run, runAt = f, s
		}
	}
	return b
}

// packLeaf appends the tokens of a leaf.
func packLeaf(b []byte, values []event.NID) []byte {
	var last event.NID
	for _, nid := range values {
		if nid == 0 {
			b = append(b, 0)
			continue
		}
		d := int64(nid - last)
		b = binary.AppendUvarint(b, uint64(d<<1^d>>63)+1)
		last = nid
	}
	return b
}
