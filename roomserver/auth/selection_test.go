package auth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// shown lists keys as "type|state key", the members without their type.
func shown(keys []event.Key) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, strings.TrimPrefix(strings.TrimPrefix(k.Type, "m.room.")+"|"+k.StateKey, "member|"))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func TestNeeded(t *testing.T) {
	const common = "create| power_levels|"
	for _, c := range []struct {
		name string
		ev   draft
		want string
		// restricted is wanted instead from version 8 on.
		restricted string
	}{
		{"A message needs its sender.", message("m.room.message", alice), alice + " " + common, ""},
		{"State needs its sender.", state("org.example", bob, alice, `{}`), alice + " " + common, ""},
		{"Aliases are no exception.", state("m.room.aliases", "b.example", alice, `{}`), alice + " " + common, ""},
		{"A join needs the join rule.", member(alice, alice, "join"), alice + " create| join_rules| power_levels|", ""},
		{"A knock needs the join rule.", member(alice, alice, "knock"), alice + " create| join_rules| power_levels|", ""},
		{"An invite needs the target and the join rule.", member(alice, bob, "invite"), alice + " " + bob + " create| join_rules| power_levels|", ""},
		{"Leaving needs no join rule.", member(alice, alice, "leave"), alice + " " + common, ""},
		{"A ban needs the target.", member(alice, bob, "ban"), alice + " " + bob + " " + common, ""},
		{"A third-party invite needs its token.",
			state("m.room.member", bob, alice, `{"membership":"invite","third_party_invite":{"signed":{"token":"t"}}}`),
			alice + " " + bob + " create| join_rules| power_levels| third_party_invite|t", ""},
		{"Only an invite needs a token.",
			state("m.room.member", alice, alice, `{"membership":"join","third_party_invite":{"signed":{"token":"t"}}}`),
			alice + " create| join_rules| power_levels|", ""},
		{"A restricted join needs who vouches.",
			state("m.room.member", alice, alice, `{"membership":"join","join_authorised_via_users_server":"`+bob+`"}`),
			alice + " create| join_rules| power_levels|", alice + " " + bob + " create| join_rules| power_levels|"},
		{"Only a join needs who vouches.",
			state("m.room.member", alice, alice, `{"membership":"leave","join_authorised_via_users_server":"`+bob+`"}`),
			alice + " " + common, ""},
		{"A create event needs nothing.", state("m.room.create", "", alice, `{}`), "", ""},
	} {
		for _, rules := range allVersions(t) {
			want := c.want
			if c.restricted != "" && rules.RestrictedJoins {
				want = c.restricted
			}
			r := emptyRoom(t, rules, `{}`)
			ev := r.make(c.ev)
			if got := shown(auth.Reads(ev)); got != want {
				t.Errorf("%s Room version %s reads %q, want %q", c.name, rules.Version, got, want)
			}
			if rules.RoomIDIsCreateHash {
				want = strings.Replace(want, "create| ", "", 1)
			}
			key, _ := ev.StateKey()
			if got := shown(auth.Needed(rules, ev.Type(), key, ev.Sender(), ev.Content())); got != want {
				t.Errorf("%s Room version %s needs %q, want %q", c.name, rules.Version, got, want)
			}
		}
	}
}

func TestCheckAuthEvents(t *testing.T) {
	const createKey, levelsKey, rulesKey, own = "m.room.create|", "m.room.power_levels|", "m.room.join_rules|", "m.room.member|" + alice
	for _, c := range []struct {
		name string
		keys []string // beside the create event, which versions before 12 get
		// change makes something else of the list.
		change   func(r *room, list []*event.PDU) []*event.PDU
		rejected string // the type that this server rejected
		want     string
	}{
		{name: "What is selected is fine.", keys: []string{levelsKey, own}, want: "ok"},
		{name: "Less than what is selected is fine.", want: "ok"},
		{name: "Nothing is named twice.", keys: []string{levelsKey, own, levelsKey}, want: "2.1 2.1 2.1 2.1 2.1 2.1 2.1 3.1"},
		{name: "Nothing else is named.", keys: []string{levelsKey, own, rulesKey}, want: "2.2 2.2 2.2 2.2 2.2 2.2 2.2 3.2"},
		{name: "Nobody else is named.", keys: []string{levelsKey, "m.room.member|" + bob}, want: "2.2 2.2 2.2 2.2 2.2 2.2 2.2 3.2"},
		{name: "The create event is not named in version 12.", keys: []string{levelsKey, own}, want: "ok ok ok ok ok ok ok 3.2",
			change: func(r *room, list []*event.PDU) []*event.PDU {
				if !r.rules.RoomIDIsCreateHash {
					return list
				}
				return append(list, r.state[event.Key{Type: "m.room.create"}])
			}},
		{name: "A message is no auth event.", want: "2.2 2.2 2.2 2.2 2.2 2.2 2.2 3.2",
			change: func(r *room, list []*event.PDU) []*event.PDU {
				return append(list, r.make(message("m.room.power_levels", creator)))
			}},
		{name: "Nothing rejected is named.", keys: []string{levelsKey, own}, rejected: "m.room.power_levels", want: "2.3 2.3 2.3 2.3 2.3 2.3 2.3 3.3"},
		{name: "Earlier versions name the create event.", keys: []string{levelsKey, own}, want: "2.4 2.4 2.4 2.4 2.4 2.4 2.4 ok",
			change: func(r *room, list []*event.PDU) []*event.PDU {
				return slices.DeleteFunc(list, func(ev *event.PDU) bool { return ev.Type() == "m.room.create" })
			}},
		{name: "Nothing of another room is named.", keys: []string{own}, want: "2.5 2.5 2.5 2.5 2.5 2.5 2.5 3.4",
			change: func(r *room, list []*event.PDU) []*event.PDU {
				return append(list, r.make(powerLevels(creator, `{}`).in("!other:a.example")))
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, rules := range allVersions(t) {
				r := newRoom(t, rules, "invite")
				var list []*event.PDU
				if !rules.RoomIDIsCreateHash {
					list = append(list, r.state[event.Key{Type: "m.room.create"}])
				}
				for _, k := range c.keys {
					typ, key, _ := strings.Cut(k, "|")
					list = append(list, r.state[event.Key{Type: typ, StateKey: key}])
				}
				if c.change != nil {
					list = c.change(r, list)
				}
				err := auth.CheckAuthEvents(r.make(message("m.room.message", alice)), list, func(ev *event.PDU) bool { return ev.Type() == c.rejected })
				if got, want := ruleOf(t, err), expected(t, c.want, rules); got != want {
					t.Errorf("room version %s: got %s (%v), want %s", rules.Version, got, err, want)
				}
			}
		})
	}
}

func TestCreateEventHasNoAuthEvents(t *testing.T) {
	r := newRoom(t, rulesOf(t, "11"), "invite")
	if err := auth.CheckAuthEvents(r.make(r.createDraft(`{}`)), nil, nil); err != nil {
		t.Error(err)
	}
}

// Check looks up nothing but what Reads announces, and passes errors on.
func TestLookups(t *testing.T) {
	broken := errors.New("the database is away")
	events := []draft{
		message("m.room.message", alice), powerLevels(creator, `{}`), state("m.room.third_party_invite", "t", alice, `{}`),
		member(stranger, stranger, "join"), member(alice, stranger, "invite"), member(mod, alice, "leave"), member(mod, alice, "ban"), member(stranger, stranger, "knock"),
		state("m.room.member", stranger, stranger, `{"membership":"join","join_authorised_via_users_server":"`+alice+`"}`),
		state("m.room.member", stranger, alice, `{"membership":"invite","third_party_invite":{"signed":{"mxid":"`+stranger+`","token":"t"}}}`),
	}
	for _, rules := range allVersions(t) {
		for _, joinRule := range []string{"invite", "knock_restricted"} {
			r := newRoom(t, rules, joinRule)
			for _, d := range events {
				ev := r.make(d)
				announced := auth.Reads(ev)
				var read []event.Key
				first := auth.Check(ev, func(k event.Key) (*event.PDU, error) {
					if !slices.Contains(announced, k) {
						t.Errorf("room version %s: checking a %s reads %v", rules.Version, ev.Type(), k)
					}
					if !slices.Contains(read, k) {
						read = append(read, k)
					}
					return r.lookup(k)
				})
				ruleOf(t, first)
				for _, failing := range read {
					err := auth.Check(ev, func(k event.Key) (*event.PDU, error) {
						if k == failing {
							return nil, broken
						}
						return r.lookup(k)
					})
					if err != broken {
						t.Errorf("room version %s: a failure to read %v gives %v", rules.Version, failing, err)
					}
				}
			}
		}
	}
}

func TestNeededAllocatesOnce(t *testing.T) {
	rules := rulesOf(t, "12")
	content := []byte(`{"membership":"join"}`)
	if n := testing.AllocsPerRun(100, func() {
		auth.Needed(rules, "m.room.member", alice, id.UserID(alice), content)
	}); n > 1 {
		t.Errorf("%.0f allocations, want 1", n)
	}
}
