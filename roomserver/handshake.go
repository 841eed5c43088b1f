package roomserver

import (
	"context"
	"encoding/json"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// MakeMembership makes the template of a membership of a peer's user: join,
// leave or knock.
//
// Spec: server-server-api/#get_matrixfederationv1make_joinroomiduserid,
// server-server-api/#get_matrixfederationv1make_leaveroomiduserid,
// server-server-api/#get_matrixfederationv1make_knockroomiduserid
func (s *Server) MakeMembership(ctx context.Context, origin string, roomID id.RoomID, user id.UserID, membership string, versions []event.Version) (event.Version, json.RawMessage, error) {
	if event.ServerOf(user) != origin {
		return "", nil, fault.New(fault.Forbidden, "%s is not a user of %s", user, origin)
	}
	var template json.RawMessage
	var version event.Version
	err := s.asResident(ctx, roomID, func(r *room) error {
		version = r.info.Version
		if membership != "leave" && !speaks(versions, version) {
			e := fault.New(fault.IncompatibleVersion, "The room is of version %s, which your server does not speak", version)
			e.RoomVersion = string(version)
			return e
		}
		if err := s.policy.room(version, origin); err != nil {
			return err
		}
		var err error
		template, err = s.template(ctx, r, user, membership)
		return err
	})
	return version, template, err
}

func speaks(versions []event.Version, v event.Version) bool {
	if len(versions) == 0 {
		return v == "1"
	}
	for _, spoken := range versions {
		if spoken == v {
			return true
		}
	}
	return false
}

// asResident runs fn with a room that this server is in.
func (s *Server) asResident(ctx context.Context, roomID id.RoomID, fn func(r *room) error) error {
	resident, err := s.resident(ctx, roomID)
	if err != nil {
		return err
	}
	if !resident {
		return fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room")
	}
	return s.with(ctx, roomID, fn)
}

// template drafts a membership, and checks that the room would allow it.
func (s *Server) template(ctx context.Context, r *room, user id.UserID, membership string) (json.RawMessage, error) {
	if err := r.hold(ctx); err != nil {
		return nil, err
	}
	defer r.unhold()
	if err := r.loadHeld(ctx); err != nil {
		return nil, err
	}
	p := &proposal{ctx: ctx, server: s, room: r, head: r.head}
	if err := p.settle(); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "The room is changing; try again")
	}
	content := memberContent(membership, Profile{}, "", false)
	if membership == "join" {
		before, err := p.memberEvent(user)
		if err != nil {
			return nil, err
		}
		if m := membershipOf(before); m != storage.Join && m != storage.Invite {
			if content, err = p.authorised(user, content); err != nil {
				return nil, cannotAuthorise(err)
			}
		}
	}
	target := string(user)
	d := Draft{Type: typeMember, StateKey: &target, Sender: user, Content: content}
	draft, _, err := p.draft(d)
	if err != nil {
		return nil, err
	}
	template, err := draft.Template(r.rules)
	if err != nil {
		return nil, err
	}
	trial, _, err := p.build(d)
	if err != nil {
		return nil, err
	}
	return template, p.allow(trial)
}

// cannotAuthorise says which of the two refusals of a restricted join it is.
//
// Spec: server-server-api/#restricted-rooms
func cannotAuthorise(err error) error {
	if err == errNeedsResident {
		return fault.Wrap(err, fault.UnableToGrantJoin, "No user of this server can authorise the join")
	}
	return err
}

// Arrival is what a peer whose user joins is given: the state before the join,
// and its auth chain.
type Arrival struct {
	Event *event.PDU
	State []*event.PDU
	Auth  []*event.PDU
}

// AcceptJoin lets a peer's signed join in, and answers the room's state.
//
// Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
func (s *Server) AcceptJoin(ctx context.Context, origin string, roomID id.RoomID, eventID id.EventID, raw json.RawMessage) (*Arrival, error) {
	done, err := s.accept(ctx, accepted{origin, roomID, eventID, raw, "join"})
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx, roomID)
	if err != nil {
		return nil, err
	}
	state, chain, err := s.stateAndAuth(ctx, info, done.Before)
	if err != nil {
		return nil, err
	}
	return &Arrival{Event: done.PDU, State: state, Auth: chain}, nil
}

// AcceptLeave lets a peer's signed leave in: an invite that is refused, or a
// user who goes.
//
// Spec: server-server-api/#put_matrixfederationv2send_leaveroomideventid
func (s *Server) AcceptLeave(ctx context.Context, origin string, roomID id.RoomID, eventID id.EventID, raw json.RawMessage) error {
	_, err := s.accept(ctx, accepted{origin, roomID, eventID, raw, "leave"})
	return err
}

// AcceptKnock lets a peer's signed knock in, and answers stripped state.
//
// Spec: server-server-api/#put_matrixfederationv1send_knockroomideventid
func (s *Server) AcceptKnock(ctx context.Context, origin string, roomID id.RoomID, eventID id.EventID, raw json.RawMessage) ([]json.RawMessage, error) {
	if _, err := s.accept(ctx, accepted{origin, roomID, eventID, raw, "knock"}); err != nil {
		return nil, err
	}
	var whole []json.RawMessage
	var rules *event.Rules
	err := s.asResident(ctx, roomID, func(r *room) error {
		if err := r.hold(ctx); err != nil {
			return err
		}
		defer r.unhold()
		if err := r.loadHeld(ctx); err != nil {
			return err
		}
		rules = r.rules
		var err error
		whole, err = (&proposal{ctx: ctx, server: s, room: r, head: r.head}).stripped("")
		return err
	})
	out := make([]json.RawMessage, 0, len(whole))
	for _, e := range whole {
		if stripped := strippedEvent(rules, e); stripped != nil {
			out = append(out, stripped)
		}
	}
	return out, err
}

// accepted is a membership that a peer sends to us as a resident server.
type accepted struct {
	origin     string
	room       id.RoomID
	eventID    id.EventID
	raw        json.RawMessage
	membership string
}

// accept checks a peer's membership event and lets it in; we then send it to
// the room's other servers.
func (s *Server) accept(ctx context.Context, a accepted) (*storage.Event, error) {
	var out *storage.Event
	err := s.asResident(ctx, a.room, func(r *room) error {
		pdu, err := s.acceptable(ctx, r, a)
		if err != nil {
			return err
		}
		if err := s.fetchAuth(ctx, r, a.origin, pdu); err != nil {
			return err
		}
		_, err = s.update(ctx, r, func(p *proposal) error {
			p.relay, p.exclude = true, a.origin
			if err := p.vouch(pdu); err != nil {
				return err
			}
			return p.receive(pdu, noClaim)
		})
		if err != nil {
			return err
		}
		out, err = s.kept(ctx, r, pdu, a.membership)
		return err
	})
	return out, err
}

// kept finds an event that was let in, and answers why if it was not accepted.
func (s *Server) kept(ctx context.Context, r *room, pdu *event.PDU, membership string) (*storage.Event, error) {
	found, err := s.eventsByID(ctx, r.info, []id.EventID{pdu.ID()})
	if err != nil {
		return nil, err
	}
	e := found[pdu.ID()]
	if e == nil || e.Status != storage.Accepted {
		reason := "it was not kept"
		if e != nil {
			reason = e.Reason
		}
		return nil, fault.New(fault.Forbidden, "The %s is not allowed: %s", membership, reason)
	}
	return e, nil
}

// vouch refuses a join that names a local user as who authorises it, of a user
// whom this server would not let in: the template that it gave may have been
// for another one, and the auth rules do not ask about other rooms.
//
// Spec: server-server-api/#restricted-rooms
func (p *proposal) vouch(pdu *event.PDU) error {
	by, ok := event.Value(pdu.Content()).Get("join_authorised_via_users_server").Str()
	if !ok || pdu.Membership() != "join" || !p.server.Local(id.UserID(by)) {
		return nil
	}
	before, err := p.memberEvent(pdu.Sender())
	if m := membershipOf(before); err != nil || m == storage.Join || m == storage.Invite {
		return err
	}
	_, err = p.authorised(pdu.Sender(), pdu.Content())
	return cannotAuthorise(err)
}

// acceptable parses, checks and verifies a peer's membership event, and signs
// it where our user authorises a restricted join.
func (s *Server) acceptable(ctx context.Context, r *room, a accepted) (*event.PDU, error) {
	pdu, err := event.Parse(r.rules, a.raw)
	if err != nil {
		return nil, err
	}
	target, _ := pdu.StateKey()
	switch {
	case pdu.RoomID() != a.room || pdu.ID() != a.eventID:
		return nil, fault.New(fault.InvalidParam, "The event is not the one that the path names")
	case pdu.Type() != typeMember || pdu.Membership() != a.membership || target != string(pdu.Sender()):
		return nil, fault.New(fault.InvalidParam, "The event is not a %s", a.membership)
	case event.ServerOf(pdu.Sender()) != a.origin:
		return nil, fault.New(fault.Forbidden, "The event is not by a user of %s", a.origin)
	}
	if err := s.policy.receive(a.origin, pdu); err != nil {
		return nil, err
	}
	if by, ok := event.Value(pdu.Content()).Get("join_authorised_via_users_server").Str(); ok && r.rules.RestrictedJoins {
		if s.Local(id.UserID(by)) {
			pdu = pdu.WithSignature(s.sign())
		}
	}
	return pdu, s.keys.VerifyPDU(ctx, pdu)
}
