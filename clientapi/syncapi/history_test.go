package syncapi_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"entente/clientapi/token"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// pageBack pages back to what the device has, and returns what is new, oldest
// first.
func (d *device) pageBack(info *storage.RoomInfo, from string) []id.EventID {
	d.Helper()
	p, err := token.ParsePoint(from)
	if err != nil {
		d.Fatal(err)
	}
	viewer, err := d.rooms.Viewer(d.Context(), info, d.user)
	if err != nil {
		d.Fatal(err)
	}
	var out []id.EventID
	for at := p.Point; ; {
		page, err := d.rooms.History(d.Context(), info, viewer, roomserver.HistoryRequest{From: at, Limit: 3})
		if err != nil {
			d.Fatal(err)
		}
		for _, e := range page.Events {
			if !slices.Contains(d.got, e.PDU.ID()) && e.Pos > 0 {
				out = append(out, e.PDU.ID())
			}
		}
		if !page.More {
			slices.Reverse(out)
			return out
		}
		at = page.End
	}
}

// act does something at random: here at the end of the room, or far away on a
// fork of it.
func (a *agency) act(info *storage.RoomInfo, random *rand.Rand) {
	a.Helper()
	empty := ""
	near := []id.UserID{"@alice:test", "@bob:test"}[random.IntN(2)]
	far := []id.UserID{"@x:far", "@y:far"}[random.IntN(2)]
	recent := a.live(info, 0, 8)
	after := recent[random.IntN(len(recent))]
	n := random.IntN(1000)
	switch random.IntN(11) {
	case 0:
		_ = a.send(info, near, "m.room.topic", &empty, fmt.Sprintf(`{"topic":"%d"}`, n))
	case 1:
		a.forge(info, after, far, "m.room.topic", &empty, fmt.Sprintf(`{"topic":"far %d"}`, n))
	case 2:
		key := string(far)
		a.forge(info, after, far, "m.room.member", &key, fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, n))
	case 3:
		a.forge(info, after, far, "m.room.message", nil, fmt.Sprintf(`{"body":"far %d"}`, n))
	case 4:
		key := fmt.Sprint("k", random.IntN(3))
		a.forge(info, after, far, "org.example", &key, fmt.Sprintf(`{"n":%d}`, n))
	case 5:
		key := fmt.Sprint("k", random.IntN(3))
		_ = a.send(info, near, "org.example", &key, fmt.Sprintf(`{"n":%d}`, n))
	case 6:
		a.forge(info, after, far, "m.room.power_levels", &empty,
			fmt.Sprintf(`{"users_default":60,"state_default":30,"ban":%d,"kick":50}`, 40+random.IntN(20)))
	case 7:
		_ = a.rooms.Leave(a.Context(), roomserver.MemberRequest{Room: info.ID, Sender: "@bob:test", Target: "@bob:test"})
	case 8:
		a.join(info, "@bob:test")
	default:
		if err := a.send(info, "@alice:test", "m.room.message", nil, fmt.Sprintf(`{"body":"%d"}`, n)); err != nil {
			a.Fatal(err)
		}
	}
}

// Whatever happens to a room and whenever clients ask, what they are told adds
// up to its current state, and gives them every event once.
func TestWhatIsToldAddsUp(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		nodes := []*agency{newAgency(t, o)}
		if o.Postgres != "" { // a second node tells what the first one writes
			nodes = append(nodes, newAgency(t, o))
		}
		for seed := range uint64(12) {
			addUp(t, nodes, rand.New(rand.NewPCG(seed, 5)))
		}
	})
}

func addUp(t *testing.T, nodes []*agency, random *rand.Rand) {
	a := nodes[0]
	info := a.create("@alice:test")
	a.join(info, "@bob:test")
	for _, user := range []string{"@x:far", "@y:far"} {
		a.forge(info, a.live(info, 0, 1)[0], id.UserID(user), "m.room.member", &user, `{"membership":"join"}`)
	}
	var devices []*device
	for _, after := range []string{"", "state_after"} {
		for _, limit := range []int{2, 100} {
			filter := fmt.Sprintf(`{"room":{"rooms":["%s"],"timeline":{"limit":%d}}}`, info.ID, limit)
			for _, user := range []id.UserID{"@alice:test", "@bob:test"} {
				for _, n := range nodes {
					devices = append(devices, &device{agency: n, server: n.sync, user: user, filter: filter, after: after})
				}
				devices = append(devices, &device{agency: a, server: a.slow, user: user, filter: filter, after: after})
			}
		}
	}
	begun := make([]storage.Position, len(devices))
	for range 60 {
		a.act(info, random)
		for i, d := range devices {
			if random.IntN(4) != 0 {
				continue
			}
			d.follow(a)
			if d.since == "" {
				begun[i] = a.db.Applied()
			}
			if d.poll(info); begun[i] == a.db.Applied() {
				d.got = nil
			}
		}
	}
	a.join(info, "@bob:test") // who comes and goes, and misses what is said meanwhile
	want := a.current(info)
	for i, d := range devices {
		d.follow(a)
		if d.since == "" {
			begun[i] = a.db.Applied()
		}
		for rounds := 0; d.poll(info); rounds++ {
			if rounds > 20 {
				t.Fatal("there is always more to tell")
			}
		}
		checkState(t, d, want)
		if d.user == "@alice:test" {
			checkOnce(t, d, a.live(info, begun[i], 1000))
		}
	}
}

// checkState holds what a client knows to what is so. A key that the state has
// no more cannot be told of.
func checkState(t *testing.T, d *device, want map[event.Key]id.EventID) {
	t.Helper()
	for key, e := range want {
		if d.state[key] != e {
			t.Errorf("filter %s, state called %q: %v is %s to the client, want %s", d.filter, d.after, key, d.state[key], e)
		}
	}
}

func checkOnce(t *testing.T, d *device, live []*storage.Event) {
	t.Helper()
	times := map[id.EventID]int{}
	for _, e := range d.got {
		times[e]++
	}
	for _, e := range live {
		if times[e.PDU.ID()] != 1 {
			t.Errorf("filter %s, state called %q: %s %s came %d times", d.filter, d.after, e.PDU.Type(), e.PDU.ID(), times[e.PDU.ID()])
		}
	}
}
