package stateres_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/roomserver/stateres"
	"maunium.net/go/mautrix/id"
)

// state is a room state in full.
type state map[event.Key]event.NID

// draft is an event as a test writes it.
type draft struct {
	typ, stateKey, sender string
	content               map[string]any
	prev                  []event.NID
	auth                  []event.NID
	ts                    int64
	rejected              bool
	id                    id.EventID // made up when empty
}

// room holds a room's events and their chain cover, as storage would.
type room struct {
	t       testing.TB
	rules   *event.Rules
	roomID  string
	events  []*stateres.Event // by NID, from 1
	keys    []event.Key
	byID    map[id.EventID]event.NID
	tips    map[stateres.Chain]int64
	spans   map[stateres.Chain][]stateres.Entry
	into    map[stateres.Chain][]stateres.Link
	from    map[stateres.Chain][]stateres.Link
	known   map[stateres.Link]bool
	depth   []int64
	ceiling []stateres.Ceiling
	counter int
}

func newRoom(t testing.TB, version event.Version) *room {
	t.Helper()
	rules, ok := event.RulesOf(version)
	if !ok {
		t.Fatalf("no room version %s", version)
	}
	return &room{
		t: t, rules: rules, roomID: "!room:a.example",
		events: []*stateres.Event{nil}, keys: []event.Key{{}}, depth: []int64{0}, ceiling: []stateres.Ceiling{0},
		byID: map[id.EventID]event.NID{}, tips: map[stateres.Chain]int64{},
		spans: map[stateres.Chain][]stateres.Entry{},
		into:  map[stateres.Chain][]stateres.Link{}, from: map[stateres.Chain][]stateres.Link{},
		known: map[stateres.Link]bool{},
	}
}

// refs writes references as the room version does.
func (r *room) refs(nids []event.NID) []any {
	out := []any{}
	for _, nid := range nids {
		eventID := r.events[nid].PDU.ID()
		if r.rules.EventIDInBody {
			out = append(out, []any{eventID, map[string]any{"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}})
		} else {
			out = append(out, eventID)
		}
	}
	return out
}

// pdu makes the event without checking or storing it.
func (r *room) pdu(d draft) *event.PDU {
	eventID := d.id
	if eventID == "" {
		r.counter++
		// The IDs' order has nothing to do with the events' order.
		eventID = id.EventID(fmt.Sprintf("$%08x", uint32(r.counter)*2654435761))
		if r.rules.EventIDInBody {
			eventID += ":a.example"
		}
	}
	depth := int64(1)
	for _, p := range d.prev {
		depth = max(depth, r.depth[p]+1)
	}
	if d.content == nil {
		d.content = map[string]any{}
	}
	fields := map[string]any{
		"type": d.typ, "state_key": d.stateKey, "sender": d.sender, "content": d.content,
		"room_id": r.roomID, "depth": depth, "origin_server_ts": d.ts,
		"prev_events": r.refs(d.prev), "auth_events": r.refs(d.auth),
	}
	if r.rules.EventIDInBody {
		fields["event_id"] = eventID
	}
	if r.rules.RoomIDIsCreateHash && d.typ == "m.room.create" {
		delete(fields, "room_id")
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := event.Trusted(r.rules, eventID, raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// add stores an event, whether the rules allow it or not.
func (r *room) add(d draft) event.NID { return r.store(r.pdu(d), d) }

func (r *room) store(p *event.PDU, d draft) event.NID {
	nid := event.NID(len(r.events))
	if d.typ == "m.room.create" && r.rules.RoomIDIsCreateHash {
		r.roomID = string(p.RoomID())
	}
	key := event.Key{Type: d.typ, StateKey: d.stateKey}
	cited := make([]stateres.Cited, len(d.auth))
	for i, a := range d.auth {
		pos := r.events[a].Pos
		cited[i] = stateres.Cited{Key: r.keys[a], Pos: pos, Tip: r.tips[pos.Chain] == pos.Seq}
	}
	pos, links := stateres.Place(key, cited, func() stateres.Chain { return stateres.Chain(len(r.spans) + 1) })
	if pos.Chain != 0 {
		if r.tips[pos.Chain] >= pos.Seq {
			r.t.Fatalf("event %d takes a place that is taken: %v", nid, pos)
		}
		r.tips[pos.Chain] = pos.Seq
		r.spans[pos.Chain] = append(r.spans[pos.Chain], stateres.Entry{NID: nid, Pos: pos})
	}
	for _, l := range links {
		row := l
		row.From.Seq = 0
		if r.known[row] {
			continue
		}
		r.known[row] = true
		at, _ := slices.BinarySearchFunc(r.into[l.To.Chain], l, compareLinks)
		r.into[l.To.Chain] = slices.Insert(r.into[l.To.Chain], at, l)
		if l.From.Chain != 0 {
			r.from[l.From.Chain] = append(r.from[l.From.Chain], l)
		}
	}
	var depth int64 = 1
	for _, pr := range d.prev {
		depth = max(depth, r.depth[pr]+1)
	}
	r.events = append(r.events, &stateres.Event{NID: nid, PDU: p, Pos: pos, Auth: slices.Clone(d.auth), Rejected: d.rejected})
	r.keys = append(r.keys, key)
	r.depth = append(r.depth, depth)
	ceilings := make([]stateres.Ceiling, len(d.auth))
	for i, a := range d.auth {
		ceilings[i] = r.ceiling[a]
	}
	r.ceiling = append(r.ceiling, stateres.CeilingOf(pos, ceilings...))
	r.byID[p.ID()] = nid
	return nid
}

// compareLinks is the order of links into a chain.
func compareLinks(a, b stateres.Link) int {
	return cmp.Or(
		cmp.Compare(a.To.Seq, b.To.Seq), cmp.Compare(a.From.Chain, b.From.Chain), cmp.Compare(a.From.Seq, b.From.Seq),
		cmp.Compare(a.Key.Type, b.Key.Type), cmp.Compare(a.Key.StateKey, b.Key.StateKey))
}

// authFor selects auth events from a state.
func (r *room) authFor(s state, d draft) []event.NID {
	content, err := json.Marshal(d.content)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []event.NID
	for _, k := range auth.Needed(r.rules, d.typ, d.stateKey, id.UserID(d.sender), content) {
		if nid := s[k]; nid != 0 {
			out = append(out, nid)
		}
	}
	return out
}

// allowed checks an event against a state.
func (r *room) allowed(p *event.PDU, s state) bool {
	return auth.Check(p, func(k event.Key) (*event.PDU, error) {
		nid := s[k]
		if nid == 0 && k.Type == "m.room.create" {
			nid = 1
		}
		if nid == 0 {
			return nil, nil
		}
		return r.events[nid].PDU, nil
	}) == nil
}

// send adds an event on a state, citing what the state says it must, and
// returns the state after it. It fails the test when the rules refuse it.
func (r *room) send(s state, d draft) (event.NID, state) {
	r.t.Helper()
	nid, after, ok := r.try(s, d)
	if !ok {
		r.t.Fatalf("%s %q by %s is not allowed", d.typ, d.stateKey, d.sender)
	}
	return nid, after
}

// try is send for events that may be refused, and are then not stored.
func (r *room) try(s state, d draft) (event.NID, state, bool) {
	if d.auth == nil {
		d.auth = r.authFor(s, d)
	}
	p := r.pdu(d)
	if !r.allowed(p, s) {
		return 0, nil, false
	}
	nid := r.store(p, d)
	after := make(state, len(s)+1)
	for k, v := range s {
		after[k] = v
	}
	after[event.Key{Type: d.typ, StateKey: d.stateKey}] = nid
	return nid, after, true
}

// forks is a Source over some states of a room. It counts the rows read.
type forks struct {
	*room
	states   []state
	rows     map[string]int
	calls    int
	conflict map[event.Key]bool
	// ceiling leaves out the links from chains above it, unless it is zero.
	ceiling stateres.Ceiling
}

var _ stateres.Source = (*forks)(nil)

func (r *room) forks(states ...state) *forks {
	return &forks{room: r, states: states, rows: map[string]int{}, conflict: map[event.Key]bool{}}
}

// below makes the source leave out what came after the forks.
func (f *forks) below() *forks {
	for i, s := range f.states {
		var top stateres.Ceiling
		for _, nid := range s {
			top = max(top, f.room.ceiling[nid])
		}
		if i == 0 || top < f.ceiling {
			f.ceiling = top
		}
	}
	return f
}

// conflicts compares the states in full, as the state map does in what differs.
func (f *forks) conflicts() []stateres.Conflict {
	var out []stateres.Conflict
	for _, s := range f.states {
		for k := range s {
			if f.conflict[k] {
				continue
			}
			c := stateres.Conflict{Key: k}
			differs := false
			for _, other := range f.states {
				c.NIDs = append(c.NIDs, other[k])
				differs = differs || other[k] != s[k]
			}
			if differs {
				f.conflict[k] = true
				out = append(out, c)
			}
		}
	}
	return out
}

func (f *forks) count(what string, rows int) {
	f.rows[what] += rows
	f.calls++
}

func (f *forks) total() int {
	n := 0
	for _, rows := range f.rows {
		n += rows
	}
	return n
}

func (f *forks) Events(_ context.Context, nids []event.NID) ([]stateres.Event, error) {
	f.count("events", len(nids))
	out := make([]stateres.Event, len(nids))
	for i, nid := range nids {
		out[i] = *f.events[nid]
	}
	return out, nil
}

func (f *forks) Unconflicted(_ context.Context, keys []event.Key) ([]stateres.Entry, error) {
	f.count("state", len(keys))
	out := make([]stateres.Entry, len(keys))
	for i, k := range keys {
		nid := f.states[0][k]
		for _, s := range f.states {
			if s[k] != nid {
				nid = 0
			}
		}
		if nid != 0 {
			out[i] = stateres.Entry{NID: nid, Pos: f.events[nid].Pos}
		}
	}
	return out, nil
}

func (f *forks) Links(_ context.Context, ask []stateres.Out) ([]stateres.Link, error) {
	var out []stateres.Link
	for _, a := range ask {
		for _, l := range f.from[a.Chain] {
			if l.From.Seq > a.Low && l.From.Seq <= a.High && l.To.Seq >= a.Floor {
				out = append(out, l)
			}
		}
	}
	f.count("links", len(out))
	return out, nil
}

func (f *forks) Citers(_ context.Context, ask []stateres.Into) ([][]stateres.Link, error) {
	out := make([][]stateres.Link, len(ask))
	rows := 0
	for q, a := range ask {
		links := f.into[a.Chain]
		i, _ := slices.BinarySearchFunc(links, a.Low, func(l stateres.Link, low int64) int { return cmp.Compare(l.To.Seq, low) })
		if a.After != nil {
			at, found := slices.BinarySearchFunc(links, *a.After, compareLinks)
			if i = max(i, at); found {
				i = max(i, at+1)
			}
		}
		for n := 0; i < len(links) && links[i].To.Seq < a.Below && n < a.Limit; i++ {
			if f.ceiling != 0 && links[i].From.Chain > f.ceiling {
				continue
			}
			out[q] = append(out[q], links[i])
			n++
		}
		rows += len(out[q])
	}
	f.count("citers", rows)
	return out, nil
}

func (f *forks) Span(_ context.Context, ask []stateres.Span) ([]stateres.Entry, error) {
	var out []stateres.Entry
	for _, a := range ask {
		part := slices.Clone(f.spans[a.Chain])
		part = slices.DeleteFunc(part, func(e stateres.Entry) bool { return e.Pos.Seq <= a.Low || e.Pos.Seq > a.High })
		if !a.Ascending {
			slices.Reverse(part)
		}
		if a.Limit > 0 && len(part) > a.Limit {
			part = part[:a.Limit]
		}
		out = append(out, part...)
	}
	f.count("span", len(out))
	return out, nil
}

// resolve runs what is tested and applies its answer to a fork.
func (f *forks) resolve() state {
	f.t.Helper()
	changes, err := stateres.Resolve(context.Background(), f.rules, f.conflicts(), f)
	if err != nil {
		f.t.Fatal(err)
	}
	var results []state
	for _, s := range f.states {
		out := make(state, len(s))
		for k, v := range s {
			out[k] = v
		}
		for _, c := range changes {
			if out[c.Key] = c.NID; c.NID == 0 {
				delete(out, c.Key)
			}
		}
		results = append(results, out)
	}
	for _, other := range results[1:] {
		if d := f.diff(results[0], other); d != "" {
			f.t.Fatalf("the changes lead to different states on different forks:\n%s", d)
		}
	}
	return results[0]
}

// diff says how two states differ; empty when they do not.
func (r *room) diff(want, got state) string {
	var out string
	for k, v := range want {
		if got[k] != v {
			out += fmt.Sprintf("%s %q: want %s, got %s\n", k.Type, k.StateKey, r.show(v), r.show(got[k]))
		}
	}
	for k, v := range got {
		if want[k] == 0 && v != 0 {
			out += fmt.Sprintf("%s %q: want nothing, got %s\n", k.Type, k.StateKey, r.show(v))
		}
	}
	return out
}

func (r *room) show(nid event.NID) string {
	if nid == 0 {
		return "nothing"
	}
	p := r.events[nid].PDU
	return fmt.Sprintf("#%d by %s %s", nid, p.Sender(), p.Content())
}
