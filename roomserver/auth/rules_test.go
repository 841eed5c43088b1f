package auth_test

import (
	"fmt"
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// ruleCase is an event checked against the state of a room.
type ruleCase struct {
	name string
	// joinRule is the room's, "invite" when empty.
	joinRule string
	// setup changes the state of the room.
	setup func(r *room)
	event func(r *room) draft
	// want has a column each for room versions 1-2, 3-5, 6, 7, 8-9, 10, 11 and 12.
	want string
}

func (c ruleCase) run(t *testing.T, rules *event.Rules) {
	want := expected(t, c.want, rules)
	if want == "-" {
		return
	}
	joinRule := c.joinRule
	if joinRule == "" {
		joinRule = "invite"
	}
	r := newRoom(t, rules, joinRule)
	if c.setup != nil {
		c.setup(r)
	}
	err := auth.Check(r.make(c.event(r)), r.lookup)
	if got := ruleOf(t, err); got != want {
		t.Errorf("room version %s: got %s (%v), want %s", rules.Version, got, err, want)
	}
}

func runCases(t *testing.T, cases []ruleCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, rules := range allVersions(t) {
				c.run(t, rules)
			}
		})
	}
}

func fixed(d draft) func(*room) draft { return func(*room) draft { return d } }

func TestCreateEvents(t *testing.T) {
	create := func(content string) func(*room) draft {
		return func(r *room) draft { return r.createDraft(content) }
	}
	runCases(t, []ruleCase{
		{name: "A create event that follows nothing is allowed.", event: create(`{}`), want: "ok"},
		{name: "A create event may name a known version.", event: create(`{"room_version":"6"}`), want: "ok"},
		{name: "A create event cannot follow another event.", want: "1.1",
			event: func(r *room) draft { return r.createDraft(`{}`).after(r.createID()) }},
		{name: "A room is created on the server that its ID names, or has no ID yet.", want: "1.2",
			event: func(r *room) draft { return r.createDraft(`{}`).in("!room:b.example") }},
		{name: "Even its own room ID is refused in version 12.", want: "ok ok ok ok ok ok ok 1.2",
			event: func(r *room) draft { return r.createDraft(`{}`).in(r.id) }},
		{name: "An unknown version is refused.", event: create(`{"room_version":"13"}`), want: "1.3"},
		{name: "A version that is no string is refused.", event: create(`{"room_version":1}`), want: "1.3"},
		{name: "A null version is no version.", event: create(`{"room_version":null}`), want: "1.3"},
		{name: "The creator must be named until version 10.", want: "1.4 1.4 1.4 1.4 1.4 1.4 ok ok",
			event: fixed(state("m.room.create", "", creator, `{}`))},
		{name: "Additional creators may be none.", event: create(`{"additional_creators":[]}`), want: "ok"},
		{name: "Additional creators are users.", event: create(`{"additional_creators":["` + alice + `"]}`), want: "ok"},
		{name: "Additional creators must be a list.", event: create(`{"additional_creators":"` + alice + `"}`), want: "ok ok ok ok ok ok ok 1.4"},
		{name: "Additional creators must be strings.", event: create(`{"additional_creators":["` + alice + `",1]}`), want: "ok ok ok ok ok ok ok 1.4"},
		{name: "Additional creators must be user IDs.", event: create(`{"additional_creators":["alice:b.example"]}`), want: "ok ok ok ok ok ok ok 1.4"},
		{name: "Additional creators must have a server that can exist.", event: create(`{"additional_creators":["@alice:b example"]}`), want: "ok ok ok ok ok ok ok 1.4"},
	})
}

func TestRoomAndFederation(t *testing.T) {
	closed := func(r *room) {
		d := r.createDraft(`{"m.federate":false}`)
		d.id = r.createID()
		r.set(d)
	}
	runCases(t, []ruleCase{
		{name: "A room without a create event allows nothing.", want: "2.4 2.4 2.4 2.4 2.4 2.4 2.4 2",
			setup: func(r *room) { r.remove("m.room.create") }, event: fixed(message("m.room.message", alice))},
		{name: "An event of another room is refused.", want: "2.5 2.5 2.5 2.5 2.5 2.5 2.5 2",
			event: fixed(message("m.room.message", alice).in("!other:a.example"))},
		{name: "A room that does not federate is for its own server.", want: "3 3 3 3 3 3 3 4",
			setup: closed, event: fixed(message("m.room.message", alice))},
		{name: "Federation is refused before membership is looked at.", want: "3 3 3 3 3 3 3 4",
			setup: closed, event: fixed(member(stranger, stranger, "join"))},
		{name: "Its own server may send to a room that does not federate.", want: "ok",
			setup: closed, event: fixed(message("m.room.message", mod))},
	})
}

func TestAliases(t *testing.T) {
	runCases(t, []ruleCase{
		{name: "Any server sets its own aliases.", want: "ok ok 5 5 5 5 5 6",
			event: fixed(state("m.room.aliases", "c.example", stranger, `{}`))},
		{name: "Aliases need a state key where they are special.", want: "4.1 4.1 ok ok ok ok ok ok",
			event: fixed(message("m.room.aliases", alice))},
		{name: "A server cannot set the aliases of another.", want: "4.2 4.2 ok ok ok ok ok ok",
			event: fixed(state("m.room.aliases", "a.example", alice, `{}`))},
	})
}

func TestMemberFormat(t *testing.T) {
	noKey := message("m.room.member", alice).with(`{"membership":"join"}`)
	const via = `{"membership":"leave","join_authorised_via_users_server":`
	runCases(t, []ruleCase{
		{name: "A membership event needs a state key.", event: fixed(noKey), want: "5.1 5.1 4.1 4.1 4.1 4.1 4.1 5.1"},
		{name: "A membership event needs a membership.", want: "5.1 5.1 4.1 4.1 4.1 4.1 4.1 5.1",
			event: fixed(state("m.room.member", alice, alice, `{}`))},
		{name: "An unknown membership is refused.", want: "5.6 5.6 4.6 4.7 4.8 4.8 4.8 5.8",
			event: fixed(member(alice, alice, "dance"))},
		{name: "A membership that is no string is unknown.", want: "5.6 5.6 4.6 4.7 4.8 4.8 4.8 5.8",
			event: fixed(state("m.room.member", alice, alice, `{"membership":1}`))},
		{name: "Nobody can have signed for what is no user.", want: "ok ok ok ok 4.2.1 4.2.1 4.2.1 5.2.1",
			event: fixed(state("m.room.member", alice, alice, via+`"b.example"}`))},
		{name: "Nobody can have signed for what is no string.", want: "ok ok ok ok 4.2.1 4.2.1 4.2.1 5.2.1",
			event: fixed(state("m.room.member", alice, alice, via+`null}`))},
	})
}

func TestJoins(t *testing.T) {
	self := func(user string) func(*room) draft { return fixed(member(user, user, "join")) }
	first := func(sender, target string) func(*room) draft {
		return func(r *room) draft { return member(sender, target, "join").after(r.createID()) }
	}
	lonely := func(r *room) {
		create := r.state[event.Key{Type: "m.room.create"}]
		r.state = map[event.Key]*event.PDU{{Type: "m.room.create"}: create}
	}
	named := func(r *room) {
		lonely(r)
		d := state("m.room.create", "", creator, `{"creator":"`+mod+`"}`)
		d.id = r.createID()
		r.set(d)
	}
	runCases(t, []ruleCase{
		{name: "The creator joins right after the create event.", setup: lonely, event: first(creator, creator), want: "ok"},
		{name: "The sender of the first join is not compared.", setup: lonely, event: first(stranger, creator), want: "ok"},
		{name: "Only the creator joins first.", setup: lonely, event: first(mod, mod), want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7"},
		{name: "The creator cannot join first after another event.", setup: lonely, want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7",
			event: func(r *room) draft { return member(creator, creator, "join").after(r.createID(), "$other:a.example") }},
		{name: "The creator is whom the content names, from version 11 on the sender.", setup: named, event: first(mod, mod),
			want: "ok ok ok ok ok ok 4.3.7 5.3.7"},
		{name: "The creator is the sender, before version 11 whom the content names.", setup: named, event: first(creator, creator),
			want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 ok ok"},
		{name: "Nobody joins for another.", joinRule: "public", event: fixed(member(alice, stranger, "join")), want: "5.2.2 5.2.2 4.2.2 4.2.2 4.3.2 4.3.2 4.3.2 5.3.2"},
		{name: "The banned do not join.", joinRule: "public", event: self(outlaw), want: "5.2.3 5.2.3 4.2.3 4.2.3 4.3.3 4.3.3 4.3.3 5.3.3"},
		{name: "The invited join.", event: self(guest), want: "ok"},
		{name: "The joined may join again.", event: self(alice), want: "ok"},
		{name: "Strangers do not join by invitation only.", event: self(stranger), want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7"},
		{name: "Without a join rule an invitation is needed.", setup: func(r *room) { r.remove("m.room.join_rules") }, event: self(stranger),
			want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7"},
		{name: "A join rule without content asks for an invitation.", event: self(guest), want: "ok",
			setup: func(r *room) { r.set(state("m.room.join_rules", "", creator, `{}`)) }},
		{name: "A join rule that is no string lets nobody in.", event: self(guest), want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7",
			setup: func(r *room) { r.set(state("m.room.join_rules", "", creator, `{"join_rule":["invite"]}`)) }},
		{name: "Anybody joins a public room.", joinRule: "public", event: self(stranger), want: "ok"},
		{name: "Those who left rejoin a public room.", joinRule: "public", event: self(former), want: "ok"},
		{name: "Those who knocked join a room that became public.", joinRule: "public", event: self(knocker), want: "ok"},
		{name: "An unknown join rule lets nobody in.", joinRule: "private", event: self(guest), want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7"},
		{name: "The invited join a room to knock at.", joinRule: "knock", event: self(guest), want: "5.2.6 5.2.6 4.2.6 ok ok ok ok ok"},
		{name: "A knock is no invitation.", joinRule: "knock", event: self(knocker), want: "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7"},
	})
}

func TestRestrictedJoins(t *testing.T) {
	via := func(user string) func(*room) draft {
		return fixed(state("m.room.member", stranger, stranger, fmt.Sprintf(`{"membership":"join","join_authorised_via_users_server":%q}`, user)))
	}
	costly := func(r *room) { r.set(powerLevels(creator, `{"invite":50,"users":{"`+mod+`":50}}`)) }
	const restricted = "5.2.6 5.2.6 4.2.6 4.2.6 "
	runCases(t, []ruleCase{
		{name: "The invited join a restricted room.", joinRule: "restricted", event: fixed(member(guest, guest, "join")), want: restricted + "ok ok ok ok"},
		{name: "The joined may join a restricted room again.", joinRule: "restricted", event: fixed(member(alice, alice, "join")), want: restricted + "ok ok ok ok"},
		{name: "A member vouches for a restricted join.", joinRule: "restricted", event: via(alice), want: restricted + "ok ok ok ok"},
		{name: "Nobody vouches.", joinRule: "restricted", event: fixed(member(stranger, stranger, "join")), want: restricted + "4.3.5.2 4.3.5.2 4.3.5.2 5.3.5.2"},
		{name: "Who vouches must be in the room.", joinRule: "restricted", event: via(former), want: restricted + "4.3.5.2 4.3.5.2 4.3.5.2 5.3.5.2"},
		{name: "Who vouches must be known to the room.", joinRule: "restricted", event: via("@nobody:b.example"), want: restricted + "4.3.5.2 4.3.5.2 4.3.5.2 5.3.5.2"},
		{name: "Who vouches must be able to invite.", joinRule: "restricted", setup: costly, event: via(alice), want: restricted + "4.3.5.2 4.3.5.2 4.3.5.2 5.3.5.2"},
		{name: "Who can invite can vouch.", joinRule: "restricted", setup: costly, event: via(mod), want: restricted + "ok ok ok ok"},
		{name: "The banned are banned, whoever vouches.", joinRule: "restricted", want: "5.2.3 5.2.3 4.2.3 4.2.3 4.3.3 4.3.3 4.3.3 5.3.3",
			event: fixed(state("m.room.member", outlaw, outlaw, `{"membership":"join","join_authorised_via_users_server":"`+alice+`"}`))},
		{name: "A member vouches where one can also knock.", joinRule: "knock_restricted", event: via(alice), want: restricted + "4.3.7 ok ok ok"},
		{name: "The invited join where one can also knock.", joinRule: "knock_restricted", event: fixed(member(guest, guest, "join")), want: restricted + "4.3.7 ok ok ok"},
		{name: "Nobody vouches where one can also knock.", joinRule: "knock_restricted", event: fixed(member(knocker, knocker, "join")),
			want: restricted + "4.3.7 4.3.5.2 4.3.5.2 5.3.5.2"},
	})
}

func TestInvites(t *testing.T) {
	invite := func(sender, target string) func(*room) draft { return fixed(member(sender, target, "invite")) }
	costly := func(r *room) { r.set(powerLevels(creator, `{"invite":50,"users":{"`+mod+`":50}}`)) }
	runCases(t, []ruleCase{
		{name: "A member invites a stranger.", event: invite(alice, stranger), want: "ok"},
		{name: "A member invites who left.", event: invite(alice, former), want: "ok"},
		{name: "A member invites who knocked.", event: invite(alice, knocker), want: "ok"},
		{name: "A member invites again.", event: invite(alice, guest), want: "ok"},
		{name: "Strangers do not invite.", event: invite(stranger, former), want: "5.3.2 5.3.2 4.3.2 4.3.2 4.4.2 4.4.2 4.4.2 5.4.2"},
		{name: "The invited do not invite.", event: invite(guest, stranger), want: "5.3.2 5.3.2 4.3.2 4.3.2 4.4.2 4.4.2 4.4.2 5.4.2"},
		{name: "The joined are not invited.", event: invite(alice, bob), want: "5.3.3 5.3.3 4.3.3 4.3.3 4.4.3 4.4.3 4.4.3 5.4.3"},
		{name: "The banned are not invited.", event: invite(creator, outlaw), want: "5.3.3 5.3.3 4.3.3 4.3.3 4.4.3 4.4.3 4.4.3 5.4.3"},
		{name: "Inviting may need power.", setup: costly, event: invite(alice, stranger), want: "5.3.5 5.3.5 4.3.5 4.3.5 4.4.5 4.4.5 4.4.5 5.4.5"},
		{name: "The level for inviting suffices.", setup: costly, event: invite(mod, stranger), want: "ok"},
	})
}

func TestLeaving(t *testing.T) {
	leave := func(sender, target string) func(*room) draft { return fixed(member(sender, target, "leave")) }
	mods := func(content string) func(*room) { return func(r *room) { r.set(powerLevels(creator, content)) } }
	const second = "@second:a.example"
	runCases(t, []ruleCase{
		{name: "Members leave.", event: leave(alice, alice), want: "ok"},
		{name: "The invited refuse.", event: leave(guest, guest), want: "ok"},
		{name: "A knock is withdrawn.", event: leave(knocker, knocker), want: "5.4.1 5.4.1 4.4.1 ok ok ok ok ok"},
		{name: "The banned do not leave.", event: leave(outlaw, outlaw), want: "5.4.1 5.4.1 4.4.1 4.4.1 4.5.1 4.5.1 4.5.1 5.5.1"},
		{name: "Who left does not leave again.", event: leave(former, former), want: "5.4.1 5.4.1 4.4.1 4.4.1 4.5.1 4.5.1 4.5.1 5.5.1"},
		{name: "Strangers do not leave.", event: leave(stranger, stranger), want: "5.4.1 5.4.1 4.4.1 4.4.1 4.5.1 4.5.1 4.5.1 5.5.1"},
		{name: "Strangers do not kick.", event: leave(stranger, alice), want: "5.4.2 5.4.2 4.4.2 4.4.2 4.5.2 4.5.2 4.5.2 5.5.2"},
		{name: "Taking a ban back needs the ban level.", setup: mods(`{"ban":60,"users":{"` + mod + `":50}}`), event: leave(mod, outlaw),
			want: "5.4.3 5.4.3 4.4.3 4.4.3 4.5.3 4.5.3 4.5.3 5.5.3"},
		{name: "Taking a ban back needs the kick level.", setup: mods(`{"kick":60,"users":{"` + mod + `":50}}`), event: leave(mod, outlaw),
			want: "5.4.5 5.4.5 4.4.5 4.4.5 4.5.5 4.5.5 4.5.5 5.5.5"},
		{name: "A moderator takes a ban back.", event: leave(mod, outlaw), want: "ok"},
		{name: "A ban on an equal stays.", setup: mods(`{"users":{"` + mod + `":50,"` + outlaw + `":50}}`), event: leave(mod, outlaw),
			want: "5.4.5 5.4.5 4.4.5 4.4.5 4.5.5 4.5.5 4.5.5 5.5.5"},
		{name: "A moderator kicks.", event: leave(mod, alice), want: "ok"},
		{name: "A moderator takes an invitation back.", event: leave(mod, guest), want: "ok"},
		{name: "Kicking needs power.", event: leave(alice, bob), want: "5.4.5 5.4.5 4.4.5 4.4.5 4.5.5 4.5.5 4.5.5 5.5.5"},
		{name: "A moderator does not kick the creator.", event: leave(mod, creator), want: "5.4.5 5.4.5 4.4.5 4.4.5 4.5.5 4.5.5 4.5.5 5.5.5"},
		{name: "A moderator does not kick an equal.", setup: mods(`{"users":{"` + mod + `":50,"` + second + `":50}}`), event: leave(mod, second),
			want: "5.4.5 5.4.5 4.4.5 4.4.5 4.5.5 4.5.5 4.5.5 5.5.5"},
	})
}

func TestBans(t *testing.T) {
	ban := func(sender, target string) func(*room) draft { return fixed(member(sender, target, "ban")) }
	runCases(t, []ruleCase{
		{name: "A moderator bans a member.", event: ban(mod, alice), want: "ok"},
		{name: "A moderator bans a stranger.", event: ban(mod, stranger), want: "ok"},
		{name: "Strangers do not ban.", event: ban(stranger, alice), want: "5.5.1 5.5.1 4.5.1 4.5.1 4.6.1 4.6.1 4.6.1 5.6.1"},
		{name: "Banning needs power.", event: ban(alice, bob), want: "5.5.3 5.5.3 4.5.3 4.5.3 4.6.3 4.6.3 4.6.3 5.6.3"},
		{name: "A moderator does not ban the creator.", event: ban(mod, creator), want: "5.5.3 5.5.3 4.5.3 4.5.3 4.6.3 4.6.3 4.6.3 5.6.3"},
		{name: "Nobody bans themselves.", event: ban(creator, creator), want: "5.5.3 5.5.3 4.5.3 4.5.3 4.6.3 4.6.3 4.6.3 5.6.3"},
	})
}

func TestKnocks(t *testing.T) {
	knock := func(sender, target string) func(*room) draft { return fixed(member(sender, target, "knock")) }
	const before = "5.6 5.6 4.6 "
	runCases(t, []ruleCase{
		{name: "A stranger knocks.", joinRule: "knock", event: knock(stranger, stranger), want: before + "ok ok ok ok ok"},
		{name: "Who left knocks.", joinRule: "knock", event: knock(former, former), want: before + "ok ok ok ok ok"},
		{name: "A knock is repeated.", joinRule: "knock", event: knock(knocker, knocker), want: before + "ok ok ok ok ok"},
		{name: "A stranger knocks at a restricted room.", joinRule: "knock_restricted", event: knock(stranger, stranger), want: before + "4.6.1 4.7.1 ok ok ok"},
		{name: "Nobody knocks by invitation only.", event: knock(stranger, stranger), want: before + "4.6.1 4.7.1 4.7.1 4.7.1 5.7.1"},
		{name: "Nobody knocks at a public room.", joinRule: "public", event: knock(stranger, stranger), want: before + "4.6.1 4.7.1 4.7.1 4.7.1 5.7.1"},
		{name: "Nobody knocks for another.", joinRule: "knock", event: knock(alice, stranger), want: before + "4.6.2 4.7.2 4.7.2 4.7.2 5.7.2"},
		{name: "The banned do not knock.", joinRule: "knock", event: knock(outlaw, outlaw), want: before + "4.6.4 4.7.4 4.7.4 4.7.4 5.7.4"},
		{name: "The invited do not knock.", joinRule: "knock", event: knock(guest, guest), want: before + "4.6.4 4.7.4 4.7.4 4.7.4 5.7.4"},
		{name: "The joined do not knock.", joinRule: "knock", event: knock(alice, alice), want: before + "4.6.4 4.7.4 4.7.4 4.7.4 5.7.4"},
	})
}

func TestOtherEvents(t *testing.T) {
	costly := func(r *room) { r.set(powerLevels(creator, `{"invite":50,"users":{"`+mod+`":50}}`)) }
	redaction := func(sender, redacts string) func(*room) draft {
		d := message("m.room.redaction", sender)
		d.redacts = id.EventID(redacts)
		return fixed(d)
	}
	runCases(t, []ruleCase{
		{name: "Members send.", event: fixed(message("m.room.message", alice)), want: "ok"},
		{name: "Strangers do not send.", event: fixed(message("m.room.message", stranger)), want: "6 6 5 5 5 5 5 6"},
		{name: "The invited do not send.", event: fixed(message("m.room.message", guest)), want: "6 6 5 5 5 5 5 6"},
		{name: "A third-party invite needs the power to invite.", setup: costly, want: "7.1 7.1 6.1 6.1 6.1 6.1 6.1 7.1",
			event: fixed(state("m.room.third_party_invite", "token", alice, `{}`))},
		{name: "A third-party invite needs no other power.", want: "ok",
			event: fixed(state("m.room.third_party_invite", "@token", alice, `{}`))},
		{name: "A type may need power.", event: fixed(message("secret", mod)), want: "8 8 7 7 7 7 7 8"},
		{name: "The creator has power.", event: fixed(message("secret", creator)), want: "ok"},
		{name: "State needs power.", event: fixed(state("m.room.topic", "", alice, `{}`)), want: "8 8 7 7 7 7 7 8"},
		{name: "The level for state suffices.", event: fixed(state("m.room.topic", "", mod, `{}`)), want: "ok"},
		{name: "State under a user's name is that user's.", event: fixed(state("org.example", alice, mod, `{}`)), want: "9 9 8 8 8 8 8 9"},
		{name: "Users set the state under their name.", event: fixed(state("org.example", mod, mod, `{}`)), want: "ok"},
		{name: "A member redacts events of their server.", event: redaction(alice, "$event:b.example"), want: "ok"},
		{name: "A moderator redacts events of other servers.", event: redaction(mod, "$event:b.example"), want: "ok"},
		{name: "Events of other servers are redacted with power, until later versions decide elsewhere.", event: redaction(alice, "$event:a.example"),
			want: "11.3 ok ok ok ok ok ok ok"},
		{name: "A redaction of nothing needs power.", event: redaction(alice, ""), want: "11.3 ok ok ok ok ok ok ok"},
	})
}

func TestWithoutPowerLevels(t *testing.T) {
	bare := func(r *room) { r.remove("m.room.power_levels") }
	runCases(t, []ruleCase{
		{name: "Members send.", setup: bare, event: fixed(message("m.room.message", alice)), want: "ok"},
		{name: "Members invite.", setup: bare, event: fixed(member(alice, stranger, "invite")), want: "ok"},
		{name: "Members set no state.", setup: bare, event: fixed(state("m.room.topic", "", alice, `{}`)), want: "8 8 7 7 7 7 7 8"},
		{name: "The creator sets state.", setup: bare, event: fixed(state("m.room.topic", "", creator, `{}`)), want: "ok"},
		{name: "The creator bans.", setup: bare, event: fixed(member(creator, alice, "ban")), want: "ok"},
		{name: "The first power levels are free.", setup: bare, want: "ok",
			event: fixed(powerLevels(creator, `{"ban":1000,"users":{"`+alice+`":1000}}`))},
	})
}

func TestCreatorsOutrankEverybody(t *testing.T) {
	rules := rulesOf(t, "12")
	r := emptyRoom(t, rules, `{"additional_creators":["`+mod+`"]}`)
	r.set(powerLevels(creator, `{"ban":9007199254740991,"kick":9007199254740991,"events":{"m.room.power_levels":9007199254740991},"users":{"`+alice+`":9007199254740991}}`))
	for _, user := range []string{creator, mod, alice} {
		r.set(member(user, user, "join"))
	}
	for _, c := range []struct {
		name string
		ev   draft
		want string
	}{
		{"A creator bans whoever has the highest level.", member(mod, alice, "ban"), "ok"},
		{"The highest level is below a creator's.", member(alice, creator, "ban"), "5.6.3"},
		{"The highest level is below an additional creator's.", member(alice, mod, "leave"), "5.5.5"},
		{"Creators are equals.", member(mod, creator, "leave"), "5.5.5"},
		{"A creator takes the highest level away.", powerLevels(mod, `{}`), "ok"},
		{"The creator cannot have a level.", powerLevels(mod, `{"users":{"`+creator+`":100}}`), "10.4"},
		{"An additional creator cannot have a level.", powerLevels(mod, `{"users":{"`+mod+`":100}}`), "10.4"},
	} {
		err := auth.Check(r.make(c.ev), r.lookup)
		if got := ruleOf(t, err); got != c.want {
			t.Errorf("%s got %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}
