package syncapi_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"entente/accounts"
	"entente/clientapi/render"
	"entente/clientapi/syncapi"
	"entente/federation/keys"
	"entente/roomserver"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// agency is a server without HTTP, and a peer of it that only forges events.
type agency struct {
	testing.TB
	db     *storage.DB
	rooms  *roomserver.Server
	sync   *syncapi.Server // with a ring
	slow   *syncapi.Server // without one: it reads everything from the database
	far    event.Signer
	made   int64
	offset time.Duration
}

func newAgency(t testing.TB, o storage.Options) *agency {
	t.Helper()
	a := &agency{TB: t, db: storagetest.Open(t, o)}
	_, near, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := keys.NewOwn(keys.OwnOptions{Name: "far", Keys: []keys.OwnKey{{ID: "ed25519:1", Private: private}}})
	if err != nil {
		t.Fatal(err)
	}
	own, err := keys.NewOwn(keys.OwnOptions{Name: "test", Keys: []keys.OwnKey{{ID: "ed25519:1", Private: near}}})
	if err != nil {
		t.Fatal(err)
	}
	a.far = peer.Signer()
	ring := keys.New(keys.Options{Own: own, Fetch: func(context.Context, string) ([]byte, error) { return peer.Document() }})
	people := accounts.New(accounts.Options{DB: a.db, ServerName: "test"})
	transactions := render.NewTransactions(a.db)
	a.rooms = roomserver.New(roomserver.Options{DB: a.db, ServerName: "test", Sign: own.Signer, Keys: ring, Log: storagetest.Logger(t)})
	so := syncapi.Options{DB: a.db, Rooms: a.rooms, Accounts: people, Transactions: transactions, Presence: true, Now: a.now}
	a.sync = syncapi.New(so)
	so.RingBytes = 1
	a.slow = syncapi.New(so)
	return a
}

func (a *agency) now() time.Time { return time.Now().Add(a.offset) }

// create makes a room in which everyone may do nearly everything.
func (a *agency) create(creator id.UserID) *storage.RoomInfo {
	a.Helper()
	room, err := a.rooms.Create(a.Context(), roomserver.CreateRequest{
		Creator: creator, Preset: "public_chat",
		PowerLevelContentOverride: map[string]json.RawMessage{"users_default": json.RawMessage(`60`), "state_default": json.RawMessage(`30`)},
	})
	if err != nil {
		a.Fatal(err)
	}
	info, err := a.rooms.Info(a.Context(), room)
	if err != nil {
		a.Fatal(err)
	}
	return info
}

func (a *agency) join(info *storage.RoomInfo, user id.UserID) {
	a.Helper()
	if err := a.rooms.Join(a.Context(), roomserver.MemberRequest{Room: info.ID, Sender: user, Target: user}); err != nil {
		a.Fatal(err)
	}
}

// send sends as a local user; the room may refuse it.
func (a *agency) send(info *storage.RoomInfo, user id.UserID, typ string, key *string, content string) error {
	_, err := a.rooms.Send(a.Context(), roomserver.SendRequest{Room: info.ID, Draft: roomserver.Draft{
		Type: typ, StateKey: key, Sender: user, Content: json.RawMessage(content),
	}})
	return err
}

// say sends a message.
func (a *agency) say(info *storage.RoomInfo, user id.UserID) {
	a.Helper()
	a.made++
	if err := a.send(info, user, "m.room.message", nil, fmt.Sprintf(`{"body":"%d","msgtype":"m.text"}`, a.made)); err != nil {
		a.Fatal(err)
	}
}

// live are the events of the live timeline after a position, the latest first.
func (a *agency) live(info *storage.RoomInfo, since storage.Position, limit int) []*storage.Event {
	a.Helper()
	events, err := a.db.Latest().Timeline(a.Context(), info, since, a.db.Applied(), limit)
	if err != nil {
		a.Fatal(err)
	}
	return events
}

// forge makes the peer send an event that follows another one, whatever has
// come since.
func (a *agency) forge(info *storage.RoomInfo, after *storage.Event, user id.UserID, typ string, key *string, content string) {
	a.Helper()
	rules, _ := event.RulesOf(info.Version)
	stateKey := ""
	if key != nil {
		stateKey = *key
	}
	a.made++
	d := &event.Draft{
		Room: info.ID, Type: typ, StateKey: key, Sender: user, Content: json.RawMessage(content), Prev: []event.Ref{after.PDU.Ref()},
		Depth: after.PDU.Depth() + 1, Timestamp: time.Now().UnixMilli() + a.made,
	}
	found, err := a.rooms.StateEvents(a.Context(), info, after.After, auth.Needed(rules, typ, stateKey, user, d.Content))
	if err != nil {
		a.Fatal(err)
	}
	for _, e := range found {
		if e != nil {
			d.Auth = append(d.Auth, e.PDU.Ref())
		}
	}
	pdu, err := d.Build(rules, a.far)
	if err != nil {
		a.Fatal(err)
	}
	if err := a.rooms.Receive(a.Context(), "far", pdu); err != nil {
		a.Logf("%s of %s is refused: %v", typ, user, err)
	}
}

// current is the current state by key.
func (a *agency) current(info *storage.RoomInfo) map[event.Key]id.EventID {
	a.Helper()
	root, err := a.rooms.CurrentRoot(a.Context(), info)
	if err != nil {
		a.Fatal(err)
	}
	events, err := a.rooms.FullState(a.Context(), info, root)
	if err != nil {
		a.Fatal(err)
	}
	out := map[event.Key]id.EventID{}
	for _, e := range events {
		key, _ := e.PDU.StateKey()
		out[event.Key{Type: e.PDU.Type(), StateKey: key}] = e.PDU.ID()
	}
	return out
}

// told is an answer of sync.
type told struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join  map[id.RoomID]*toldRoom       `json:"join"`
		Leave map[id.RoomID]json.RawMessage `json:"leave"`
	} `json:"rooms"`
}

type toldRoom struct {
	State    struct{ Events []toldEvent } `json:"state"`
	After    struct{ Events []toldEvent } `json:"state_after"`
	Timeline struct {
		Events  []toldEvent
		Limited bool
		Prev    string `json:"prev_batch"`
	} `json:"timeline"`
}

type toldEvent struct {
	ID       id.EventID `json:"event_id"`
	Type     string     `json:"type"`
	StateKey *string    `json:"state_key"`
}

// device is a client that keeps what it is told.
type device struct {
	*agency
	server *syncapi.Server
	user   id.UserID
	filter string
	after  string // what it calls state at the end of the timeline; empty: it wants that at the start
	since  string

	state map[event.Key]id.EventID
	got   []id.EventID // timelines, and what was paged back to between them
}

// poll asks once and applies the answer; it reports whether anything was told
// of the room.
func (d *device) poll(info *storage.RoomInfo) bool {
	d.Helper()
	raw, err := d.server.Sync(d.Context(), syncapi.Request{
		User: d.user, Device: "D", Since: d.since, Filter: d.filter, StateAfter: d.after, Presence: syncapi.Offline,
	})
	if err != nil {
		d.Fatal(err)
	}
	var t told
	if err := json.Unmarshal(raw, &t); err != nil {
		d.Fatalf("%v: %s", err, raw)
	}
	first := d.since == ""
	d.since = t.Next
	if t.Rooms.Leave[info.ID] != nil {
		d.state = nil
	}
	r := t.Rooms.Join[info.ID]
	if r == nil {
		return false
	}
	if d.state == nil {
		d.state = map[event.Key]id.EventID{}
	}
	for _, e := range append(r.State.Events, r.After.Events...) {
		d.state[event.Key{Type: e.Type, StateKey: *e.StateKey}] = e.ID
	}
	if r.Timeline.Limited && !first {
		d.got = append(d.got, d.pageBack(info, r.Timeline.Prev)...)
	}
	for _, e := range r.Timeline.Events {
		d.got = append(d.got, e.ID)
		if e.StateKey != nil && d.after == "" {
			d.state[event.Key{Type: e.Type, StateKey: *e.StateKey}] = e.ID
		}
	}
	return true
}
