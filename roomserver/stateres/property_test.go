package stateres_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"entente/roomserver/event"
)

var versions = []event.Version{"1", "2", "6", "8", "11", "12"}

var people = []string{"@alice:a.example", "@bob:a.example", "@carol:b.example", "@dave:c.example", "@erin:b.example"}

// inviteKey signs third-party invites.
var inviteKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// point is an event in a generated history and the state after it.
type point struct {
	nid   event.NID
	after state
}

// history is a room that grows at random.
type history struct {
	*room
	rng    *rand.Rand
	points []point
	clock  int64
	merges int
}

func newHistory(t testing.TB, version event.Version, seed uint64) *history {
	h := &history{room: newRoom(t, version), rng: rand.New(rand.NewPCG(seed, 1)), clock: 1000}
	alice := people[0]
	create := map[string]any{"room_version": string(version)}
	if !h.rules.ImplicitCreator {
		create["creator"] = alice
	}
	if h.rules.PrivilegedCreators && seed%2 == 0 {
		create["additional_creators"] = []string{people[1]}
	}
	s := state{}
	s = h.grow(s, draft{typ: "m.room.create", sender: alice, content: create})
	s = h.grow(s, member(alice, alice, "join"))
	if h.rng.IntN(8) > 0 {
		s = h.grow(s, draft{typ: "m.room.power_levels", sender: alice, content: h.levels(s)})
	}
	h.grow(s, draft{typ: "m.room.join_rules", sender: alice, content: map[string]any{"join_rule": "public"}})
	return h
}

// grow adds an event that must be allowed after the last point.
func (h *history) grow(s state, d draft) state {
	if n := len(h.points); n > 0 {
		d.prev = []event.NID{h.points[n-1].nid}
	}
	h.clock += 10
	d.ts = h.clock
	nid, after := h.send(s, d)
	h.points = append(h.points, point{nid, after})
	return after
}

func member(sender, target, membership string) draft {
	return draft{typ: "m.room.member", stateKey: target, sender: sender, content: map[string]any{"membership": membership}}
}

// levels is a content for power levels, as wild as the creator's rank allows.
func (h *history) levels(s state) map[string]any {
	users := map[string]any{}
	for i, p := range people {
		switch {
		case h.rules.PrivilegedCreators && i <= 1:
		case i == 0:
			users[p] = 100
		default:
			users[p] = []int{0, 0, 50, 100}[h.rng.IntN(4)]
		}
	}
	return map[string]any{
		"users": users, "state_default": []int{0, 50}[h.rng.IntN(2)], "invite": []int{0, 50}[h.rng.IntN(2)],
		"ban": 50, "kick": 50, "events": map[string]any{"m.room.topic": []int{0, 50}[h.rng.IntN(2)]},
	}
}

// random is some event that may or may not be allowed.
func (h *history) random(s state) draft {
	who, whom := people[h.rng.IntN(len(people))], people[h.rng.IntN(len(people))]
	switch h.rng.IntN(14) {
	case 0, 1:
		return draft{typ: "m.room.power_levels", sender: who, content: h.levels(s)}
	case 2:
		return member(who, whom, "ban")
	case 3:
		return member(who, whom, "leave")
	case 4:
		return member(who, who, "leave")
	case 5, 6, 7:
		return h.join(who)
	case 8:
		return member(who, whom, "invite")
	case 9:
		return h.joinRules(who)
	case 10:
		return draft{typ: "m.room.topic", sender: who, content: map[string]any{"topic": fmt.Sprint(h.clock)}}
	case 11:
		return draft{typ: "org.example.own", stateKey: who, sender: who, content: map[string]any{"n": h.clock}}
	case 12:
		public := base64.RawStdEncoding.EncodeToString(inviteKey.Public().(ed25519.PublicKey))
		return draft{typ: "m.room.third_party_invite", stateKey: "token" + fmt.Sprint(h.rng.IntN(2)), sender: who,
			content: map[string]any{"display_name": "x", "key_validity_url": "https://x.example", "public_key": public}}
	}
	return h.thirdParty(who, whom)
}

func (h *history) join(who string) draft {
	d := member(who, who, "join")
	if h.rules.RestrictedJoins && h.rng.IntN(3) == 0 {
		d.content["join_authorised_via_users_server"] = people[h.rng.IntN(len(people))]
	}
	return d
}

func (h *history) joinRules(who string) draft {
	rules := []string{"public", "invite"}
	if h.rules.Knocking {
		rules = append(rules, "knock")
	}
	if h.rules.RestrictedJoins {
		rules = append(rules, "restricted")
	}
	content := map[string]any{"join_rule": rules[h.rng.IntN(len(rules))]}
	if content["join_rule"] == "restricted" {
		content["allow"] = []any{map[string]any{"type": "m.room_membership", "room_id": "!other:a.example"}}
	}
	return draft{typ: "m.room.join_rules", sender: who, content: content}
}

// thirdParty is an invite that a third-party invite allows.
func (h *history) thirdParty(who, whom string) draft {
	signed := map[string]any{"mxid": whom, "token": "token" + fmt.Sprint(h.rng.IntN(2))}
	raw, err := json.Marshal(signed)
	if err != nil {
		h.t.Fatal(err)
	}
	sig := base64.RawStdEncoding.EncodeToString(ed25519.Sign(inviteKey, raw))
	signed["signatures"] = map[string]any{"x.example": map[string]any{"ed25519:0": sig}}
	d := member(who, whom, "invite")
	d.content["third_party_invite"] = map[string]any{"display_name": "x", "signed": signed}
	return d
}

// step adds one event after some points of the history, most often recent
// ones, resolving their states.
func (h *history) step() {
	parents := map[event.NID]state{}
	for range 1 + h.rng.IntN(3) {
		back := h.rng.IntN(min(len(h.points), 1+h.rng.IntN(12)))
		p := h.points[len(h.points)-1-back]
		parents[p.nid] = p.after
	}
	var prev []event.NID
	var states []state
	for nid, s := range parents {
		prev = append(prev, nid)
		states = append(states, s)
	}
	slices.Sort(prev)
	for i, nid := range prev {
		states[i] = parents[nid]
	}
	before := states[0]
	if len(states) > 1 {
		before = h.agree(states)
	}
	h.clock += int64(h.rng.IntN(20)) - 4
	for range 20 {
		d := h.random(before)
		d.prev, d.ts = prev, h.clock
		// Some events cite an older state, as peers with another view do.
		if h.rng.IntN(6) == 0 {
			d.auth = h.authFor(h.points[h.rng.IntN(len(h.points))].after, d)
		}
		if nid, after, ok := h.try(before, d); ok && h.citesSoundly(nid) {
			h.points = append(h.points, point{nid, after})
			return
		}
	}
}

// citesSoundly reports whether the event is allowed by its own auth events,
// without which it would have been dropped. One that is not stays as a
// rejected outlier.
func (h *history) citesSoundly(nid event.NID) bool {
	view := state{}
	for _, a := range h.events[nid].Auth {
		if h.events[a].Rejected {
			h.events[nid].Rejected = true
			return false
		}
		view[h.keys[a]] = a
	}
	if !h.allowed(h.events[nid].PDU, view) {
		h.events[nid].Rejected = true
		return false
	}
	return true
}

// agree resolves states and holds the answer to the oracle's.
func (h *history) agree(states []state) state {
	h.t.Helper()
	h.merges++
	want := h.naive(states...)
	got := h.forks(states...).resolve()
	if d := h.diff(want, got); d != "" {
		h.t.Fatalf("%d forks of %d events resolve differently:\n%s", len(states), len(h.events)-1, d)
	}
	if d := h.diff(want, h.forks(states...).below().resolve()); d != "" {
		h.t.Fatalf("leaving out what came later changes the resolution:\n%s", d)
	}
	return want
}

// damage makes states as a faulty or lying peer might give them: entries are
// missing, or older or newer than they should be.
func (h *history) damage(s state) state {
	out := make(state, len(s))
	for k, v := range s {
		if k.Type == "m.room.create" || h.rng.IntN(6) > 0 {
			out[k] = v
		}
	}
	for range h.rng.IntN(3) {
		nid := event.NID(1 + h.rng.IntN(len(h.events)-1))
		if !h.events[nid].Rejected && h.keys[nid].Type != "m.room.create" {
			out[h.keys[nid]] = nid
		}
	}
	return out
}

// rearrived is the same room on another server, where the events arrived in
// another order. The map leads to its numbers.
func (h *history) rearrived() (*room, map[event.NID]event.NID) {
	other := newRoom(h.t, h.rules.Version)
	other.roomID = h.roomID
	moved := map[event.NID]event.NID{}
	left := h.rng.Perm(len(h.events) - 1)
	for len(left) > 0 {
		var later []int
		for _, i := range left {
			e := h.events[i+1]
			var d draft
			ready := true
			for _, a := range e.Auth {
				ready = ready && moved[a] != 0
				d.auth = append(d.auth, moved[a])
			}
			// The oracle takes the first event for the create event.
			if !ready || len(moved) == 0 && i != 0 {
				later = append(later, i)
				continue
			}
			d.typ, d.stateKey, d.rejected = h.keys[i+1].Type, h.keys[i+1].StateKey, e.Rejected
			moved[e.NID] = other.store(e.PDU, d)
		}
		left = later
	}
	return other, moved
}

// TestSameAsTheSpecification grows rooms of every kind and compares each
// resolution with the specification's text, written out naively.
func TestSameAsTheSpecification(t *testing.T) {
	for _, v := range versions {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			seeds := uint64(40)
			if testing.Short() {
				seeds = 10
			}
			merges := 0
			for seed := range seeds {
				h := newHistory(t, v, seed)
				for range 40 {
					h.step()
				}
				// Events that turn out to be rejected later, on a state that
				// was completed, say.
				for range h.rng.IntN(4) {
					h.events[2+h.rng.IntN(len(h.events)-2)].Rejected = true
				}
				for range 12 {
					var states []state
					for range 2 + h.rng.IntN(2) {
						states = append(states, h.damage(h.points[h.rng.IntN(len(h.points))].after))
					}
					h.agree(states)
				}
				merges += h.merges
			}
			t.Logf("%d resolutions", merges)
		})
	}
}

// TestAnyArrivalOrder stores the same events in other orders, which changes
// their numbers and chains, and gives the forks in other orders.
func TestAnyArrivalOrder(t *testing.T) {
	for _, v := range versions {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(12) {
				h := newHistory(t, v, 100+seed)
				for range 40 {
					h.step()
				}
				for range 4 {
					other, moved := h.rearrived()
					var here, there []state
					for range 2 + h.rng.IntN(3) {
						s := h.points[h.rng.IntN(len(h.points))].after
						o := state{}
						for k, nid := range s {
							o[k] = moved[nid]
						}
						here, there = append(here, s), append([]state{o}, there...)
					}
					want := state{}
					for k, nid := range h.forks(here...).resolve() {
						want[k] = moved[nid]
					}
					if d := other.diff(want, other.forks(there...).resolve()); d != "" {
						t.Fatalf("seed %d: another order of arrival gives another state:\n%s", seed, d)
					}
				}
			}
		})
	}
}
