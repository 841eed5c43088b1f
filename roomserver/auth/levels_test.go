package auth_test

import (
	"errors"
	"math"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// parse reads power levels with the content in a room of the version.
func parse(t testing.TB, rules *event.Rules, content string) (*auth.PowerLevels, error) {
	t.Helper()
	r := emptyRoom(t, rules, `{}`)
	return auth.ParsePowerLevels(r.state[event.Key{Type: "m.room.create"}], r.make(powerLevels(creator, content)))
}

func mustParse(t testing.TB, rules *event.Rules, content string) *auth.PowerLevels {
	t.Helper()
	p, err := parse(t, rules, content)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFormOfPowerLevels(t *testing.T) {
	first := func(content string) func(*room) draft { return fixed(powerLevels(creator, content)) }
	bare := func(r *room) { r.remove("m.room.power_levels") }
	const scalar, object, users = "ok ok ok ok ok 9.1 9.1 10.1", "ok ok ok ok ok 9.2 9.2 10.2", "10.1 10.1 9.1 9.1 9.1 9.3 9.3 10.3"
	runCases(t, []ruleCase{
		{name: "Power levels may be empty.", setup: bare, event: first(`{}`), want: "ok"},
		{name: "Other properties may be anything.", setup: bare, event: first(`{"historical":"x","invites":{}}`), want: "ok"},
		{name: "Strings are integers until version 9.", setup: bare, event: first(`{"ban":" +0050 "}`), want: scalar},
		{name: "Strings that are no integers count as absent until version 9.", setup: bare, event: first(`{"kick":"fifty"}`), want: scalar},
		{name: "Null is no integer.", setup: bare, event: first(`{"users_default":null}`), want: scalar},
		{name: "Booleans are no integers.", setup: bare, event: first(`{"redact":true}`), want: scalar},
		{name: "Fractions are cut off where canonical JSON lets them in.", setup: bare, event: first(`{"invite":50.5}`), want: scalar},
		{name: "Events must be an object.", setup: bare, event: first(`{"events":[]}`), want: object},
		{name: "Levels of events must be integers.", setup: bare, event: first(`{"events":{"m.room.name":"50"}}`), want: object},
		{name: "Notifications must be an object.", setup: bare, event: first(`{"notifications":"none"}`), want: object},
		{name: "Levels of notifications must be integers.", setup: bare, event: first(`{"notifications":{"room":{}}}`), want: object},
		{name: "Users must be an object.", setup: bare, event: first(`{"users":[]}`), want: users},
		{name: "Users cannot be null.", setup: bare, event: first(`{"users":null}`), want: users},
		{name: "Users must be user IDs.", setup: bare, event: first(`{"users":{"alice":50}}`), want: users},
		{name: "A user ID has a server.", setup: bare, event: first(`{"users":{"@alice":50}}`), want: users},
		{name: "Levels of users may be strings until version 9.", setup: bare, event: first(`{"users":{"` + alice + `":"50"}}`), want: "ok ok ok ok ok 9.3 9.3 10.3"},
		{name: "Levels of users must be integers.", setup: bare, event: first(`{"users":{"` + alice + `":"fifty"}}`), want: users},
		{name: "Underscores are not for integers.", setup: bare, event: first(`{"users":{"` + alice + `":"5_0"}}`), want: users},
		{name: "Fractions are not for strings.", setup: bare, event: first(`{"users":{"` + alice + `":"50.5"}}`), want: users},
		{name: "Levels beyond a double are refused.", setup: bare, event: first(`{"ban":1e400}`), want: "10.1 10.1 9.1 9.1 9.1 9.1 9.1 10.1"},
	})
}

func TestChangesOfPowerLevels(t *testing.T) {
	const second = "@second:a.example"
	// The moderator, who has power 50, may set power levels.
	current := func(r *room) {
		r.set(powerLevels(creator, `{"ban":60,"kick":50,
			"events":{"m.room.power_levels":50,"low":10,"secret":75},
			"notifications":{"low":10,"room":75},
			"users":{"`+mod+`":50,"`+second+`":50,"`+alice+`":10,"`+bob+`":75}}`))
	}
	const (
		base    = `"ban":60,"kick":50,`
		events  = `"events":{"m.room.power_levels":50,"low":10,"secret":75},`
		notify  = `"notifications":{"low":10,"room":75},`
		members = `"users":{"` + mod + `":50,"` + second + `":50,"` + alice + `":10,"` + bob + `":75}`
	)
	change := func(content string) func(*room) draft { return fixed(powerLevels(mod, content)) }
	runCases(t, []ruleCase{
		{name: "Nothing changes.", setup: current, event: change(`{` + base + events + notify + members + `}`), want: "ok"},
		{name: "The same level as a string is no change.", setup: current, want: "ok ok ok ok ok 9.1 9.1 10.1",
			event: change(`{"ban":"60","kick":50,` + events + notify + members + `}`)},
		{name: "A level above one's own is not changed.", setup: current, want: "10.3.1 10.3.1 9.3.1 9.3.1 9.3.1 9.5.1 9.5.1 10.6.1",
			event: change(`{"ban":50,"kick":50,` + events + notify + members + `}`)},
		{name: "A level above one's own is not removed.", setup: current, want: "10.3.1 10.3.1 9.3.1 9.3.1 9.3.1 9.5.1 9.5.1 10.6.1",
			event: change(`{"kick":50,` + events + notify + members + `}`)},
		{name: "A level is not raised above one's own.", setup: current, want: "10.3.2 10.3.2 9.3.2 9.3.2 9.3.2 9.5.2 9.5.2 10.6.2",
			event: change(`{"ban":60,"kick":51,` + events + notify + members + `}`)},
		{name: "A level above one's own is not added.", setup: current, want: "10.3.2 10.3.2 9.3.2 9.3.2 9.3.2 9.5.2 9.5.2 10.6.2",
			event: change(`{"redact":51,` + base + events + notify + members + `}`)},
		{name: "Each named level counts.", setup: current, want: "10.3.2 10.3.2 9.3.2 9.3.2 9.3.2 9.5.2 9.5.2 10.6.2",
			event: change(`{"users_default":51,` + base + events + notify + members + `}`)},
		{name: "Levels up to one's own are changed, added and removed.", setup: current, want: "ok",
			event: change(`{"ban":60,"invite":50,"redact":0,` + events + notify + members + `}`)},
		{name: "An event level above one's own is not changed.", setup: current, want: "10.4.1 10.4.1 9.4.1 9.4.1 9.4.1 9.6.1 9.6.1 10.7.1",
			event: change(`{` + base + `"events":{"m.room.power_levels":50,"low":10,"secret":50},` + notify + members + `}`)},
		{name: "An event level above one's own is not removed.", setup: current, want: "10.4.1 10.4.1 9.4.1 9.4.1 9.4.1 9.6.1 9.6.1 10.7.1",
			event: change(`{` + base + `"events":{"m.room.power_levels":50,"low":10},` + notify + members + `}`)},
		{name: "An event level is not raised above one's own.", setup: current, want: "10.5.1 10.5.1 9.5.1 9.5.1 9.5.1 9.7.1 9.7.1 10.8.1",
			event: change(`{` + base + `"events":{"m.room.power_levels":50,"low":51,"secret":75},` + notify + members + `}`)},
		{name: "An event level above one's own is not added.", setup: current, want: "10.5.1 10.5.1 9.5.1 9.5.1 9.5.1 9.7.1 9.7.1 10.8.1",
			event: change(`{` + base + `"events":{"m.room.power_levels":50,"low":10,"new":51,"secret":75},` + notify + members + `}`)},
		{name: "Event levels up to one's own are changed, added and removed.", setup: current, want: "ok",
			event: change(`{` + base + `"events":{"m.room.power_levels":40,"a":50,"z":50,"secret":75},` + notify + members + `}`)},
		{name: "A notification level above one's own is not changed.", setup: current, want: "ok ok 9.4.1 9.4.1 9.4.1 9.6.1 9.6.1 10.7.1",
			event: change(`{` + base + events + `"notifications":{"low":10,"room":50},` + members + `}`)},
		{name: "A notification level above one's own is not removed.", setup: current, want: "ok ok 9.4.1 9.4.1 9.4.1 9.6.1 9.6.1 10.7.1",
			event: change(`{` + base + events + `"notifications":{"low":10},` + members + `}`)},
		{name: "A notification level above one's own is not added.", setup: current, want: "ok ok 9.5.1 9.5.1 9.5.1 9.7.1 9.7.1 10.8.1",
			event: change(`{` + base + events + `"notifications":{"low":10,"new":51,"room":75},` + members + `}`)},
		{name: "A notification level equal to one's own is changed.", setup: current, want: "ok",
			event: change(`{` + base + events + `"notifications":{"low":50,"room":75},` + members + `}`)},
		{name: "An equal is not demoted.", setup: current, want: "10.6.1 10.6.1 9.6.1 9.6.1 9.6.1 9.8.1 9.8.1 10.9.1",
			event: change(`{` + base + events + notify + `"users":{"` + mod + `":50,"` + second + `":49,"` + alice + `":10,"` + bob + `":75}}`)},
		{name: "A superior is not removed.", setup: current, want: "10.6.1 10.6.1 9.6.1 9.6.1 9.6.1 9.8.1 9.8.1 10.9.1",
			event: change(`{` + base + events + notify + `"users":{"` + mod + `":50,"` + second + `":50,"` + alice + `":10}}`)},
		{name: "Nobody is promoted above oneself.", setup: current, want: "10.7.1 10.7.1 9.7.1 9.7.1 9.7.1 9.9.1 9.9.1 10.10.1",
			event: change(`{` + base + events + notify + `"users":{"` + mod + `":50,"` + second + `":50,"` + alice + `":51,"` + bob + `":75}}`)},
		{name: "Nobody is added above oneself.", setup: current, want: "10.7.1 10.7.1 9.7.1 9.7.1 9.7.1 9.9.1 9.9.1 10.10.1",
			event: change(`{` + base + events + notify + `"users":{"` + mod + `":50,"` + second + `":50,"` + alice + `":10,"` + bob + `":75,"` + guest + `":51}}`)},
		{name: "Nobody promotes oneself.", setup: current, want: "10.7.1 10.7.1 9.7.1 9.7.1 9.7.1 9.9.1 9.9.1 10.10.1",
			event: change(`{` + base + events + notify + `"users":{"` + mod + `":51,"` + second + `":50,"` + alice + `":10,"` + bob + `":75}}`)},
		{name: "One demotes oneself.", setup: current, want: "ok",
			event: change(`{` + base + events + notify + `"users":{"` + second + `":50,"` + alice + `":10,"` + bob + `":75}}`)},
		{name: "An inferior is promoted to one's own level.", setup: current, want: "ok",
			event: change(`{` + base + events + notify + `"users":{"` + mod + `":50,"` + second + `":50,"` + alice + `":50,"` + bob + `":75}}`)},
	})
}

func TestDefaultLevels(t *testing.T) {
	for _, rules := range allVersions(t) {
		p := mustParse(t, rules, `{}`)
		for name, c := range map[string]struct{ got, want int64 }{
			"ban": {p.BanLevel(), 50}, "kick": {p.KickLevel(), 50}, "redact": {p.RedactLevel(), 50}, "invite": {p.InviteLevel(), 0},
			"state": {p.EventLevel("m.room.name", true), 50}, "message": {p.EventLevel("m.room.message", false), 0},
			"room": {p.NotificationLevel("room"), 50}, "user": {p.UserLevel(alice), 0},
		} {
			if c.got != c.want {
				t.Errorf("room version %s: %s is %d, want %d", rules.Version, name, c.got, c.want)
			}
		}
	}
}

func TestCreatorsLevel(t *testing.T) {
	for _, rules := range allVersions(t) {
		r := emptyRoom(t, rules, `{"additional_creators":["`+alice+`"]}`)
		create := r.state[event.Key{Type: "m.room.create"}]
		without, err := auth.ParsePowerLevels(create, nil)
		if err != nil {
			t.Fatal(err)
		}
		with, err := auth.ParsePowerLevels(create, r.make(powerLevels(creator, `{"users_default":7}`)))
		if err != nil {
			t.Fatal(err)
		}
		want := [4]int64{100, 0, 7, 7}
		if rules.PrivilegedCreators {
			want = [4]int64{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
		}
		if got := [4]int64{without.UserLevel(creator), without.UserLevel(alice), with.UserLevel(creator), with.UserLevel(alice)}; got != want {
			t.Errorf("room version %s: creators' levels are %v, want %v", rules.Version, got, want)
		}
		if got := without.UserLevel(bob); got != 0 {
			t.Errorf("room version %s: somebody's level is %d", rules.Version, got)
		}
		creators := 1
		if rules.PrivilegedCreators {
			creators = 2
		}
		if got := auth.Creators(create); len(got) != creators || got[0] != creator {
			t.Errorf("room version %s: creators are %v", rules.Version, got)
		}
	}
}

func TestOldSpellingsOfLevels(t *testing.T) {
	for spelling, want := range map[string]int64{
		`50`: 50, `-50`: -50, `"50"`: 50, `"+50"`: 50, `"-50"`: -50, `" 0050\t"`: 50, `"\u00a050"`: 50,
		`50.57`: 50, `-50.57`: -50, `5.114698E4`: 51146, `5e1`: 50, `1e300`: math.MaxInt64, `-1e300`: math.MinInt64,
		`"99999999999999999999"`: math.MaxInt64, `99999999999999999999`: math.MaxInt64,
		`"fifty"`: 50, `"0x10"`: 50, `""`: 50, `null`: 50, `[]`: 50, // the default
	} {
		if got := mustParse(t, rulesOf(t, "1"), `{"ban":`+spelling+`}`).BanLevel(); got != want {
			t.Errorf("%s is %d, want %d", spelling, got, want)
		}
	}
}

func TestPowers(t *testing.T) {
	p := mustParse(t, rulesOf(t, "11"), `{"invite":50,"notifications":{"room":60},"users":{"`+mod+`":50,"`+bob+`":60},"events":{"x":55}}`)
	for name, c := range map[string]struct{ got, want bool }{
		"inviting needs the level":          {p.CanInvite(mod), true},
		"inviting without the level":        {p.CanInvite(alice), false},
		"notifying needs the level":         {p.CanNotifyRoom(bob), true},
		"notifying without the level":       {p.CanNotifyRoom(mod), false},
		"sending needs the level":           {p.CanSend(bob, "x", false), true},
		"sending without the level":         {p.CanSend(mod, "x", false), false},
		"state by default":                  {p.CanSend(mod, "y", true), true},
		"state without the level":           {p.CanSend(alice, "y", true), false},
		"redacting needs the level":         {p.CanRedact(mod, "@x:z.example"), true},
		"redacting one's own server":        {p.CanRedact(alice, "@x:b.example"), true},
		"redacting another without a level": {p.CanRedact(alice, "@x:z.example"), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %t", name, c.got)
		}
	}
}

// Levels are found whatever the order of their keys, among many.
func TestManyLevels(t *testing.T) {
	content := `{"users":{"@z:a.example":1,"@a:a.example":2,"@\"q\":a.example":3,"@é:a.example":4,"@m:a.example":5}}`
	p := mustParse(t, rulesOf(t, "11"), content)
	for user, want := range map[id.UserID]int64{
		"@z:a.example": 1, "@a:a.example": 2, `@"q":a.example`: 3, "@é:a.example": 4, "@m:a.example": 5, "@b:a.example": 0, "@zz:a.example": 0,
	} {
		if got := p.UserLevel(user); got != want {
			t.Errorf("%s has power %d, want %d", user, got, want)
		}
	}
}

func TestLevelsAreKeptForTheirEvents(t *testing.T) {
	r := newRoom(t, rulesOf(t, "11"), "invite")
	create, levels := r.state[event.Key{Type: "m.room.create"}], r.state[event.Key{Type: "m.room.power_levels"}]
	p, err := auth.ParsePowerLevels(create, levels)
	if err != nil {
		t.Fatal(err)
	}
	again, err := event.Trusted(r.rules, levels.ID(), levels.JSON())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		create, levels *event.PDU
		want           bool
	}{
		"the same":             {create, levels, true},
		"read again":           {create, again, true},
		"other power levels":   {create, r.make(powerLevels(creator, `{}`)), false},
		"no power levels":      {create, nil, false},
		"another create event": {r.make(r.createDraft(`{}`)), levels, false},
	} {
		if got := p.Of(c.create, c.levels); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// A Checker notices that the state's power levels changed.
func TestCheckerFollowsTheState(t *testing.T) {
	r := newRoom(t, rulesOf(t, "11"), "invite")
	var c auth.Checker
	topic := r.make(state("m.room.topic", "", alice, `{}`))
	if got := ruleOf(t, c.Check(topic, r.lookup)); got != "7" {
		t.Errorf("before: %s", got)
	}
	r.set(powerLevels(creator, `{"users":{"`+alice+`":50}}`))
	if got := ruleOf(t, c.Check(topic, r.lookup)); got != "ok" {
		t.Errorf("after: %s", got)
	}
	r.remove("m.room.power_levels")
	if got := ruleOf(t, c.Check(topic, r.lookup)); got != "7" {
		t.Errorf("without: %s", got)
	}
}

// Malformed power levels in the state, which should never have been accepted,
// refuse whatever depends on them.
func TestMalformedLevelsInTheState(t *testing.T) {
	r := newRoom(t, rulesOf(t, "12"), "invite")
	r.set(powerLevels(creator, `{"ban":"50"}`))
	err := auth.Check(r.make(message("m.room.message", alice)), r.lookup)
	if got := ruleOf(t, err); got != "10.1" {
		t.Errorf("got %s", got)
	}
}

func TestRefusalIsForbidden(t *testing.T) {
	_, err := parse(t, rulesOf(t, "12"), `{"ban":"50"}`)
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != "10.1" || refusal.Version != "12" || refusal.Reason == "" {
		t.Fatalf("got %#v", err)
	}
	if !fault.Is(err, fault.Forbidden) {
		t.Errorf("%v is not Forbidden", err)
	}
}

// Whatever bytes a stranger sends as power levels, they are refused, or have
// levels that are the same when read again.
func FuzzPowerLevels(f *testing.F) {
	f.Add(0, []byte(`{"ban":"50","users":{"@a:b":1e2}}`))
	f.Add(11, []byte(`{"ban":50,"events":{"m.room.name":50},"notifications":{"room":20},"users":{"@a:b":100}}`))
	f.Add(5, []byte(`{"users":{"@a:b":"+0050"},"events":[],"kick":null}`))
	versions := event.SupportedVersions()
	f.Fuzz(func(t *testing.T, n int, content []byte) {
		rules := rulesOf(t, versions[uint(n)%uint(len(versions))])
		raw, err := event.Canonical(content)
		if err != nil || raw[0] != '{' {
			return
		}
		p, err := parse(t, rules, string(raw))
		if err != nil {
			if _, ok := err.(*auth.Refusal); !ok {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		again := mustParse(t, rules, string(raw))
		for user := range event.Value(raw).Get("users").Members() {
			if p.UserLevel(id.UserID(user)) != again.UserLevel(id.UserID(user)) {
				t.Fatalf("%q has two levels", user)
			}
			if value, ok := event.Value(raw).Get("users").Get(user).Int(); ok && user != creator && p.UserLevel(id.UserID(user)) != value {
				t.Fatalf("%q has power %d, want %d", user, p.UserLevel(id.UserID(user)), value)
			}
		}
	})
}
