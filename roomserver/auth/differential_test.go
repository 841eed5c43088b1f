package auth_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"maunium.net/go/mautrix/id"
)

// comparison is one event judged twice by the same state.
type comparison struct {
	*generated
	ev     *event.PDU
	ours   error
	theirs error
}

// generated is a random room: its state and the library's view of it.
type generated struct {
	t       *testing.T
	random  *rand.Rand
	rules   *event.Rules
	room    id.RoomID
	create  *event.PDU
	state   map[event.Key]*event.PDU
	created int
}

var people = []string{creator, mod, alice, bob, guest}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func generate(t *testing.T, rules *event.Rules, seed uint64) *generated {
	g := &generated{t: t, random: rand.New(rand.NewPCG(seed, 11)), rules: rules, room: "!room:a.example", state: map[event.Key]*event.PDU{}}
	content := map[string]any{"room_version": string(rules.Version)}
	if !rules.ImplicitCreator {
		content["creator"] = pick(g.random, creator, creator, creator, creator, mod)
	}
	if g.chance(10) {
		content["m.federate"] = g.chance(50)
	}
	if g.chance(30) {
		content["additional_creators"] = []string{pick(g.random, people...)}
	}
	key := ""
	d := &event.Draft{Type: "m.room.create", StateKey: &key, Sender: creator, Content: encode(t, content), Depth: 1}
	if !rules.RoomIDIsCreateHash {
		d.Room = g.room
	}
	g.create = g.build(d)
	g.room = g.create.RoomID()
	g.state[event.Key{Type: "m.room.create"}] = g.create
	if g.chance(85) {
		g.set("m.room.power_levels", "", creator, g.levels())
	}
	if g.chance(90) {
		rule := pick(g.random, "public", "invite", "knock", "restricted", "knock_restricted", "private")
		g.set("m.room.join_rules", "", creator, map[string]any{"join_rule": rule})
	}
	for _, user := range people {
		if m := pick(g.random, "", "join", "join", "join", "join", "invite", "leave", "ban", "knock"); m != "" {
			g.set("m.room.member", user, user, map[string]any{"membership": m})
		}
	}
	published := map[string]string{"public_key": publicKey(identity("is.example"), base64.RawStdEncoding)}
	content = map[string]any{"display_name": "x", "key_validity_url": "https://is.example/", "public_key": published["public_key"]}
	if g.chance(80) {
		content["public_keys"] = []any{published}
	}
	g.set("m.room.third_party_invite", "token", pick(g.random, people...), content)
	return g
}

func (g *generated) chance(percent int) bool { return g.random.IntN(100) < percent }

func (g *generated) build(d *event.Draft) *event.PDU {
	g.t.Helper()
	g.created++
	server := event.ServerOf(d.Sender)
	if g.rules.EventIDInBody {
		d.EventID = id.EventID(fmt.Sprintf("$%d:%s", g.created, server))
	}
	d.Timestamp = int64(g.created)
	ev, err := d.Build(g.rules, identity(server))
	if err != nil {
		g.t.Fatalf("%v: %+v %s", err, d, d.Content)
	}
	return ev
}

func (g *generated) set(typ, key, sender string, content map[string]any) {
	g.state[event.Key{Type: typ, StateKey: key}] = g.build(g.draft(typ, &key, sender, content))
}

func (g *generated) draft(typ string, key *string, sender string, content map[string]any) *event.Draft {
	return &event.Draft{Room: g.room, Type: typ, StateKey: key, Sender: id.UserID(sender), Content: encode(g.t, content), Depth: 2}
}

// level is a random level, spelled as the room version admits.
func (g *generated) level() any {
	n := pick(g.random, 0, 0, 10, 50, 50, 75, 100)
	if g.rules.IntegerPowerLevels || g.chance(80) {
		return n
	}
	if !g.rules.StrictCanonicalJSON && g.chance(50) {
		return float64(n) + 0.5
	}
	return " 0" + strconv.Itoa(n)
}

// levels are random power levels.
func (g *generated) levels() map[string]any {
	content := map[string]any{}
	for _, name := range []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"} {
		if g.chance(20) {
			content[name] = g.level()
		}
	}
	for _, p := range []struct {
		name string
		keys []string
	}{
		{"users", people},
		{"events", []string{"m.room.message", "m.room.topic", "m.room.redaction", "m.room.power_levels"}},
		{"notifications", []string{"room", "other"}},
	} {
		levels := map[string]any{}
		for _, key := range p.keys {
			creators := g.rules.PrivilegedCreators && slices.Contains(auth.Creators(g.create), id.UserID(key))
			if g.chance(50) && !creators {
				levels[key] = g.level()
			}
		}
		content[p.name] = levels
	}
	return content
}

// changedLevels are the current power levels with a change or two.
func (g *generated) changedLevels() map[string]any {
	current := g.state[event.Key{Type: "m.room.power_levels"}]
	if current == nil {
		return g.levels()
	}
	content := sorted(g.t, string(current.Content())).(map[string]any)
	for range 1 + g.random.IntN(2) {
		if name := pick(g.random, "ban", "invite", "users_default", "users_default", "state_default", "", "", "", ""); name != "" {
			g.alter(content, name)
			continue
		}
		property := pick(g.random, "users", "events", "notifications")
		keys := map[string][]string{"users": people, "events": {"m.room.topic", "new"}, "notifications": {"room"}}[property]
		g.alter(content[property].(map[string]any), pick(g.random, keys...))
	}
	if g.chance(5) {
		content["users"].(map[string]any)[pick(g.random, "nobody", creator)] = 0
	}
	if g.chance(15) {
		content["kick"] = pick[any](g.random, "fifty", nil, nil, "50")
	}
	return content
}

func (g *generated) alter(object map[string]any, key string) {
	if g.chance(30) {
		delete(object, key)
	} else {
		object[key] = g.level()
	}
}

// event is a random event, such as might follow.
func (g *generated) event() *event.PDU {
	sender := pick(g.random, people...)
	empty := ""
	switch g.random.IntN(8) {
	case 0:
		return g.build(g.draft("m.room.message", nil, sender, map[string]any{}))
	case 1:
		key := pick(g.random, "", sender, alice)
		return g.build(g.draft(pick(g.random, "m.room.topic", "m.room.third_party_invite"), &key, sender, map[string]any{}))
	case 2:
		d := g.draft("m.room.redaction", nil, sender, map[string]any{})
		d.Redacts = pick[id.EventID](g.random, "$x:a.example", "$x:b.example")
		return g.build(d)
	case 3, 4:
		sender = pick(g.random, creator, creator, creator, sender)
		return g.build(g.draft("m.room.power_levels", &empty, sender, g.changedLevels()))
	case 5:
		key := event.ServerOf(id.UserID(pick(g.random, sender, sender, alice)))
		return g.build(g.draft("m.room.aliases", &key, sender, map[string]any{}))
	}
	return g.memberEvent(sender)
}

func (g *generated) memberEvent(sender string) *event.PDU {
	sender = pick(g.random, sender, sender, creator)
	target := pick(g.random, append(slices.Clone(people), sender, sender, sender)...)
	content := map[string]any{"membership": pick(g.random, "join", "join", "invite", "leave", "ban", "knock", "dance")}
	if g.chance(10) { // a ban is often taken back
		target, content["membership"] = alice, "leave"
		g.set("m.room.member", alice, mod, map[string]any{"membership": "ban"})
	}
	if g.chance(30) {
		content["join_authorised_via_users_server"] = pick(g.random, people...)
	}
	if g.chance(10) {
		signer := identity(pick(g.random, "is.example", "is.example", "other.example"))
		object := fmt.Sprintf(`{"mxid":%q,"token":%q}`, pick(g.random, target, target, mod), pick(g.random, "token", "token", "none"))
		content["membership"] = "invite"
		content["third_party_invite"] = map[string]any{"display_name": "x", "signed": sorted(g.t, signed(g.t, object, signer))}
	}
	d := g.draft("m.room.member", &target, sender, content)
	if g.chance(15) {
		d.Prev = []event.Ref{g.create.Ref()}
	}
	return g.build(d)
}

// compare judges the event by our rules and by the library's.
func (g *generated) compare(ev *event.PDU) *comparison {
	c := &comparison{generated: g, ev: ev}
	c.ours = auth.Check(ev, func(k event.Key) (*event.PDU, error) { return g.state[k], nil })
	version := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(g.rules.Version))
	theirs := func(p *event.PDU) gomatrixserverlib.PDU {
		read, err := version.NewEventFromTrustedJSON(p.JSON(), false)
		if err != nil {
			g.t.Fatal(err)
		}
		return read
	}
	var list []gomatrixserverlib.PDU
	for _, k := range auth.Reads(ev) {
		if p := g.state[k]; p != nil {
			list = append(list, theirs(p))
		}
	}
	provider, err := gomatrixserverlib.NewAuthEvents(list)
	if err != nil {
		g.t.Fatal(err)
	}
	c.theirs = gomatrixserverlib.Allowed(theirs(ev), provider, func(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
		return spec.NewUserID(string(sender), true)
	})
	return c
}

func (c *comparison) String() string {
	var state strings.Builder
	for _, ev := range c.state {
		fmt.Fprintf(&state, "\n\t%s", ev.JSON())
	}
	return fmt.Sprintf("room version %s\nevent: %s\nours: %v\ntheirs: %v\nstate: %s", c.rules.Version, c.ev.JSON(), c.ours, c.theirs, state.String())
}

// Random events in random rooms get the same verdict from the library, unless
// a known deviation of the library explains the difference.
func TestAgainstTheLibrary(t *testing.T) {
	rooms := 250
	if testing.Short() {
		rooms = 20
	}
	found := map[string]int{}
	verdicts, allowed := 0, 0
	for _, rules := range allVersions(t) {
		for seed := range uint64(rooms) {
			g := generate(t, rules, seed)
			for range 10 {
				c := g.compare(g.event())
				verdicts++
				if c.ours == nil {
					allowed++
				}
				if (c.ours == nil) == (c.theirs == nil) {
					continue
				}
				name := c.explanation()
				if name == "" {
					t.Fatalf("unexplained difference\n%s", c)
				}
				found[name]++
			}
		}
	}
	t.Logf("%d verdicts, %d of them allow; differences: %v", verdicts, allowed, found)
	for _, d := range deviations {
		if found[d.name] == 0 && !testing.Short() {
			t.Errorf("the deviation %q never happened", d.name)
		}
	}
}
