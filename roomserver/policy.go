package roomserver

import (
	"context"

	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Policy is what the room server asks governance. The zero Policy permits
// everything; every function may be nil.
type Policy struct {
	// Version is the version of the policy that the other functions decide by.
	// What they permitted is committed only while it holds.
	Version func() int64
	// Refresh reads the policy again, after a commit failed because it changed.
	Refresh func(ctx context.Context) error
	// Send decides about an event that a local user sends, or a peer's event
	// that is accepted for others, into a room that these servers are in.
	Send func(ev *event.PDU, servers storage.Servers) error
	// Receive decides about an event from a peer.
	Receive func(origin string, ev *event.PDU) error
	// Room decides whether a room of this version may have this server in it.
	Room func(version event.Version, server string) error
	// Invite decides whether one user may invite another.
	Invite func(inviter, invitee id.UserID, version event.Version) error
}

func (p *Policy) expect() []storage.Precondition {
	if p.Version == nil {
		return nil
	}
	return []storage.Precondition{storage.PolicyVersion(p.Version())}
}

func (p *Policy) refresh(ctx context.Context) error {
	if p.Refresh == nil {
		return nil
	}
	return p.Refresh(ctx)
}

func (p *Policy) send(ev *event.PDU, servers storage.Servers) error {
	if p.Send == nil {
		return nil
	}
	return p.Send(ev, servers)
}

func (p *Policy) receive(origin string, ev *event.PDU) error {
	if p.Receive == nil {
		return nil
	}
	return p.Receive(origin, ev)
}

func (p *Policy) room(version event.Version, server string) error {
	if p.Room == nil {
		return nil
	}
	return p.Room(version, server)
}

func (p *Policy) invite(inviter, invitee id.UserID, version event.Version) error {
	if p.Invite == nil {
		return nil
	}
	return p.Invite(inviter, invitee, version)
}
