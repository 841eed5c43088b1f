// Package auth decides whether an event is allowed: the authorisation rules of
// every room version. It is pure: no clock, no network, no database; state is
// read through a Lookup.
//
// A refusal carries the number that the broken rule has in the specification
// of the event's room version, so that it can be explained.
//
// Signatures are not checked here, with one exception, the signature within a
// third-party invite: the servers that must have signed an event, the one of
// join_authorised_via_users_server included, are checked on receipt, before
// the rules are asked.
//
// Spec: server-server-api/#authorisation-rules, rooms/v1/#authorisation-rules,
// rooms/v12/#authorisation-rules
package auth

import (
	"strings"

	"entente/roomserver/event"
)

// The types of events that the rules treat specially.
const (
	typeAliases          = "m.room.aliases"
	typeCreate           = "m.room.create"
	typeJoinRules        = "m.room.join_rules"
	typeMember           = "m.room.member"
	typePowerLevels      = "m.room.power_levels"
	typeRedaction        = "m.room.redaction"
	typeThirdPartyInvite = "m.room.third_party_invite"
)

// Lookup reads the state that an event is checked against: the accepted event
// at the key, or nil when there is none. In room version 12 it must know the
// create event too, although auth_events does not name it. An error ends the
// check and is returned as it is.
type Lookup func(event.Key) (*event.PDU, error)

// Check decides whether ev is allowed by the state: the rules except those on
// the list of auth events, which CheckAuthEvents has. It returns nil, a
// *Refusal, or the error of the lookup. The state must be of the event's room;
// a create event is judged by itself.
func Check(ev *event.PDU, state Lookup) error {
	var c Checker
	return c.Check(ev, state)
}

// Checker checks events one after another and keeps the parsed power levels
// between them for as long as the state has the same ones. The zero value is
// ready. A Checker must not be used concurrently.
type Checker struct {
	levels *PowerLevels
}

// Check is Check with power levels that may be parsed already.
func (c *Checker) Check(ev *event.PDU, state Lookup) error {
	if ev.Type() == typeCreate {
		return checkCreate(ev)
	}
	create, err := state(event.Key{Type: typeCreate})
	if err != nil {
		return err
	}
	if create == nil {
		return refuse(ev.Rules(), ruleCreateMissing, "the room has no create event")
	}
	levels, err := state(event.Key{Type: typePowerLevels})
	if err != nil {
		return err
	}
	if c.levels == nil || !c.levels.Of(create, levels) {
		if c.levels, err = ParsePowerLevels(create, levels); err != nil {
			return err
		}
	}
	return CheckWith(ev, c.levels, state)
}

// CheckWith is Check for a caller that has the state's power levels parsed:
// levels must be what ParsePowerLevels makes of the state's create and power
// levels events, which are then not looked up.
func CheckWith(ev *event.PDU, levels *PowerLevels, state Lookup) error {
	if ev.Type() == typeCreate {
		return checkCreate(ev)
	}
	c := check{ev: ev, rules: ev.Rules(), levels: levels, state: state}
	return c.run()
}

// check is the check of one event.
type check struct {
	ev     *event.PDU
	rules  *event.Rules
	levels *PowerLevels
	state  Lookup
}

// run applies the rules from the one on the room on.
func (c *check) run() error {
	if c.levels.create.RoomID() != c.ev.RoomID() {
		// Spec: rooms/v12/#authorisation-rules
		return c.refuse(ruleOtherRoom, "the event is of room %s, the create event of room %s",
			c.ev.RoomID(), c.levels.create.RoomID())
	}
	// Spec: client-server-api/#mroomcreate
	if server := event.ServerOf(c.ev.Sender()); !c.levels.federate && server != c.levels.createServer {
		return c.refuse(ruleFederate, "the room does not federate, and %s is not on %s", c.ev.Sender(), c.levels.createServer)
	}
	switch {
	case c.rules.SpecialAliases && c.ev.Type() == typeAliases:
		return c.aliases()
	case c.ev.Type() == typeMember:
		return c.member()
	}
	return c.other()
}

// aliases are the rules on m.room.aliases, which any server may set for
// itself.
//
// Spec: rooms/v1/#authorisation-rules
func (c *check) aliases() error {
	key, ok := c.ev.StateKey()
	if !ok {
		return c.refuse(ruleAliases+".1", "an m.room.aliases event needs a state key")
	}
	if key != event.ServerOf(c.ev.Sender()) {
		return c.refuse(ruleAliases+".2", "the aliases of %q cannot be set by %s", key, c.ev.Sender())
	}
	return nil
}

// other are the rules on events that are not about membership.
func (c *check) other() error {
	sender := c.ev.Sender()
	membership, err := c.membership(string(sender))
	if err != nil {
		return err
	}
	if membership != joined {
		return c.refuse(ruleJoined, "%s is not in the room", sender)
	}
	level := c.levels.UserLevel(sender)
	if c.ev.Type() == typeThirdPartyInvite {
		if need := c.levels.InviteLevel(); level < need {
			return c.refuse(ruleThirdParty+".1", "%s has power %d, inviting needs %d", sender, level, need)
		}
		return nil
	}
	key, isState := c.ev.StateKey()
	if need := c.levels.EventLevel(c.ev.Type(), isState); level < need {
		return c.refuse(ruleRequired, "%s has power %d, %s needs %d", sender, level, c.ev.Type(), need)
	}
	if strings.HasPrefix(key, "@") && key != string(sender) {
		return c.refuse(ruleOwnKey, "the state of %s is not %s's to set", key, sender)
	}
	switch {
	case c.ev.Type() == typePowerLevels:
		return c.powerLevels(level)
	case c.ev.Type() == typeRedaction && c.rules.EventIDInBody:
		return c.redaction(level)
	}
	return nil
}

// redaction is the rule on redactions in room versions 1 and 2; later versions
// let every redaction in and decide on receipt whether to apply it.
//
// Spec: rooms/v1/#authorisation-rules, rooms/v3/#handling-redactions
func (c *check) redaction(level int64) error {
	need := c.levels.RedactLevel()
	if level >= need {
		return nil
	}
	server := event.ServerOf(c.ev.ID())
	if server != "" && server == event.ServerOf(c.ev.Redacts()) {
		return nil
	}
	return c.refuse(ruleRedaction+".3", "%s has power %d, redacting events of other servers needs %d", c.ev.Sender(), level, need)
}

// membership is a user's membership in the state, empty when there is none.
func (c *check) membership(user string) (string, error) {
	ev, err := c.state(event.Key{Type: typeMember, StateKey: user})
	if ev == nil || err != nil {
		return "", err
	}
	return ev.Membership(), nil
}

func (c *check) refuse(r rule, format string, args ...any) error {
	return refuse(c.rules, r, format, args...)
}
