package roomserver

import (
	"context"
	"fmt"
	"slices"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// outlierChunk is how many outliers one unclocked commit stores.
const outlierChunk = 400

// storeOutliersHeld stores events whose place in the room is not known: the
// state and auth chain that a peer sent. They are judged by their auth events;
// one whose auth events are neither known nor given is left out. The caller
// holds the room. Nothing leads to them yet, so that storing them in parts is
// harmless. The answer has every event that is now stored, known before or not.
func (r *room) storeOutliersHeld(ctx context.Context, pdus []*event.PDU) (map[id.EventID]*storage.Event, error) {
	b := &outlierBatch{ctx: ctx, room: r, known: map[id.EventID]*storage.Event{}, placer: r.server.newPlacer(ctx)}
	if err := b.find(pdus); err != nil {
		return nil, err
	}
	var fresh []*event.PDU
	for _, pdu := range inAuthOrder(pdus) {
		if b.known[pdu.ID()] == nil {
			fresh = append(fresh, pdu)
		}
	}
	for chunk := range slices.Chunk(fresh, outlierChunk) {
		if err := b.store(chunk); err != nil {
			r.resetHeld(r.generation)
			return nil, err
		}
	}
	return b.known, nil
}

// outlierBatch is a set of outliers while it is stored.
type outlierBatch struct {
	ctx    context.Context
	room   *room
	known  map[id.EventID]*storage.Event
	placer *placer
}

// find reads which of the events, and of what they cite, are stored already.
func (b *outlierBatch) find(pdus []*event.PDU) error {
	seen := map[id.EventID]bool{}
	var ids []id.EventID
	add := func(eventID id.EventID) {
		if !seen[eventID] {
			seen[eventID] = true
			ids = append(ids, eventID)
		}
	}
	if b.room.rules.RoomIDIsCreateHash {
		add(b.room.createID())
	}
	for _, pdu := range pdus {
		add(pdu.ID())
		for _, a := range pdu.AuthEvents() {
			add(a)
		}
	}
	for chunk := range slices.Chunk(ids, 1000) {
		found, err := b.room.server.eventsByID(b.ctx, b.room.info, chunk)
		if err != nil {
			return err
		}
		for eventID, e := range found {
			b.known[eventID] = e
		}
	}
	return nil
}

func (b *outlierBatch) store(chunk []*event.PDU) error {
	first, err := b.room.server.db.AllocateEvents(b.ctx, len(chunk))
	if err != nil {
		return err
	}
	keys, err := b.keys(chunk)
	if err != nil {
		return err
	}
	var write []storage.Row
	for i, pdu := range chunk {
		e, rows, err := b.one(first+event.NID(i), pdu, keys)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		write = append(append(write, e), rows...)
		b.known[pdu.ID()] = e
		b.room.server.events.put(e)
	}
	if err := b.room.server.db.Stage(b.ctx, write...); err != nil {
		return fmt.Errorf("store the state of %s: %w", b.room.info.ID, err)
	}
	return nil
}

// keys finds the numbers of the chunk's state keys that have one.
func (b *outlierBatch) keys(chunk []*event.PDU) (map[event.Key]bool, error) {
	var keys []event.Key
	for _, pdu := range chunk {
		if key, ok := stateKey(pdu); ok {
			if _, underWay := b.room.keys[key]; !underWay {
				keys = append(keys, key)
			}
		}
	}
	found, err := b.room.server.keyNums(b.ctx, b.room.info.NID, keys)
	out := make(map[event.Key]bool, len(found))
	for key := range found {
		out[key] = true
	}
	return out, err
}

// one judges and places an outlier; nil when what allows it is not known.
func (b *outlierBatch) one(nid event.NID, pdu *event.PDU, stored map[event.Key]bool) (*storage.Event, []storage.Row, error) {
	authEvents := make([]*storage.Event, 0, len(pdu.AuthEvents()))
	for _, eventID := range pdu.AuthEvents() {
		a := b.known[eventID]
		if a == nil {
			return nil, nil, nil
		}
		authEvents = append(authEvents, a)
	}
	e := &storage.Event{
		NID: nid, Room: b.room.info.NID, PDU: pdu, Before: storage.UnknownRoot, After: storage.UnknownRoot, Status: storage.Outlier,
	}
	for _, a := range authEvents {
		e.Auth = append(e.Auth, a.NID)
	}
	if err := b.room.allowedByAuthEvents(pdu, authEvents, b.create()); err != nil {
		e.Status, e.Reason = storage.Rejected, err.Error()
	}
	describeContent(e)
	key, isState := stateKey(pdu)
	if !isState {
		return e, nil, nil
	}
	var rows []storage.Row
	num, underWay := b.room.keys[key]
	if !underWay {
		if stored[key] {
			var err error
			if num, _, err = b.room.server.keyNum(b.ctx, b.room.info.NID, key); err != nil {
				return nil, nil, err
			}
		} else {
			row := b.room.numberKey(key)
			num, rows = row.Num, append(rows, row)
		}
	}
	links, err := b.placer.place(e, authEvents)
	for _, l := range links {
		rows = append(rows, &storage.ChainLink{Room: b.room.info.NID, From: l.From, Num: num, To: l.To})
	}
	return e, rows, err
}

// create is the room's create event among what is known.
func (b *outlierBatch) create() *event.PDU {
	if !b.room.rules.RoomIDIsCreateHash {
		return nil
	}
	if e := b.known[b.room.createID()]; e != nil {
		return e.PDU
	}
	return nil
}

// createID is the ID of the create event, in room versions where the room is
// named after it.
func (r *room) createID() id.EventID { return id.EventID("$" + string(r.info.ID[1:])) }

// allowedByAuthEvents checks an event against the events that it cites. In
// room version 12 those do not include the create event, which is given. The
// caller holds the room.
//
// Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
func (r *room) allowedByAuthEvents(pdu *event.PDU, authEvents []*storage.Event, create *event.PDU) error {
	cited := make([]*event.PDU, len(authEvents))
	state := make(map[event.Key]*event.PDU, len(authEvents)+1)
	rejected := map[*event.PDU]bool{}
	if create != nil {
		state[event.Key{Type: typeCreate}] = create
	}
	for i, a := range authEvents {
		cited[i] = a.PDU
		key, _ := stateKey(a.PDU)
		state[key] = a.PDU
		rejected[a.PDU] = a.Status == storage.Rejected
	}
	if err := auth.CheckAuthEvents(pdu, cited, func(e *event.PDU) bool { return rejected[e] }); err != nil {
		return err
	}
	return r.checker.Check(pdu, func(key event.Key) (*event.PDU, error) { return state[key], nil })
}

// inAuthOrder sorts events so that each comes after the events it cites, as
// far as those are among them. Events in a circle, which only a liar makes,
// are left out.
func inAuthOrder(pdus []*event.PDU) []*event.PDU {
	byID := make(map[id.EventID]*event.PDU, len(pdus))
	waits := make(map[id.EventID]int, len(pdus))
	citers := make(map[id.EventID][]*event.PDU)
	for _, p := range pdus {
		byID[p.ID()] = p
	}
	var ready []*event.PDU
	for _, p := range byID {
		n := 0
		for _, a := range p.AuthEvents() {
			if byID[a] != nil && a != p.ID() {
				citers[a] = append(citers[a], p)
				n++
			}
		}
		if waits[p.ID()] = n; n == 0 {
			ready = append(ready, p)
		}
	}
	// In room version 12 nothing cites the create event, and all need it.
	if i := slices.IndexFunc(ready, func(p *event.PDU) bool { return p.Type() == typeCreate }); i >= 0 {
		last := len(ready) - 1
		ready[i], ready[last] = ready[last], ready[i]
	}
	out := make([]*event.PDU, 0, len(byID))
	for len(ready) > 0 {
		p := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		out = append(out, p)
		for _, c := range citers[p.ID()] {
			if waits[c.ID()]--; waits[c.ID()] == 0 {
				ready = append(ready, c)
			}
		}
	}
	return out
}
