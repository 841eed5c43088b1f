package syncapi

import (
	"cmp"
	"slices"

	"entente/clientapi/token"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// block is the state that goes with a timeline.
type block struct {
	*composer
	view   *view
	info   *storage.RoomInfo
	window *window
	low    storage.Position // what changed after it; the whole state if full
	full   bool

	events  []*storage.Event
	members bool // memberships changed
	summary *summary

	deltas []*storage.Delta
	base   state.Root // the state before the timeline, where that was cut; zero: it was not
}

// find fills in the block's events.
func (b *block) find() error {
	if err := b.findDeltas(); err != nil {
		return err
	}
	if b.full {
		if err := b.findSummary(); err != nil {
			return err
		}
		if err := b.findAll(); err != nil {
			return err
		}
	}
	changes, err := b.changes()
	if err != nil {
		return err
	}
	if err := b.add(changes); err != nil {
		return err
	}
	b.noteMembers()
	if b.members && !b.full {
		if err := b.findSummary(); err != nil {
			return err
		}
	}
	if b.filter.lazy() {
		if err := b.addSenders(); err != nil {
			return err
		}
	}
	if err := b.addOwed(); err != nil {
		return err
	}
	b.events = slices.DeleteFunc(b.events, func(e *storage.Event) bool { return !b.admitsState(b.info, e) })
	return nil
}

// start is the position after which the timeline begins: the state block is
// that at it, unless state_after is asked for.
func (b *block) start() storage.Position {
	switch {
	case len(b.window.entries) > 0 && (b.full || b.window.limited):
		return b.window.entries[0].Pos - 1
	case b.window.limited || b.full:
		return b.until
	}
	return b.low
}

// findDeltas reads the changes of the state that matter, and cuts the timeline
// where this server was not in the room.
func (b *block) findDeltas() error {
	since := b.low
	if b.full {
		since = b.start()
	}
	if b.view.pos <= since {
		return nil
	}
	var err error
	if b.deltas, err = b.deltasAfter(since); err != nil {
		return err
	}
	for i := len(b.deltas) - 1; i >= 0; i-- {
		if b.deltas[i].Num != storage.AllKeys {
			continue
		}
		if b.full && b.low == 0 {
			return b.cut(b.deltas[i])
		}
		return b.expand(since)
	}
	return nil
}

// cut begins the timeline where so much changed at once that this server may
// not have been in the room before. The state that goes with it is the one
// after the change.
func (b *block) cut(d *storage.Delta) error {
	w := b.window
	i, _ := slices.BinarySearchFunc(w.entries, d.Pos, func(e *entry, at storage.Position) int { return cmp.Compare(e.Pos, at) })
	if i > 0 {
		w.entries, w.limited = w.entries[i:], true
	}
	b.base = d.Root
	b.deltas = slices.DeleteFunc(slices.Clone(b.deltas), func(x *storage.Delta) bool { return x.Pos <= d.Pos })
	if len(w.entries) == 0 {
		return nil
	}
	first := w.entries[0]
	w.start = &token.Point{Epoch: b.server.epoch, Point: roomserver.Seam(first.Event)}
	key, is := first.PDU.StateKey()
	if !is || first.Pos != d.Pos {
		return nil
	}
	found, err := b.server.rooms.StateEvents(b.ctx, b.info, d.Root, []event.Key{{Type: first.PDU.Type(), StateKey: key}})
	if err == nil && found[0] != nil && found[0].NID == first.NID {
		b.deltas = append(b.deltas, &storage.Delta{Room: d.Room, Pos: d.Pos, Num: storage.AllKeys, New: first.NID, Root: d.Root})
	}
	return err
}

func (b *block) deltasAfter(since storage.Position) ([]*storage.Delta, error) {
	if since >= b.view.from {
		var out []*storage.Delta
		for _, d := range b.view.deltas {
			if d.Pos > since && d.Pos <= b.until {
				out = append(out, d)
			}
		}
		return out, nil
	}
	read, err := b.server.db.Latest().Deltas(b.ctx, b.view.Room, since, b.until)
	out := make([]*storage.Delta, len(read))
	for i := range read {
		out[i] = &read[i]
	}
	return out, err
}

// expand writes out changes of so many keys that they were not listed.
func (b *block) expand(since storage.Position) error {
	before, err := b.server.db.Latest().RootAt(b.ctx, b.view.Room, since)
	if err != nil {
		return err
	}
	var out []*storage.Delta
	for _, d := range b.deltas {
		if d.Num != storage.AllKeys {
			out, before = append(out, d), d.Root
			continue
		}
		differences, err := b.server.rooms.StateDiff(b.ctx, b.info, before, d.Root)
		if err != nil {
			return err
		}
		for _, x := range differences {
			out = append(out, &storage.Delta{Room: d.Room, Pos: d.Pos, Num: x.Key, Old: x.A, New: x.B, Root: d.Root})
		}
		before = d.Root
	}
	b.deltas = out
	return nil
}

// root is the state at a position.
func (b *block) root(at storage.Position) (state.Root, error) {
	if b.base != 0 && at <= b.start() {
		return b.base, nil
	}
	if at >= b.view.from {
		for i := len(b.view.deltas) - 1; i >= 0; i-- {
			if d := b.view.deltas[i]; d.Pos <= at {
				return d.Root, nil
			}
		}
	}
	return b.server.db.Latest().RootAt(b.ctx, b.view.Room, at)
}

// findAll fills in the whole state, or with lazy loading the part that is not
// members.
func (b *block) findAll() error {
	at := b.start()
	if b.req.StateAfter != "" {
		at = b.until
	}
	root, err := b.root(at)
	if err != nil || root == 0 {
		return err
	}
	if !b.filter.lazy() {
		b.events, err = b.server.rooms.FullState(b.ctx, b.info, root)
		return err
	}
	nums, err := b.server.db.Latest().KeysExcept(b.ctx, b.view.Room, typeMember)
	if err != nil {
		return err
	}
	found, err := b.server.rooms.StateOf(b.ctx, b.info, root, nums)
	if err != nil {
		return err
	}
	users := append(b.senders(), b.req.User)
	members, err := b.memberEvents(root, append(users, b.heroes()...))
	if err != nil {
		return err
	}
	b.events = slices.DeleteFunc(append(found, members...), func(e *storage.Event) bool { return e == nil })
	return nil
}

// senders are those who sent what is in the timeline.
func (b *block) senders() []id.UserID {
	var out []id.UserID
	for _, e := range b.window.entries {
		if !slices.Contains(out, e.PDU.Sender()) {
			out = append(out, e.PDU.Sender())
		}
	}
	return out
}

// memberEvents reads memberships at a root; nil where there is none.
func (b *block) memberEvents(root state.Root, users []id.UserID) ([]*storage.Event, error) {
	slices.Sort(users)
	users = slices.Compact(users)
	keys := make([]event.Key, len(users))
	for i, user := range users {
		keys[i] = memberKey(user)
	}
	return b.server.rooms.StateEvents(b.ctx, b.info, root, keys)
}

// changes are the events that the state block must hold beside the whole state.
//
// With state_after that is what each key that changed has become. Without, it
// is what keys had become where the timeline begins, and what they have become
// by now where the timeline does not say; and what the timeline says wrongly is
// owed.
func (b *block) changes() ([]event.NID, error) {
	if len(b.deltas) == 0 && !b.statesInWindow() {
		return nil, nil
	}
	last := make(map[state.KeyNum]event.NID, len(b.deltas))
	atStart := map[state.KeyNum]event.NID{}
	start := b.start()
	for _, d := range b.deltas {
		last[d.Num] = d.New
		if d.Pos <= start {
			atStart[d.Num] = d.New
		}
	}
	told := map[event.NID]bool{}
	if b.req.StateAfter == "" {
		var err error
		if told, err = b.tellByTimeline(last); err != nil {
			return nil, err
		}
	}
	var out []event.NID
	for num, nid := range last {
		if b.req.StateAfter == "" {
			if was := atStart[num]; told[nid] {
				if was != noEvent && was != nid {
					out = append(out, was)
				}
				continue
			}
		} else if b.full {
			continue
		}
		if nid != noEvent {
			out = append(out, nid)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// noEvent is the number of no event.
const noEvent event.NID = 0

func (b *block) statesInWindow() bool {
	return slices.ContainsFunc(b.window.entries, func(e *entry) bool { _, is := e.PDU.StateKey(); return is })
}

// tellByTimeline finds which current states the timeline makes known, since
// they are the last of their key in it. Where the last of a key is not the
// current state, the client is owed that. last is what changed of late.
func (b *block) tellByTimeline(last map[state.KeyNum]event.NID) (map[event.NID]bool, error) {
	current := make(map[event.NID]bool, len(last))
	for _, nid := range last {
		current[nid] = true
	}
	told := map[event.NID]bool{}
	seen := map[event.Key]bool{}
	for i := len(b.window.entries) - 1; i >= 0; i-- {
		e := b.window.entries[i]
		key, is := e.PDU.StateKey()
		if !is || seen[event.Key{Type: e.PDU.Type(), StateKey: key}] {
			continue
		}
		k := event.Key{Type: e.PDU.Type(), StateKey: key}
		seen[k] = true
		if current[e.NID] {
			told[e.NID] = true
			continue
		}
		num, ok, err := b.server.db.Latest().KeyNum(b.ctx, b.view.Room, k)
		if err != nil {
			return nil, err
		}
		if ok {
			b.owed = append(b.owed, token.Owed{Room: b.view.Room, Num: num})
		}
	}
	return told, nil
}

// add adds events to the block, in the place of what it has of the same keys.
func (b *block) add(nids []event.NID) error {
	if len(nids) == 0 {
		return nil
	}
	found, err := b.server.rooms.Events(b.ctx, b.info, nids)
	if err != nil {
		return err
	}
	at := make(map[event.Key]int, len(b.events))
	for i, e := range b.events {
		at[keyOf(e)] = i
	}
	for _, e := range found {
		if i, ok := at[keyOf(e)]; ok {
			b.events[i] = e
			continue
		}
		at[keyOf(e)] = len(b.events)
		b.events = append(b.events, e)
	}
	return nil
}

// keyOf is the key of a state event.
func keyOf(e *storage.Event) event.Key {
	key, _ := e.PDU.StateKey()
	return event.Key{Type: e.PDU.Type(), StateKey: key}
}

// noteMembers notes whether a membership changed, which changes the summary.
func (b *block) noteMembers() {
	if len(b.deltas) == 0 {
		return
	}
	is := func(e *storage.Event) bool { return e.PDU.Type() == typeMember }
	b.members = slices.ContainsFunc(b.events, is) ||
		slices.ContainsFunc(b.window.entries, func(e *entry) bool { return is(e.Event) })
}

// addOwed adds what the answer before this one got wrong.
func (b *block) addOwed() error {
	if !b.view.owed || b.since == nil {
		return nil
	}
	root, err := b.root(b.until)
	if err != nil {
		return err
	}
	var nums []state.KeyNum
	for _, o := range b.since.Owed {
		if o.Room == b.view.Room {
			nums = append(nums, o.Num)
		}
	}
	found, err := b.server.rooms.StateOf(b.ctx, b.info, root, nums)
	if err != nil {
		return err
	}
	var nids []event.NID
	for _, e := range found {
		if e != nil {
			nids = append(nids, e.NID)
		}
	}
	return b.add(nids)
}
