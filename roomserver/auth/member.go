package auth

import (
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// Memberships. Spec: client-server-api/#mroommember
const (
	joined   = "join"
	invited  = "invite"
	left     = "leave"
	banned   = "ban"
	knocking = "knock"
)

// Join rules. Spec: client-server-api/#mroomjoin_rules
const (
	rulePublic          = "public"
	ruleByInvite        = "invite"
	ruleByKnock         = "knock"
	ruleRestricted      = "restricted"
	ruleKnockRestricted = "knock_restricted"
)

// viaKey names the user who vouches for a restricted join.
const viaKey = "join_authorised_via_users_server"

// member has the rules on m.room.member.
func (c *check) member() error {
	target, isState := c.ev.StateKey()
	content := event.Value(c.ev.Content())
	value := content.Get("membership")
	if !isState || value == nil {
		return c.refuse(ruleMember+".1", "a membership event needs a state key and a membership")
	}
	if c.rules.RestrictedJoins {
		// Only a user has a homeserver that can have signed.
		// Spec: rooms/v8/#authorisation-rules
		if via := content.Get(viaKey); via != nil {
			user, _ := via.Str()
			if !event.ValidUserID(id.UserID(user)) {
				return c.refuse(ruleAuthorised+".1", "the join is vouched for by %s, which is not a user", via)
			}
		}
	}
	switch membership, _ := value.Str(); {
	case membership == joined:
		return c.join(target)
	case membership == invited:
		return c.invite(target)
	case membership == left:
		return c.leave(target)
	case membership == banned:
		return c.ban(target)
	case membership == knocking && c.rules.Knocking:
		return c.knock(target)
	}
	return c.refuse(ruleMembership, "membership %s is not known", value)
}

// join has the rules on membership join.
func (c *check) join(target string) error {
	sender := string(c.ev.Sender())
	if prev := c.ev.PrevEvents(); len(prev) == 1 && prev[0] == c.levels.create.ID() && target == string(c.levels.creator) {
		return nil
	}
	if sender != target {
		return c.refuse(ruleJoin+".2", "%s cannot join for %s", sender, target)
	}
	current, err := c.membership(sender)
	if err != nil {
		return err
	}
	if current == banned {
		return c.refuse(ruleJoin+".3", "%s is banned", sender)
	}
	joinRule, err := c.joinRule()
	if err != nil {
		return err
	}
	in := current == joined || current == invited
	switch {
	case joinRule == ruleByInvite || joinRule == ruleByKnock && c.rules.Knocking:
		if in {
			return nil
		}
	case joinRule == ruleRestricted && c.rules.RestrictedJoins,
		joinRule == ruleKnockRestricted && c.rules.KnockRestricted:
		if in {
			return nil
		}
		return c.vouched()
	case joinRule == rulePublic:
		return nil
	}
	return c.refuse(ruleJoinOtherwise, "%s is not invited, and the join rule is %q", sender, joinRule)
}

// vouched has the rule on restricted joins of users who are not invited: a
// member who may invite lets them in.
//
// Spec: rooms/v8/#authorisation-rules, client-server-api/#restricted-rooms
func (c *check) vouched() error {
	const broken = ruleJoin + ".5.2"
	via, ok := event.Value(c.ev.Content()).Get(viaKey).Str()
	if !ok {
		return c.refuse(broken, "%s is not invited, and nobody vouches for the restricted join", c.ev.Sender())
	}
	membership, err := c.membership(via)
	if err != nil {
		return err
	}
	if membership != joined {
		return c.refuse(broken, "%s vouches for the join but is not in the room", via)
	}
	if level, need := c.levels.UserLevel(id.UserID(via)), c.levels.InviteLevel(); level < need {
		return c.refuse(broken, "%s vouches for the join with power %d, inviting needs %d", via, level, need)
	}
	return nil
}

// invite has the rules on membership invite.
func (c *check) invite(target string) error {
	current, err := c.membership(target)
	if err != nil {
		return err
	}
	if invite := event.Value(c.ev.Content()).Get("third_party_invite"); invite != nil {
		if current == banned {
			return c.refuse(ruleInvite+".1.1", "%s is banned", target)
		}
		return c.thirdPartyInvite(target, invite)
	}
	if err := c.senderJoined(ruleInvite + ".2"); err != nil {
		return err
	}
	if current == joined || current == banned {
		return c.refuse(ruleInvite+".3", "%s cannot be invited: the membership is %s", target, current)
	}
	if level, need := c.levels.UserLevel(c.ev.Sender()), c.levels.InviteLevel(); level < need {
		return c.refuse(ruleInvite+".5", "%s has power %d, inviting needs %d", c.ev.Sender(), level, need)
	}
	return nil
}

// leave has the rules on membership leave: leaving, refusing an invitation,
// withdrawing a knock, kicking, taking an invitation or a ban back.
func (c *check) leave(target string) error {
	sender := c.ev.Sender()
	current, err := c.membership(target)
	if err != nil {
		return err
	}
	if string(sender) == target {
		if current == joined || current == invited || current == knocking && c.rules.Knocking {
			return nil
		}
		return c.refuse(ruleLeave+".1", "%s has nothing to leave: the membership is %q", sender, current)
	}
	if err := c.senderJoined(ruleLeave + ".2"); err != nil {
		return err
	}
	level := c.levels.UserLevel(sender)
	if need := c.levels.BanLevel(); current == banned && level < need {
		return c.refuse(ruleLeave+".3", "%s has power %d, taking a ban back needs %d", sender, level, need)
	}
	return c.outranks(target, c.levels.KickLevel(), ruleLeave+".5")
}

// ban has the rules on membership ban.
func (c *check) ban(target string) error {
	if err := c.senderJoined(ruleBan + ".1"); err != nil {
		return err
	}
	return c.outranks(target, c.levels.BanLevel(), ruleBan+".3")
}

// knock has the rules on membership knock.
//
// Spec: rooms/v7/#authorisation-rules, rooms/v10/#authorisation-rules
func (c *check) knock(target string) error {
	joinRule, err := c.joinRule()
	if err != nil {
		return err
	}
	if joinRule != ruleByKnock && (joinRule != ruleKnockRestricted || !c.rules.KnockRestricted) {
		return c.refuse(ruleKnock+".1", "the join rule %q does not let anyone knock", joinRule)
	}
	sender := string(c.ev.Sender())
	if sender != target {
		return c.refuse(ruleKnock+".2", "%s cannot knock for %s", sender, target)
	}
	current, err := c.membership(sender)
	if err != nil {
		return err
	}
	switch current {
	case banned, invited, joined:
		return c.refuse(ruleKnock+".4", "%s cannot knock: the membership is %s", sender, current)
	}
	return nil
}

// senderJoined refuses by rule r unless the sender is in the room.
func (c *check) senderJoined(r rule) error {
	current, err := c.membership(string(c.ev.Sender()))
	if err != nil {
		return err
	}
	if current != joined {
		return c.refuse(r, "%s is not in the room", c.ev.Sender())
	}
	return nil
}

// outranks refuses by rule r unless the sender has the power needed, and more
// than the target.
func (c *check) outranks(target string, need int64, r rule) error {
	level, other := c.levels.UserLevel(c.ev.Sender()), c.levels.UserLevel(id.UserID(target))
	if level < need {
		return c.refuse(r, "%s has power %d, this needs %d", c.ev.Sender(), level, need)
	}
	if other >= level {
		return c.refuse(r, "%s has power %d, which is not above the power %d of %s", c.ev.Sender(), level, other, target)
	}
	return nil
}

// joinRule is the state's join rule: invite when there is none.
func (c *check) joinRule() (string, error) {
	ev, err := c.state(event.Key{Type: typeJoinRules})
	if err != nil {
		return "", err
	}
	if ev == nil {
		return ruleByInvite, nil
	}
	value := event.Value(ev.Content()).Get("join_rule")
	if value == nil {
		return ruleByInvite, nil
	}
	name, _ := value.Str()
	return name, nil
}
