package stateres

import (
	"context"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// node is an event that was read, and what resolution learned of it.
type node struct {
	Event
	key event.Key
}

// reader reads a room through its source, in batches, each thing once.
type reader struct {
	src    Source
	nodes  map[event.NID]*node
	shared map[event.Key]Entry
}

func newReader(src Source) *reader {
	return &reader{src: src, nodes: map[event.NID]*node{}, shared: map[event.Key]Entry{}}
}

// load reads the events that have not been read yet, in one call.
func (r *reader) load(ctx context.Context, nids []event.NID) error {
	var want []event.NID
	for _, nid := range nids {
		if _, ok := r.nodes[nid]; !ok && nid != 0 {
			r.nodes[nid] = nil
			want = append(want, nid)
		}
	}
	if len(want) == 0 {
		return nil
	}
	events, err := r.src.Events(ctx, want)
	if err != nil {
		return err
	}
	if len(events) != len(want) {
		return fault.New(fault.Internal, "state resolution asked for %d events and got %d", len(want), len(events))
	}
	for i, e := range events {
		stateKey, ok := e.PDU.StateKey()
		if !ok || e.NID != want[i] {
			return fault.New(fault.Internal, "state resolution: event %d is not the state event asked for", want[i])
		}
		if e.Pos.Chain == 0 && Citable(e.PDU.Type()) {
			return fault.New(fault.Internal, "state resolution: event %d has no place in the chain cover", e.NID)
		}
		r.nodes[e.NID] = &node{Event: e, key: event.Key{Type: e.PDU.Type(), StateKey: stateKey}}
	}
	return nil
}

// loadAuth reads the auth events of nodes.
func (r *reader) loadAuth(ctx context.Context, nodes []*node) error {
	var want []event.NID
	for _, n := range nodes {
		want = append(want, n.Auth...)
	}
	return r.load(ctx, want)
}

// authAt is the auth event of n at a key, which loadAuth has read; nil when
// there is none.
func (r *reader) authAt(n *node, key event.Key) *node {
	for _, nid := range n.Auth {
		if a := r.nodes[nid]; a.key == key {
			return a
		}
	}
	return nil
}

// loadShared reads the unconflicted state at the keys not asked for yet.
func (r *reader) loadShared(ctx context.Context, keys []event.Key) error {
	var want []event.Key
	for _, k := range keys {
		if _, ok := r.shared[k]; !ok {
			r.shared[k] = Entry{}
			want = append(want, k)
		}
	}
	if len(want) == 0 {
		return nil
	}
	entries, err := r.src.Unconflicted(ctx, want)
	if err != nil {
		return err
	}
	if len(entries) != len(want) {
		return fault.New(fault.Internal, "state resolution asked for %d keys and got %d", len(want), len(entries))
	}
	for i, k := range want {
		r.shared[k] = entries[i]
	}
	return nil
}
