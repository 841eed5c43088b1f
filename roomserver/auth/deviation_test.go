package auth_test

import (
	"slices"
	"strings"

	"entente/roomserver/auth"
	"entente/roomserver/event"
)

// deviation is a place where the library does not follow the specification.
type deviation struct {
	name string
	// rule is what the specification says; spec is where.
	rule, spec string
	// explains reports whether the deviation can be the cause of a difference.
	explains func(c *comparison) bool
}

// deviations are all that are known of the pinned library.
var deviations = []deviation{
	{"aliases stay special", "Rule 4 on m.room.aliases is removed in version 6.", "rooms/v6/#authorisation-rules",
		func(c *comparison) bool { return c.ev.Type() == "m.room.aliases" && !c.rules.SpecialAliases }},
	{"creator is the sender", "Before version 11 the creator is whom the content of the create event names.", "rooms/v10/#authorisation-rules",
		func(c *comparison) bool {
			return c.creator() != string(c.create.Sender()) && (c.isFirstJoin() || c.current("m.room.power_levels", "") == nil)
		}},
	{"first join by another", "5.2.1 compares the state key of the first join with the creator, not its sender.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool { return c.weAllow() && c.isFirstJoin() && c.target() == c.creator() }},
	{"state key of third-party invites", "7.1 allows m.room.third_party_invite by the invite level alone.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			return c.weAllow() && c.ev.Type() == "m.room.third_party_invite" && strings.HasPrefix(c.target(), "@")
		}},
	{"public_key is ignored", "5.3.1.7 accepts the single key in public_key.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			origin := event.Value(c.current("m.room.third_party_invite", "token").Content())
			return c.weAllow() && c.isThirdParty() && origin.Get("public_keys") == nil
		}},
	{"third-party invites of the banned", "5.3.1.1 refuses to invite the banned.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool { return c.isThirdParty() && c.refusedBy("1.1") }},
	{"third-party invites by anybody", "5.3.1.6 wants the sender of the m.room.third_party_invite.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool { return c.isThirdParty() && c.refusedBy("1.6") }},
	{"joining a public room after a knock", "5.2.5 allows to join a public room whatever the membership, but for a ban.", "rooms/v7/#authorisation-rules",
		func(c *comparison) bool {
			return c.weAllow() && c.becomes("join") && c.membership(c.target()) == "knock" && c.joinRule() == "public"
		}},
	{"invitation beats the join rule", "5.2.6 refuses to join under a join rule that the version does not know, invited or not.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			in := slices.Contains([]string{"join", "invite"}, c.membership(c.target()))
			return c.becomes("join") && in && slices.Contains([]string{"private", "knock", "restricted", "knock_restricted"}, c.joinRule()) && c.refusedBy("2.6", "3.7")
		}},
	{"knock_restricted before version 10", "The join rule knock_restricted exists from version 10 on.", "rooms/v9/#authorisation-rules",
		func(c *comparison) bool { return !c.rules.KnockRestricted && c.joinRule() == "knock_restricted" }},
	{"leaving twice", "5.4.1 allows to leave from invite, join or knock only.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			old := c.membership(c.target())
			return c.becomes("leave") && c.refusedBy("4.1", "5.1") && (old == "" || old == "leave")
		}},
	{"withdrawing a knock before version 7", "5.4.1 does not mention a knock before version 7.", "rooms/v6/#authorisation-rules",
		func(c *comparison) bool {
			return !c.rules.Knocking && c.becomes("leave") && c.refusedBy("4.1") && c.membership(c.target()) == "knock"
		}},
	{"unbanning without the kick level", "5.4.4 asks to take a ban back for the kick level and for more power than the target.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			return c.becomes("leave") && c.membership(c.target()) == "ban" && c.refusedBy("4.5", "5.5")
		}},
	{"null levels", "9.1 refuses a named level that is not an integer.", "rooms/v10/#authorisation-rules",
		func(c *comparison) bool {
			return c.ev.Type() == "m.room.power_levels" && c.rules.IntegerPowerLevels && c.refusedBy("1") && string(c.content().Get("kick")) == "null"
		}},
	{"malformed levels of others than users", "10.1 asks for well-formed levels of users only, before version 10.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			kick := string(c.content().Get("kick"))
			return c.ev.Type() == "m.room.power_levels" && c.weAllow() && !c.rules.IntegerPowerLevels && (kick == "null" || kick == `"fifty"`)
		}},
	{"users_default is free", "10.3 covers users_default.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool {
			return c.changesLevels() && !c.weAllow() && strings.Contains(c.ours.Error(), "users_default")
		}},
	{"absent levels have their default", "10.3 to 10.7 compare values; a level that is absent has none.", "rooms/v1/#authorisation-rules",
		func(c *comparison) bool { return c.changesLevels() && c.addsOrRemoves() }},
	{"notifications of an equal level", "9.4.1 refuses to change a notification level greater than the sender's, not one equal to it.", "rooms/v6/#authorisation-rules",
		func(c *comparison) bool {
			return c.changesLevels() && c.weAllow() && c.rules.NotificationLevels && strings.Contains(c.theirs.Error(), "notification level")
		}},
}

// explanation is the name of the first deviation that explains the difference,
// empty for none.
func (c *comparison) explanation() string {
	for _, d := range deviations {
		if d.explains(c) {
			return d.name
		}
	}
	return ""
}

func (c *comparison) weAllow() bool { return c.ours == nil }

// refusedBy reports whether we refused by a rule with one of the numbers
// within its section.
func (c *comparison) refusedBy(within ...string) bool {
	refusal, ok := c.ours.(*auth.Refusal)
	if !ok {
		return false
	}
	_, number, _ := strings.Cut(refusal.Rule, ".")
	return slices.ContainsFunc(within, func(w string) bool { return number == w || strings.HasSuffix(number, "."+w) })
}

func (c *comparison) content() event.Value { return event.Value(c.ev.Content()) }

func (c *comparison) target() string {
	key, _ := c.ev.StateKey()
	return key
}

func (c *comparison) current(typ, key string) *event.PDU {
	return c.state[event.Key{Type: typ, StateKey: key}]
}

func (c *comparison) membership(user string) string {
	if ev := c.current("m.room.member", user); ev != nil {
		return ev.Membership()
	}
	return ""
}

func (c *comparison) joinRule() string {
	ev := c.current("m.room.join_rules", "")
	if ev == nil {
		return "invite"
	}
	rule, _ := event.Value(ev.Content()).Get("join_rule").Str()
	return rule
}

func (c *comparison) creator() string { return string(auth.Creators(c.create)[0]) }

func (c *comparison) becomes(membership string) bool {
	return c.ev.Type() == "m.room.member" && c.ev.Membership() == membership
}

func (c *comparison) isFirstJoin() bool {
	return c.becomes("join") && len(c.ev.PrevEvents()) == 1 && c.ev.PrevEvents()[0] == c.create.ID()
}

func (c *comparison) isThirdParty() bool {
	return c.becomes("invite") && c.content().Get("third_party_invite") != nil
}

func (c *comparison) changesLevels() bool {
	return c.ev.Type() == "m.room.power_levels" && c.current("m.room.power_levels", "") != nil
}

// addsOrRemoves reports whether the event adds a level or removes one.
func (c *comparison) addsOrRemoves() bool {
	before := event.Value(c.current("m.room.power_levels", "").Content())
	if !sameKeys(before, c.content()) {
		return true
	}
	for _, property := range []string{"users", "events", "notifications"} {
		if !sameKeys(before.Get(property), c.content().Get(property)) {
			return true
		}
	}
	return false
}

func sameKeys(a, b event.Value) bool {
	var keys [2][]string
	for i, object := range []event.Value{a, b} {
		for key := range object.Members() {
			keys[i] = append(keys[i], key)
		}
	}
	return slices.Equal(keys[0], keys[1])
}
