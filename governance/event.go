package governance

import (
	"strings"
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
	for name, where := range named(ev) {
		if refusal := p.admits(event.ServerOf(name)); refusal != nil {
			return refusal.about("%s in %s of %s", name, where, ev.Type())
		}
	}
	return nil
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

// named yields the IDs to which an event gives something, each with the place
// where it stands. IDs without a server name are left out.
//
// Spec: client-server-api/#user-and-room-mentions,
// client-server-api/#mroompower_levels, client-server-api/#mroomcanonical_alias,
// client-server-api/#mroomcreate, rooms/v8/#authorization-rules
func named(ev *event.PDU) func(yield func(name, where string) bool) {
	return func(yield func(name, where string) bool) {
		content := event.Value(ev.Content())
		more := true
		give := func(v event.Value, where string) {
			if name, ok := v.Str(); ok && more && strings.Contains(name, ":") {
				more = yield(name, where)
			}
		}
		list := func(v event.Value, where string) {
			if v.IsArray() {
				for e := range v.Elements() {
					give(e, where)
				}
			}
		}
		list(content.Get("m.mentions").Get("user_ids"), "m.mentions")
		if _, isState := ev.StateKey(); !isState {
			return
		}
		switch ev.Type() {
		case typeCreate:
			list(content.Get("additional_creators"), "additional_creators")
		case typeMember:
			give(content.Get("join_authorised_via_users_server"), "join_authorised_via_users_server")
		case typeCanonicalAlias:
			give(content.Get("alias"), "alias")
			list(content.Get("alt_aliases"), "alt_aliases")
		case typePowerLevels:
			for user := range content.Get("users").Members() {
				if more && strings.Contains(user, ":") {
					more = yield(user, "users")
				}
			}
		}
	}
}
