package governance

import (
	"time"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Event decides about an event, ours or a peer's, by the servers of the IDs in
// it:
//
//   - the sender's must be in force, and the room's version agreed with it;
//   - so must that of whoever joins, knocks or is invited, and an invitation
//     must go in a direction that is agreed;
//   - nothing is asked of whoever leaves, is removed or banned: one must be
//     able to remove what one may not talk to;
//   - those to whom an event gives something (power, a mention, an alias, a
//     vouching for a join) must belong to servers that the mode admits, though
//     their agreements may rest.
func (p *Policy) Event(ev *event.PDU, at time.Time) error {
	if refusal := p.event(ev, at); refusal != nil {
		return refusal
	}
	return nil
}

func (p *Policy) event(ev *event.PDU, at time.Time) *Refusal {
	version := ev.Rules().Version
	if refusal := p.room(version, event.ServerOf(ev.Sender()), at); refusal != nil {
		return refusal.about("sent by %s", ev.Sender())
	}
	if ev.Type() == typeMember {
		if refusal := p.member(ev, version, at); refusal != nil {
			return refusal
		}
	}
	if p.mode == ModeOpen { // which admits every server
		return nil
	}
	n := naming{policy: p, typ: ev.Type()}
	n.event(ev)
	return n.refusal
}

func (p *Policy) member(ev *event.PDU, version event.Version, at time.Time) *Refusal {
	key, ok := ev.StateKey()
	if !ok {
		return nil
	}
	switch ev.Membership() {
	case membershipInvite:
		return p.invite(ev.Sender(), id.UserID(key), version, at)
	case membershipJoin, membershipKnock:
		if refusal := p.room(version, event.ServerOf(key), at); refusal != nil {
			return refusal.about("membership of %s", key)
		}
	}
	return nil
}

// admits asks whether the mode knows a server at all, by its list or by an
// agreement in whatever state.
func (p *Policy) admits(server string) *Refusal {
	if server == p.own {
		return nil
	}
	name := canonicalName(server)
	if p.mode == ModeListed && p.peers[name] != nil {
		return nil
	}
	return p.unnamed(name)
}

// The event types and memberships that decisions look into.
const (
	typeMember         = "m.room.member"
	typeCreate         = "m.room.create"
	typePowerLevels    = "m.room.power_levels"
	typeCanonicalAlias = "m.room.canonical_alias"
	membershipInvite   = "invite"
	membershipJoin     = "join"
	membershipKnock    = "knock"
)

// naming goes through the IDs to which an event gives something, and keeps the
// first refusal. IDs without a server name are passed over.
type naming struct {
	policy  *Policy
	typ     string
	refusal *Refusal
}

// event looks where an event of its type has such IDs.
//
// Spec: client-server-api/#user-and-room-mentions, client-server-api/#mroomcreate,
// client-server-api/#mroompower_levels, client-server-api/#mroomcanonical_alias,
// rooms/v8/#authorization-rules
func (n *naming) event(ev *event.PDU) {
	content := event.Value(ev.Content())
	n.list(content.Get("m.mentions").Get("user_ids"), "m.mentions")
	if _, isState := ev.StateKey(); !isState {
		return
	}
	switch n.typ {
	case typeCreate:
		n.list(content.Get("additional_creators"), "additional_creators")
	case typeMember:
		n.value(content.Get("join_authorised_via_users_server"), "join_authorised_via_users_server")
	case typeCanonicalAlias:
		n.value(content.Get("alias"), "alias")
		n.list(content.Get("alt_aliases"), "alt_aliases")
	case typePowerLevels:
		for user := range content.Get("users").Members() {
			n.name(user, "users")
		}
	}
}

func (n *naming) list(v event.Value, where string) {
	for e := range v.Elements() {
		n.value(e, where)
	}
}

func (n *naming) value(v event.Value, where string) {
	if name, ok := v.Str(); ok {
		n.name(name, where)
	}
}

func (n *naming) name(name, where string) {
	server := event.ServerOf(name)
	if n.refusal != nil || server == "" {
		return
	}
	if refusal := n.policy.admits(server); refusal != nil {
		n.refusal = refusal.about("%s in %s of %s", name, where, n.typ)
	}
}
