package governance

import (
	"strings"
	"time"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Peer decides whether a server may talk to us, and we to it.
func (p *Policy) Peer(server string, at time.Time) error {
	if _, refusal := p.inForce(server, at); refusal != nil {
		return refusal
	}
	return nil
}

// inForce is the agreement by which a server may be dealt with at a time; nil
// when there is none and none is needed.
func (p *Policy) inForce(server string, at time.Time) (*peer, *Refusal) {
	if server == p.own {
		return nil, nil
	}
	name := canonicalName(server)
	terms := p.peers[name]
	if p.mode == ModeClosed || terms == nil {
		return nil, p.unnamed(name)
	}
	switch terms.StateAt(at) {
	case StateSuspended:
		return nil, refuse(RuleSuspended, name, "The agreement with %s is suspended", name)
	case StateExpired:
		return nil, refuse(RuleExpired, name, "The agreement with %s was valid until %s", name, stamp(terms.ValidUntil))
	case StateUpcoming:
		return nil, refuse(RuleNotYetValid, name, "The agreement with %s is valid from %s", name, stamp(terms.ValidFrom))
	}
	return terms, nil
}

// unnamed is what the mode says of a server when agreements do not matter.
func (p *Policy) unnamed(name string) *Refusal {
	switch p.mode {
	case ModeOpen:
		return nil
	case ModeListed:
		if p.isListed(name) {
			return nil
		}
		return refuse(RuleNotListed, name, "%s is not among the servers that this server talks to", name)
	}
	return refuse(RuleClosed, name, "This server does not talk to other servers")
}

func (p *Policy) isListed(name string) bool {
	if _, ok := p.listed[name]; ok {
		return true
	}
	for _, domain := range p.below {
		if len(name) > len(domain) && name[len(name)-len(domain):] == domain {
			return true
		}
	}
	return false
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Room decides whether a room of this version may have this server in it.
func (p *Policy) Room(version event.Version, server string, at time.Time) error {
	if refusal := p.room(version, server, at); refusal != nil {
		return refusal
	}
	return nil
}

func (p *Policy) room(version event.Version, server string, at time.Time) *Refusal {
	terms, refusal := p.inForce(server, at)
	if refusal == nil && terms != nil && !terms.RoomVersions.Match(string(version)) {
		return refuse(RuleRoomVersion, terms.Peer, "The agreement with %s does not permit rooms of version %s", terms.Peer, version)
	}
	return refusal
}

// EDU decides whether ephemeral data of a type, as m.typing, is exchanged with
// a server.
//
// Spec: server-server-api/#edus
func (p *Policy) EDU(server, kind string, at time.Time) error {
	terms, refusal := p.inForce(server, at)
	if refusal == nil && terms != nil && !terms.EDUs.Match(kind) {
		refusal = refuse(RuleEDU, terms.Peer, "The agreement with %s does not permit %s", terms.Peer, kind)
	}
	if refusal != nil {
		return refusal.about("%s", kind)
	}
	return nil
}

// Invite decides whether one user may invite another into a room of this
// version. Between two users of ours, and between two of others, agreements
// set no directions.
func (p *Policy) Invite(inviter, invitee id.UserID, version event.Version, at time.Time) error {
	if refusal := p.invite(inviter, invitee, version, at); refusal != nil {
		return refusal
	}
	return nil
}

func (p *Policy) invite(inviter, invitee id.UserID, version event.Version, at time.Time) *Refusal {
	from, to := event.ServerOf(inviter), event.ServerOf(invitee)
	if from == p.own && to == p.own {
		return nil
	}
	for _, server := range [...]string{from, to} {
		if refusal := p.room(version, server, at); refusal != nil {
			return refusal.about("%s invites %s", inviter, invitee)
		}
	}
	var refusal *Refusal
	switch {
	case from == p.own:
		terms := p.peers[canonicalName(to)]
		if terms != nil && !terms.Outbound.permit(inviter, invitee) {
			refusal = refuse(RuleInviteOutbound, terms.Peer, "The agreement with %s does not let %s invite %s", terms.Peer, inviter, invitee)
		}
	case to == p.own:
		terms := p.peers[canonicalName(from)]
		if terms != nil && !terms.Inbound.permit(inviter, invitee) {
			refusal = refuse(RuleInviteInbound, terms.Peer, "The agreement with %s does not let %s invite %s", terms.Peer, inviter, invitee)
		}
	}
	if refusal != nil {
		return refusal.about("%s invites %s", inviter, invitee)
	}
	return nil
}

func (i Invitations) permit(inviter, invitee id.UserID) bool {
	return i.By.Match(localpart(inviter)) && i.Of.Match(localpart(invitee))
}

// localpart is what stands between @ and the first colon.
func localpart(user id.UserID) string {
	local, _, _ := strings.Cut(strings.TrimPrefix(string(user), "@"), ":")
	return local
}
