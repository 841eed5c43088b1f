package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"entente/federation/client"
	"entente/federation/keys"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// agency is a server of a small world without a network.
type agency struct {
	*Server
	db    *storage.DB
	own   *keys.Own
	inbox []*event.PDU // sent to it and not received yet
	sent  storage.Position
}

// world is agencies that know each other's keys.
type world struct {
	t        testing.TB
	agencies map[string]*agency
}

func newWorld(t testing.TB, options func() storage.Options, names ...string) *world {
	w := &world{t: t, agencies: map[string]*agency{}}
	for _, name := range names {
		w.add(name, options())
	}
	return w
}

func (w *world) add(name string, o storage.Options) {
	w.t.Helper()
	t := w.t
	o.ServerName = name
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := keys.NewOwn(keys.OwnOptions{Name: name, Keys: []keys.OwnKey{{ID: "ed25519:1", Private: key}}})
	if err != nil {
		t.Fatal(err)
	}
	db := storagetest.Open(t, o)
	ring := keys.New(keys.Options{Own: own, Fetch: func(_ context.Context, server string) ([]byte, error) {
		return w.agencies[server].own.Document()
	}})
	w.agencies[name] = &agency{
		Server: New(Options{DB: db, ServerName: name, Sign: own.Signer, Keys: ring, Log: storagetest.Logger(t)}), db: db, own: own,
	}
}

// join joins a user to a room through a resident agency.
func (w *world) join(user id.UserID, room id.RoomID, through *agency) {
	w.t.Helper()
	ctx := w.t.Context()
	own := w.agencies[event.ServerOf(user)]
	version, template, err := through.MakeMembership(ctx, own.name, room, user, "join", event.SupportedVersions())
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := own.makeMembership(ctx, MemberRequest{Room: room, Sender: user, Target: user}, "join", client.Template{Version: version, Event: template})
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := through.AcceptJoin(ctx, own.name, room, h.pdu.ID(), h.pdu.JSON())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := own.room(h.info)
	if err != nil {
		w.t.Fatal(err)
	}
	defer own.release(r)
	if err := own.enterRoom(ctx, r, &arrival{join: got.Event, state: got.State, auth: got.Auth}); err != nil {
		w.t.Fatal(err)
	}
}

// post puts what an agency has to send since the last time into the inboxes.
func (w *world) post(from *agency, room id.RoomID) {
	w.t.Helper()
	info, err := from.Info(w.t.Context(), room)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		events, err := from.db.Latest().EventsAfter(w.t.Context(), info, from.sent)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			from.sent = max(from.sent, e.Pos)
			for _, to := range e.Destinations.Names() {
				w.agencies[to].inbox = append(w.agencies[to].inbox, e.PDU)
			}
		}
	}
}

// deliver gives an agency what is in its inbox, in any order that a sender
// with one queue for each destination and several origins can bring about.
func (w *world) deliver(to *agency, shuffle *rand.Rand) {
	w.t.Helper()
	byOrigin := map[string][]*event.PDU{}
	for _, pdu := range to.inbox {
		origin := event.ServerOf(pdu.Sender())
		byOrigin[origin] = append(byOrigin[origin], pdu)
	}
	to.inbox = nil
	var later []*event.PDU
	for len(byOrigin) > 0 {
		origins := make([]string, 0, len(byOrigin))
		for o := range byOrigin {
			origins = append(origins, o)
		}
		slices.Sort(origins)
		o := origins[shuffle.IntN(len(origins))]
		var run []*event.PDU
		inRun := map[id.EventID]bool{}
		for range 1 + shuffle.IntN(6) {
			if len(byOrigin[o]) == 0 {
				break
			}
			pdu := byOrigin[o][0]
			byOrigin[o] = byOrigin[o][1:]
			if !w.ready(to, pdu, inRun) { // in the world with a network, the gap would be filled first
				later = append(later, pdu)
				continue
			}
			run, inRun[pdu.ID()] = append(run, pdu), true
		}
		if len(byOrigin[o]) == 0 {
			delete(byOrigin, o)
		}
		if len(run) == 0 {
			continue
		}
		for i, err := range to.ReceiveAll(w.t.Context(), o, run) {
			if err != nil && !errors.Is(err, ErrNotInRoom) {
				w.t.Fatalf("%s receives %s %s: %v", to.name, run[i].Type(), run[i].ID(), err)
			}
		}
	}
	to.inbox = later
}

func (w *world) ready(at *agency, pdu *event.PDU, inRun map[id.EventID]bool) bool {
	info, err := at.Info(w.t.Context(), pdu.RoomID())
	if err != nil {
		w.t.Fatal(err)
	}
	known, err := at.eventsByID(w.t.Context(), info, append(slices.Clone(pdu.AuthEvents()), pdu.PrevEvents()...))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, eventID := range append(slices.Clone(pdu.AuthEvents()), pdu.PrevEvents()...) {
		if known[eventID] == nil && !inRun[eventID] {
			return false
		}
	}
	for _, eventID := range pdu.PrevEvents() {
		if e := known[eventID]; e != nil && e.After == storage.UnknownRoot {
			return false
		}
	}
	return true
}

// stateAt is a state by event IDs.
func (a *agency) stateAt(t testing.TB, info *storage.RoomInfo, root state.Root) map[event.Key]id.EventID {
	t.Helper()
	out := map[event.Key]id.EventID{}
	for entry, err := range a.states.Room(int64(info.NID)).All(t.Context(), root) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := a.eventOf(t.Context(), info, entry.NID)
		if err != nil {
			t.Fatal(err)
		}
		key, _ := stateKey(e.PDU)
		out[key] = e.PDU.ID()
	}
	return out
}

// checkProjections holds what is projected from the state against the state,
// and the deltas against the roots.
func (a *agency) checkProjections(t *testing.T, room id.RoomID) {
	t.Helper()
	ctx := t.Context()
	info, err := a.Info(ctx, room)
	if err != nil {
		t.Fatal(err)
	}
	h, err := a.db.Latest().Head(ctx, info.NID)
	if err != nil {
		t.Fatal(err)
	}
	counted := map[storage.Membership]int64{}
	servers := map[string]int64{}
	want := map[id.UserID]storage.Membership{}
	for entry, err := range a.states.Room(int64(info.NID)).All(ctx, h.Root) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := a.eventOf(ctx, info, entry.NID)
		if err != nil {
			t.Fatal(err)
		}
		if key, _ := stateKey(e.PDU); key.Type == typeMember {
			is := membershipOf(e)
			counted[is]++
			want[id.UserID(key.StateKey)] = is
			if is == storage.Join {
				servers[event.ServerOf(id.UserID(key.StateKey))]++
			}
		}
	}
	if h.Joined != counted[storage.Join] || h.Invited != counted[storage.Invite] {
		t.Errorf("%s counts %d joined and %d invited, the state has %v", a.name, h.Joined, h.Invited, counted)
	}
	stored, err := a.db.Latest().RoomServers(ctx, info.NID)
	if err != nil || fmt.Sprint(stored) != fmt.Sprint(servers) {
		t.Errorf("%s counts servers %v, the state has %v, error %v", a.name, stored, servers, err)
	}
	members, err := a.db.Latest().Members(ctx, info.NID, storage.Leave, storage.Join, storage.Invite, storage.Knock, storage.Ban)
	if err != nil || len(members) != len(want) {
		t.Errorf("%s has %d members, the state has %d, error %v", a.name, len(members), len(want), err)
	}
	for _, m := range members {
		if want[m.User] != m.Membership {
			t.Errorf("%s has %s as %s, the state says %s", a.name, m.User, m.Membership, want[m.User])
		}
	}
	a.checkDeltas(t, info, h.Root)
}

// checkDeltas replays the deltas and compares what they lead to with the root.
func (a *agency) checkDeltas(t *testing.T, info *storage.RoomInfo, root state.Root) {
	t.Helper()
	deltas, err := a.db.Latest().Deltas(t.Context(), info.NID, 0, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	replayed := map[state.KeyNum]event.NID{}
	for _, d := range deltas {
		if d.Num == storage.AllKeys {
			clear(replayed)
			for entry, err := range a.states.Room(int64(info.NID)).All(t.Context(), d.Root) {
				if err != nil {
					t.Fatal(err)
				}
				replayed[entry.Key] = entry.NID
			}
			continue
		}
		if replayed[d.Num] != d.Old {
			t.Errorf("%s: the delta at %d says that key %d was %d, it was %d", a.name, d.Pos, d.Num, d.Old, replayed[d.Num])
		}
		if replayed[d.Num] = d.New; d.New == 0 {
			delete(replayed, d.Num)
		}
	}
	entries, err := a.states.Room(int64(info.NID)).Len(t.Context(), root)
	if err != nil || entries != len(replayed) {
		t.Errorf("%s: the deltas lead to %d keys, the root has %d, error %v", a.name, len(replayed), entries, err)
	}
}

// Agencies that act at the same time on a shared room, each seeing the others'
// events late and in another order, end with the same state; and on each of
// them all that is projected from the state agrees with it.
func TestConvergence(t *testing.T) {
	for _, version := range []event.Version{"1", "2", "6", "10", "11", "12"} {
		t.Run(string(version), func(t *testing.T) {
			for seed := range uint64(4) {
				converge(t, version, rand.New(rand.NewPCG(seed, 7)))
			}
		})
	}
}

func converge(t *testing.T, version event.Version, random *rand.Rand) {
	w := newWorld(t, func() storage.Options { return storagetest.SQLite(t) }, "a", "b", "c")
	a := w.agencies["a"]
	room, err := a.Create(t.Context(), CreateRequest{
		Creator: "@1:a", Version: version, Preset: "public_chat",
		PowerLevelContentOverride: map[string]json.RawMessage{"users_default": json.RawMessage(`60`), "state_default": json.RawMessage(`30`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []id.UserID{"@1:b", "@1:c", "@2:b", "@2:c"} {
		own := w.agencies[event.ServerOf(user)]
		if in, _ := own.resident(t.Context(), room); in {
			if err := own.Join(t.Context(), MemberRequest{Room: room, Sender: user, Target: user}); err != nil {
				t.Fatal(err)
			}
		} else {
			w.join(user, room, a)
		}
		w.settle(room, random)
	}
	for range 40 {
		w.act(room, random)
		if random.IntN(3) == 0 {
			w.exchange(room, random)
		}
	}
	w.settle(room, random)
	w.compare(room)
	for _, other := range w.agencies {
		other.checkProjections(t, room)
		if _, err := other.Collect(t.Context(), room); err != nil {
			t.Errorf("collect on %s: %v", other.name, err)
		}
	}
	w.compare(room)
}

// compare holds the state before every event against that on other agencies.
// Current states may differ where an event was soft-failed by one agency and
// not by another; the state before an event follows from the graph alone.
func (w *world) compare(room id.RoomID) {
	w.t.Helper()
	before := map[id.EventID]map[event.Key]id.EventID{}
	compared := 0
	for _, name := range []string{"a", "b", "c"} {
		own := w.agencies[name]
		info, err := own.Info(w.t.Context(), room)
		if err != nil {
			w.t.Fatal(err)
		}
		events, err := own.db.Latest().EventsAfter(w.t.Context(), info, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range events {
			got := own.stateAt(w.t, info, e.Before)
			want, known := before[e.PDU.ID()]
			if !known {
				before[e.PDU.ID()] = got
				continue
			}
			compared++
			if !maps.Equal(got, want) {
				w.t.Errorf("%s sees another state before %s: %v, not %v", name, e.PDU.ID(), got, want)
			}
		}
	}
	if compared < 20 {
		w.t.Errorf("only %d events could be compared", compared)
	}
}

// Collection removes what failed proposals and refused claims left behind, and
// nothing else: every state is readable afterwards, by a server that has
// cached none of it, and the room goes on.
func TestCollect(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		w := newWorld(t, func() storage.Options { return o }, "a")
		a := w.agencies["a"]
		room, err := a.Create(t.Context(), CreateRequest{Creator: "@1:a"})
		if err != nil {
			t.Fatal(err)
		}
		topic := func(user id.UserID, text string) error {
			_, err := a.Send(t.Context(), SendRequest{Room: room, Draft: Draft{
				Type: typeTopic, StateKey: new(string), Sender: user, Content: content(map[string]string{"topic": text}),
			}})
			return err
		}
		if err := topic("@1:a", "one"); err != nil {
			t.Fatal(err)
		}
		info, err := a.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		orphans := []storage.Row{
			&storage.StateNode{Room: info.NID, Row: state.Row{ID: 1 << 40, Data: []byte{1}}},
			&storage.StateNode{Room: info.NID, Row: state.Row{ID: 1<<40 + 1, Data: []byte{1}}},
		}
		if err := a.db.Stage(t.Context(), orphans...); err != nil {
			t.Fatal(err)
		}
		if removed, err := a.Collect(t.Context(), room); err != nil || removed != len(orphans) {
			t.Errorf("removed %d rows, error %v", removed, err)
		}
		if err := topic("@1:a", "two"); err != nil {
			t.Errorf("the room does not go on: %v", err)
		}
		a.states = state.NewStore(a.db.StateSource(), nil, a.db.Secret())
		a.checkProjections(t, room)
	})
}

// act lets a random user do something, which the room may refuse.
func (w *world) act(room id.RoomID, random *rand.Rand) {
	w.t.Helper()
	users := []id.UserID{"@1:a", "@1:b", "@2:b", "@1:c", "@2:c"}
	user, target := users[random.IntN(len(users))], users[random.IntN(len(users))]
	own := w.agencies[event.ServerOf(user)]
	ctx := w.t.Context()
	member := MemberRequest{Room: room, Sender: user, Target: target}
	self := MemberRequest{Room: room, Sender: user, Target: user}
	set := func(typ, content string) error {
		key := ""
		_, err := own.Send(ctx, SendRequest{Room: room, Draft: Draft{Type: typ, StateKey: &key, Sender: user, Content: json.RawMessage(content)}})
		return err
	}
	var err error
	switch random.IntN(8) {
	case 0:
		err = set("m.room.topic", fmt.Sprintf(`{"topic":"%d"}`, random.IntN(1000)))
	case 1:
		err = own.Kick(ctx, member)
	case 2:
		err = own.Ban(ctx, member)
	case 3:
		err = own.Unban(ctx, member)
	case 4:
		if in, _ := own.resident(ctx, room); in {
			err = own.Join(ctx, self)
		}
	case 5:
		err = set("m.room.join_rules", []string{`{"join_rule":"public"}`, `{"join_rule":"invite"}`}[random.IntN(2)])
	case 6:
		err = set("m.room.power_levels", fmt.Sprintf(`{"users_default":60,"ban":%d,"kick":%d,"users":{}}`, 40+random.IntN(40), 40+random.IntN(40)))
	default:
		_, err = own.Send(ctx, SendRequest{Room: room, Draft: Draft{Type: "m.room.message", Sender: user, Content: json.RawMessage(`{"body":"x"}`)}})
	}
	if err != nil && fault.KindOf(err) == fault.Internal {
		w.t.Fatalf("%s: %v", user, err)
	}
}

func (w *world) exchange(room id.RoomID, random *rand.Rand) {
	names := []string{"a", "b", "c"}
	from := w.agencies[names[random.IntN(3)]]
	w.post(from, room)
	w.deliver(w.agencies[names[random.IntN(3)]], random)
}

// settle delivers everything until nothing is under way.
func (w *world) settle(room id.RoomID, random *rand.Rand) {
	w.t.Helper()
	for range 20 {
		waiting := 0
		for _, name := range []string{"a", "b", "c"} {
			own := w.agencies[name]
			if _, err := own.Info(w.t.Context(), room); err != nil {
				continue
			}
			w.post(own, room)
		}
		for _, name := range []string{"a", "b", "c"} {
			w.deliver(w.agencies[name], random)
			waiting += len(w.agencies[name].inbox)
		}
		if waiting == 0 {
			return
		}
	}
}
