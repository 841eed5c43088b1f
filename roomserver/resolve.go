package roomserver

import (
	"context"
	"fmt"
	"slices"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/roomserver/stateres"
	"entente/storage"
)

// resolve settles what the state is where several states meet; where there are
// none, it is empty.
func (p *proposal) resolve(roots []state.Root) (state.Root, error) {
	switch roots = distinct(roots); len(roots) {
	case 0: // before the create event, or one that follows nothing
		return 0, nil
	case 1:
		return roots[0], nil
	}
	if err := p.settle(); err != nil {
		return 0, err
	}
	f := &forks{room: p.room, root: roots[0], conflicted: map[event.Key]bool{}}
	conflicts, err := f.conflicts(p.ctx, roots)
	if err != nil || len(conflicts) == 0 {
		return roots[0], err
	}
	changes, err := stateres.Resolve(p.ctx, p.room.rules, conflicts, f)
	if err != nil {
		return 0, fmt.Errorf("resolve the state of %s: %w", p.room.info.ID, err)
	}
	entries := make([]state.Entry, 0, len(changes))
	for _, c := range changes {
		num, err := p.number(c.Key)
		if err != nil {
			return 0, err
		}
		entries = append(entries, state.Entry{Key: num, NID: c.NID})
	}
	return p.setAll(roots[0], entries)
}

// settle waits for what is under way in the room: the chain-cover index is read
// from the database.
func (p *proposal) settle() error {
	if p.room.last == nil {
		return nil
	}
	if _, err := p.room.last.Wait(p.ctx); err != nil {
		p.room.resetHeld(p.room.generation)
		return fmt.Errorf("%w: what the proposal built on failed", storage.ErrConflict)
	}
	return nil
}

func distinct[T comparable](in []T) []T {
	var out []T
	for _, v := range in {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// forks is what state resolution reads of a room: stateres.Source.
type forks struct {
	room       *room
	root       state.Root // of one of the forks
	conflicted map[event.Key]bool
}

func (f *forks) conflicts(ctx context.Context, roots []state.Root) ([]stateres.Conflict, error) {
	var found []state.Conflict
	var nums []state.KeyNum
	for c, err := range f.room.state.Conflicts(ctx, roots) {
		if err != nil {
			return nil, err
		}
		found, nums = append(found, c), append(nums, c.Key)
	}
	keys, err := f.room.keysOf(ctx, nums)
	if err != nil {
		return nil, err
	}
	out := make([]stateres.Conflict, len(found))
	for i, c := range found {
		out[i] = stateres.Conflict{Key: keys[c.Key], NIDs: c.NIDs}
		f.conflicted[out[i].Key] = true
	}
	return out, nil
}

// keysOf finds the keys of numbers, stored or under way.
func (r *room) keysOf(ctx context.Context, nums []state.KeyNum) (map[state.KeyNum]event.Key, error) {
	keys, err := r.server.db.Latest().Keys(ctx, r.info.NID, nums)
	if err != nil {
		return nil, err
	}
	if len(keys) < len(nums) {
		for key, num := range r.keys {
			keys[num] = key
		}
	}
	return keys, nil
}

// Events reads state events.
func (f *forks) Events(ctx context.Context, nids []event.NID) ([]stateres.Event, error) {
	found, err := f.room.server.eventsOf(ctx, f.room.info, nids)
	if err != nil {
		return nil, err
	}
	out := make([]stateres.Event, len(found))
	for i, e := range found {
		out[i] = stateres.Event{NID: e.NID, PDU: e.PDU, Pos: e.Place, Auth: e.Auth, Rejected: e.Status == storage.Rejected}
	}
	return out, nil
}

// Unconflicted reads what the forks share.
func (f *forks) Unconflicted(ctx context.Context, keys []event.Key) ([]stateres.Entry, error) {
	out := make([]stateres.Entry, len(keys))
	for i, key := range keys {
		if f.conflicted[key] {
			continue
		}
		e, err := f.room.eventAt(ctx, f.root, key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			out[i] = stateres.Entry{NID: e.NID, Pos: e.Place}
		}
	}
	return out, nil
}

// Links reads the chain-cover index by the chain that links leave.
func (f *forks) Links(ctx context.Context, ask []stateres.Out) ([]stateres.Link, error) {
	return chainIndex{f.room.server, f.room.info.NID}.Links(ctx, ask)
}

// Span reads parts of chains.
func (f *forks) Span(ctx context.Context, ask []stateres.Span) ([]stateres.Entry, error) {
	return chainIndex{f.room.server, f.room.info.NID}.Span(ctx, ask)
}

// Citers reads the chain-cover index by the chain that links enter.
func (f *forks) Citers(ctx context.Context, ask []stateres.Into) ([][]stateres.Link, error) {
	found := make([][]storage.ChainLink, len(ask))
	var nums []state.KeyNum
	view := f.room.server.db.Latest()
	for i, a := range ask {
		var after *storage.ChainLink
		if a.After != nil {
			num, _, err := f.room.keyNum(ctx, a.After.Key)
			if err != nil {
				return nil, err
			}
			after = &storage.ChainLink{From: a.After.From, Num: num, To: a.After.To}
		}
		var err error
		if found[i], err = view.ChainInto(ctx, f.room.info.NID, a, after); err != nil {
			return nil, err
		}
		for _, l := range found[i] {
			nums = append(nums, l.Num)
		}
	}
	keys, err := f.room.keysOf(ctx, distinctNums(nums))
	out := make([][]stateres.Link, len(found))
	for i, links := range found {
		for _, l := range links {
			out[i] = append(out[i], stateres.Link{From: l.From, Key: keys[l.Num], To: l.To})
		}
	}
	return out, err
}

func distinctNums(nums []state.KeyNum) []state.KeyNum {
	slices.Sort(nums)
	return slices.Compact(nums)
}

// chainIndex reads a room's chain-cover index: stateres.Index.
type chainIndex struct {
	server *Server
	room   storage.RoomNID
}

// Links reads links by the chain they leave. The citing keys are not read.
func (i chainIndex) Links(ctx context.Context, ask []stateres.Out) ([]stateres.Link, error) {
	var out []stateres.Link
	for _, a := range ask {
		links, err := i.server.db.Latest().ChainOut(ctx, i.room, a)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			out = append(out, stateres.Link{From: l.From, To: l.To})
		}
	}
	return out, nil
}

// Span reads the events of parts of chains.
func (i chainIndex) Span(ctx context.Context, ask []stateres.Span) ([]stateres.Entry, error) {
	var out []stateres.Entry
	for _, a := range ask {
		found, err := i.server.db.Latest().ChainSpan(ctx, i.room, a)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}
