package governance_test

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"entente/governance"

	"maunium.net/go/mautrix/id"
)

// with is the agreement with a peer after a change.
func with(peer string, change func(a *governance.Agreement)) governance.Agreement {
	a := governance.NewAgreement(peer)
	change(&a)
	return a
}

func TestWhoMayTalk(t *testing.T) {
	agreed := governance.NewAgreement(theirs)
	suspended := with(theirs, func(a *governance.Agreement) { a.Suspended = true })
	expired := with(theirs, func(a *governance.Agreement) { a.ValidUntil = noon() })
	upcoming := with(theirs, func(a *governance.Agreement) { a.ValidFrom = noon().Add(time.Millisecond) })
	inForce := with(theirs, func(a *governance.Agreement) {
		a.ValidFrom, a.ValidUntil = noon(), noon().Add(time.Millisecond)
	})
	none := []governance.Agreement(nil)
	one := func(a governance.Agreement) []governance.Agreement { return []governance.Agreement{a} }
	for name, c := range map[string]struct {
		mode       governance.Mode
		listed     []string
		agreements []governance.Agreement
		server     string
		want       string
	}{
		"ourselves when closed":            {governance.ModeClosed, nil, none, ours, ""},
		"a stranger when open":             {governance.ModeOpen, nil, none, theirs, ""},
		"a stranger when listed":           {governance.ModeListed, nil, none, theirs, governance.RuleNotListed},
		"a stranger when closed":           {governance.ModeClosed, nil, none, theirs, governance.RuleClosed},
		"a listed server":                  {governance.ModeListed, []string{theirs}, none, theirs, ""},
		"a listed domain":                  {governance.ModeListed, []string{"*.example"}, none, theirs, ""},
		"the domain itself":                {governance.ModeListed, []string{"*.dla.example"}, none, theirs, governance.RuleNotListed},
		"a name that only ends alike":      {governance.ModeListed, []string{"*.a.example"}, none, theirs, governance.RuleNotListed},
		"a listed server in other letters": {governance.ModeListed, []string{"DLA.Example"}, none, "dla.EXAMPLE", ""},
		"an agreement when listed":         {governance.ModeListed, nil, one(agreed), theirs, ""},
		"an agreement of another":          {governance.ModeListed, nil, one(agreed), third, governance.RuleNotListed},
		"an agreement when closed":         {governance.ModeClosed, nil, one(agreed), theirs, governance.RuleClosed},
		"suspended when open":              {governance.ModeOpen, nil, one(suspended), theirs, governance.RuleSuspended},
		"suspended though listed":          {governance.ModeListed, []string{theirs}, one(suspended), theirs, governance.RuleSuspended},
		"suspended in other letters":       {governance.ModeOpen, nil, one(suspended), "Dla.Example.", governance.RuleSuspended},
		"suspended is not for others":      {governance.ModeOpen, nil, one(suspended), third, ""},
		"expired at its very end":          {governance.ModeOpen, nil, one(expired), theirs, governance.RuleExpired},
		"not begun":                        {governance.ModeOpen, nil, one(upcoming), theirs, governance.RuleNotYetValid},
		"at its very beginning":            {governance.ModeOpen, nil, one(inForce), theirs, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPolicy(t, c.mode, c.listed, c.agreements...)
			if got := ruleOf(t, p.Peer(c.server, noon())); got != c.want {
				t.Errorf("decided by %q, want %q", got, c.want)
			}
		})
	}
}

func TestRoomsAndEphemeralData(t *testing.T) {
	p := newPolicy(t, governance.ModeOpen, nil,
		with(theirs, func(a *governance.Agreement) {
			a.RoomVersions, a.EDUs = governance.Patterns{"10", "11"}, governance.Patterns{"m.typing"}
		}),
		with(third, func(a *governance.Agreement) { a.RoomVersions, a.EDUs = nil, governance.Patterns{} }))
	for _, c := range []struct {
		what string
		err  error
		want string
	}{
		{"a version that is agreed", p.Room("11", theirs, noon()), ""},
		{"a version that is not", p.Room("12", theirs, noon()), governance.RuleRoomVersion},
		{"a version that begins like one", p.Room("1", theirs, noon()), governance.RuleRoomVersion},
		{"any version without an agreement", p.Room("12", "other.example", noon()), ""},
		{"our own server", p.Room("12", ours, noon()), ""},
		{"no version at all", p.Room("11", third, noon()), governance.RuleRoomVersion},
		{"typing", p.EDU(theirs, "m.typing", noon()), ""},
		{"presence", p.EDU(theirs, "m.presence", noon()), governance.RuleEDU},
		{"nothing at all", p.EDU(third, "m.typing", noon()), governance.RuleEDU},
		{"presence without an agreement", p.EDU("other.example", "m.presence", noon()), ""},
	} {
		if got := ruleOf(t, c.err); got != c.want {
			t.Errorf("%s: decided by %q, want %q", c.what, got, c.want)
		}
	}
}

func TestInvitations(t *testing.T) {
	p := newPolicy(t, governance.ModeListed, nil,
		with(theirs, func(a *governance.Agreement) {
			a.Outbound = governance.Invitations{By: governance.Patterns{"liaison-*"}, Of: governance.Everything()}
			a.Inbound = governance.Invitations{By: governance.Everything(), Of: governance.Patterns{"desk", "duty-?"}}
			a.RoomVersions = governance.Patterns{"11"}
		}),
		with(third, func(a *governance.Agreement) { a.Suspended = true }))
	for _, c := range []struct {
		inviter, invitee id.UserID
		version          string
		want             string
	}{
		{"@a:dhs.example", "@b:dhs.example", "12", ""},
		{"@liaison-a:dhs.example", "@b:dla.example", "11", ""},
		{"@liaison-a:dhs.example", "@b:dla.example", "12", governance.RuleRoomVersion},
		{"@a:dhs.example", "@b:dla.example", "11", governance.RuleInviteOutbound},
		{"@xliaison-a:dhs.example", "@b:dla.example", "11", governance.RuleInviteOutbound},
		{"@b:dla.example", "@desk:dhs.example", "11", ""},
		{"@b:dla.example", "@duty-1:dhs.example", "11", ""},
		{"@b:dla.example", "@duty-10:dhs.example", "11", governance.RuleInviteInbound},
		{"@liaison-a:dhs.example", "@c:fema.example", "11", governance.RuleSuspended},
		{"@c:fema.example", "@desk:dhs.example", "11", governance.RuleSuspended},
		{"@b:dla.example", "@c:fema.example", "11", governance.RuleSuspended},
		{"@b:dla.example", "@d:other.example", "11", governance.RuleNotListed},
		{"@b:dla.example", "@c:dla.example", "11", ""},
	} {
		if got := ruleOf(t, p.Invite(c.inviter, c.invitee, "11", noon())); c.version == "11" && got != c.want {
			t.Errorf("%s invites %s: decided by %q, want %q", c.inviter, c.invitee, got, c.want)
		}
		if c.version != "11" && ruleOf(t, p.Invite(c.inviter, c.invitee, "12", noon())) != c.want {
			t.Errorf("%s invites %s to version %s: want %q", c.inviter, c.invitee, c.version, c.want)
		}
	}
}

// An agreement of which nothing was said permits no rooms, no data and no
// invitations.
func TestZeroAgreementPermitsNothing(t *testing.T) {
	p := newPolicy(t, governance.ModeOpen, nil, governance.Agreement{Peer: theirs})
	if ruleOf(t, p.Room("12", theirs, noon())) == "" || ruleOf(t, p.EDU(theirs, "m.typing", noon())) == "" ||
		ruleOf(t, p.Invite("@a:dhs.example", "@b:dla.example", "12", noon())) == "" {
		t.Error("an empty agreement permits something")
	}
}

func TestEvents(t *testing.T) {
	p := newPolicy(t, governance.ModeListed, []string{"listed.example"},
		with(theirs, func(a *governance.Agreement) { a.Inbound.Of = governance.Patterns{"desk"} }),
		with(third, func(a *governance.Agreement) { a.Suspended = true }),
		with("old.example", func(a *governance.Agreement) { a.RoomVersions = governance.Patterns{"6"} }))
	text := object{"msgtype": "m.text", "body": "@eve:evil.example"}
	for name, c := range map[string]struct {
		sender   id.UserID
		typ      string
		stateKey *string
		content  object
		want     string
	}{
		"a message of ours":                     {"@a:dhs.example", "m.room.message", nil, text, ""},
		"a message of a peer":                   {"@b:dla.example", "m.room.message", nil, text, ""},
		"a message of a suspended peer":         {"@c:fema.example", "m.room.message", nil, text, governance.RuleSuspended},
		"a message of a stranger":               {"@eve:evil.example", "m.room.message", nil, text, governance.RuleNotListed},
		"a room version that is not agreed":     {"@o:old.example", "m.room.message", nil, text, governance.RuleRoomVersion},
		"a mention of a stranger":               {"@a:dhs.example", "m.room.message", nil, object{"body": "x", "m.mentions": object{"user_ids": []string{"@b:dla.example", "@eve:evil.example"}}}, governance.RuleNotListed},
		"a mention of one who rests":            {"@a:dhs.example", "m.room.message", nil, object{"body": "x", "m.mentions": object{"user_ids": []string{"@c:fema.example"}}}, ""},
		"mentions of a wrong type":              {"@a:dhs.example", "m.room.message", nil, object{"m.mentions": object{"user_ids": "@eve:evil.example"}}, ""},
		"joining":                               {"@b:dla.example", "m.room.member", state("@b:dla.example"), object{"membership": "join"}, ""},
		"joining of a suspended peer":           {"@c:fema.example", "m.room.member", state("@c:fema.example"), object{"membership": "join"}, governance.RuleSuspended},
		"an invitation that is agreed":          {"@b:dla.example", "m.room.member", state("@desk:dhs.example"), object{"membership": "invite"}, ""},
		"an invitation that is not":             {"@b:dla.example", "m.room.member", state("@a:dhs.example"), object{"membership": "invite"}, governance.RuleInviteInbound},
		"an invitation of a stranger":           {"@a:dhs.example", "m.room.member", state("@eve:evil.example"), object{"membership": "invite"}, governance.RuleNotListed},
		"removing one who rests":                {"@a:dhs.example", "m.room.member", state("@c:fema.example"), object{"membership": "leave"}, ""},
		"banning a stranger":                    {"@a:dhs.example", "m.room.member", state("@eve:evil.example"), object{"membership": "ban"}, ""},
		"a join that a stranger vouches for":    {"@b:dla.example", "m.room.member", state("@b:dla.example"), object{"membership": "join", "join_authorised_via_users_server": "@eve:evil.example"}, governance.RuleNotListed},
		"power for a peer":                      {"@a:dhs.example", "m.room.power_levels", state(""), object{"users": object{"@a:dhs.example": 100, "@b:dla.example": 50}}, ""},
		"power for one who rests":               {"@a:dhs.example", "m.room.power_levels", state(""), object{"users": object{"@c:fema.example": 50}}, ""},
		"power for a stranger":                  {"@a:dhs.example", "m.room.power_levels", state(""), object{"users": object{"@a:dhs.example": 100, "@eve:evil.example": 50}}, governance.RuleNotListed},
		"an alias of a listed server":           {"@a:dhs.example", "m.room.canonical_alias", state(""), object{"alias": "#x:listed.example"}, ""},
		"an alias of a stranger":                {"@a:dhs.example", "m.room.canonical_alias", state(""), object{"alias": "#x:dhs.example", "alt_aliases": []string{"#x:evil.example"}}, governance.RuleNotListed},
		"a create event with a foreign creator": {"@a:dhs.example", "m.room.create", state(""), object{"room_version": "12", "additional_creators": []string{"@eve:evil.example"}}, governance.RuleNotListed},
		"a ban list that names a stranger":      {"@a:dhs.example", "m.policy.rule.user", state("x"), object{"entity": "@eve:evil.example"}, ""},
		"an access list that names a stranger":  {"@a:dhs.example", "m.room.server_acl", state(""), object{"deny": []string{"evil.example"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ev := newEvent(t, c.sender, c.typ, c.stateKey, c.content)
			if got := ruleOf(t, p.Event(ev, noon())); got != c.want {
				t.Errorf("decided by %q, want %q", got, c.want)
			}
		})
	}
}

// A pin counts whether the agreement is in force or not: a suspension must not
// let the network say which keys a peer has.
func TestPins(t *testing.T) {
	pinned := map[id.KeyID]ed25519.PublicKey{"ed25519:a": publicKey("a")}
	p := newPolicy(t, governance.ModeOpen, nil, with(theirs, func(a *governance.Agreement) {
		a.Keys, a.Suspended = pinned, true
	}), governance.NewAgreement(third))
	if keys, ok := p.Pinned("DLA.example"); !ok || !keys["ed25519:a"].Equal(publicKey("a")) {
		t.Errorf("pinned are %v", keys)
	}
	for _, server := range []string{third, "other.example", ours} {
		if keys, ok := p.Pinned(server); ok || keys != nil || p.RootsFor(server) != nil {
			t.Errorf("%s has pins", server)
		}
	}
}

func TestBoundsComeInOrder(t *testing.T) {
	p := newPolicy(t, governance.ModeOpen, nil,
		with("a.example", func(a *governance.Agreement) { a.ValidUntil = noon().Add(3 * time.Hour) }),
		with("b.example", func(a *governance.Agreement) {
			a.ValidFrom, a.ValidUntil = noon().Add(time.Hour), noon().Add(2*time.Hour)
		}))
	at := noon()
	for i := 1; i <= 3; i++ {
		if at = p.NextBound(at); !at.Equal(noon().Add(time.Duration(i) * time.Hour)) {
			t.Fatalf("bound %d is %s", i, at)
		}
	}
	if next := p.NextBound(at); !next.IsZero() {
		t.Errorf("a bound after the last: %s", next)
	}
}

func TestDiffers(t *testing.T) {
	same := governance.NewAgreement("same.example")
	before := newPolicy(t, governance.ModeOpen, nil, same, governance.NewAgreement("gone.example"), governance.NewAgreement("changed.example"))
	same.Note, same.Changed = "another note", noon()
	after := newPolicy(t, governance.ModeOpen, nil, same, governance.NewAgreement("new.example"),
		with("changed.example", func(a *governance.Agreement) { a.EDUs = nil }))
	if got := after.Differs(before); !slices.Equal(got, []string{"changed.example", "gone.example", "new.example"}) {
		t.Errorf("differ: %v", got)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	if _, err := governance.NewPolicy(governance.Settings{ServerName: ours, Mode: "ajar"}, 1, nil); err == nil {
		t.Error("a mode that does not exist is taken")
	}
	broken := with(theirs, func(a *governance.Agreement) { a.CA = "no certificate" })
	if _, err := governance.NewPolicy(governance.Settings{ServerName: ours, Mode: governance.ModeOpen}, 1, []governance.Agreement{broken}); err == nil {
		t.Error("a pin that cannot be read is taken for none")
	}
}

// Decisions, explanations and details do not depend on the order in which
// agreements come, nor on that of maps.
func TestDecisionsDoNotDependOnOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var agreements []governance.Agreement
	names := []string{}
	for i := range 20 {
		name := fmt.Sprintf("s%d.example", i)
		names = append(names, name)
		agreements = append(agreements, with(name, func(a *governance.Agreement) {
			a.Suspended = r.IntN(4) == 0
			if r.IntN(3) == 0 {
				a.ValidUntil = noon().Add(time.Duration(r.IntN(3)-1) * time.Hour)
			}
			if r.IntN(3) == 0 {
				a.RoomVersions = governance.Patterns{"10", "11"}[:r.IntN(3)]
			}
		}))
	}
	power := object{}
	for i := range 30 {
		power[fmt.Sprintf("@u%d:s%d.example", i, i)] = i
	}
	levels := newEvent(t, "@a:dhs.example", "m.room.power_levels", state(""), object{"users": power})
	verdicts := func(p *governance.Policy) []string {
		var out []string
		for _, name := range names {
			from := id.UserID("@x:" + name)
			for _, err := range []error{
				p.Peer(name, noon()), p.Room("11", name, noon()), p.EDU(name, "m.typing", noon()),
				p.Invite(from, "@a:dhs.example", "11", noon()), p.Event(newEvent(t, from, "m.room.message", nil, object{}), noon()),
			} {
				out = append(out, fmt.Sprint(err))
			}
		}
		return append(out, fmt.Sprint(p.Event(levels, noon())))
	}
	want := verdicts(newPolicy(t, governance.ModeListed, []string{"a.example", "*.b.example"}, agreements...))
	for range 20 {
		r.Shuffle(len(agreements), func(i, j int) { agreements[i], agreements[j] = agreements[j], agreements[i] })
		if got := verdicts(newPolicy(t, governance.ModeListed, []string{"a.example", "*.b.example"}, agreements...)); !slices.Equal(got, want) {
			t.Fatal("the same agreements in another order decide otherwise")
		}
	}
}

func TestExplain(t *testing.T) {
	p := newPolicy(t, governance.ModeListed, []string{"listed.example"},
		with(theirs, func(a *governance.Agreement) {
			a.RoomVersions, a.Keys = governance.Patterns{"11"}, map[id.KeyID]ed25519.PublicKey{"ed25519:a": publicKey("a")}
			a.Inbound.By = governance.Patterns{}
		}))
	rules := func(q governance.Question) (out []string) {
		q.At = noon()
		for _, a := range p.Explain(q) {
			out = append(out, fmt.Sprintf("%s %v %s", a.Place, a.Permitted, a.Rule))
			if a.Question == "" || a.Explanation == "" {
				t.Errorf("an answer without words: %+v", a)
			}
		}
		return out
	}
	got := rules(governance.Question{Peer: theirs, Version: "12", EDU: "m.typing", Inviter: "@b:dla.example", Invitee: "@a:dhs.example"})
	want := []string{
		"transport true agreement", "transport true agreement.keys", "room false agreement.room_version",
		"event true agreement", "user false agreement.room_version",
	}
	if !slices.Equal(got, want) {
		t.Errorf("answers are %q", got)
	}
	if got := rules(governance.Question{Peer: theirs, Version: "11", EDU: "m.typing", Inviter: "@b:dla.example", Invitee: "@a:dhs.example"}); got[len(got)-1] != "user false agreement.invite_inbound" {
		t.Errorf("answers are %q", got)
	}
	if got := rules(governance.Question{Peer: "other.example"}); got[0] != "transport false federation.not_listed" || len(got) != 1+12+6 {
		t.Errorf("answers are %q", got)
	}
	if got := rules(governance.Question{Peer: "listed.example", Version: "1", EDU: "m.typing"}); got[0] != "transport true federation.listed" {
		t.Errorf("answers are %q", got)
	}
	if got := rules(governance.Question{Peer: ours, Version: "1", EDU: "m.typing"}); got[0] != "transport true own" {
		t.Errorf("answers are %q", got)
	}
}

func BenchmarkLocalMessage(b *testing.B) {
	p := newPolicy(b, governance.ModeListed, []string{"*.gov.example"}, governance.NewAgreement(theirs))
	ev := newEvent(b, "@a:dhs.example", "m.room.message", nil, object{"msgtype": "m.text", "body": "A message of usual length, as people write them."})
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Event(ev, noon()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPeer(b *testing.B) {
	p := newPolicy(b, governance.ModeListed, nil, governance.NewAgreement(theirs))
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Peer(theirs, noon()); err != nil {
			b.Fatal(err)
		}
	}
}
