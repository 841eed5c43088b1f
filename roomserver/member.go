package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// MemberRequest asks to change a membership.
type MemberRequest struct {
	Room   id.RoomID
	Sender id.UserID // a local user
	Target id.UserID // whose membership changes; Sender for joining, leaving and knocking
	Reason string
	// Profile is what the membership shows of Target, where it is ours.
	Profile Profile
	// Via are servers to go through when this server is not in the room.
	Via []string
	// IsDirect marks an invite to a direct chat.
	IsDirect bool
	// Content is laid under the membership's own fields.
	Content map[string]json.RawMessage
}

func (r MemberRequest) content(membership string) json.RawMessage {
	own := map[string]json.RawMessage{}
	for k, v := range r.Content {
		own[k] = v
	}
	for name, v := range event.Value(memberContent(membership, r.Profile, r.Reason, r.IsDirect && membership == "invite")).Members() {
		own[name] = json.RawMessage(v)
	}
	return content(own)
}

// Join joins a local user to a room, through another server when this one is
// not in it.
//
// Spec: client-server-api/#post_matrixclientv3joinroomidoralias
func (s *Server) Join(ctx context.Context, req MemberRequest) error {
	resident, err := s.resident(ctx, req.Room)
	if err != nil {
		return err
	}
	if !resident {
		return s.joinRemote(ctx, req)
	}
	err = s.with(ctx, req.Room, func(r *room) error {
		_, err := s.update(ctx, r, func(p *proposal) error { return p.join(req) })
		return err
	})
	if errors.Is(err, errNeedsResident) {
		return s.joinRemote(ctx, req)
	}
	return err
}

// resident reports whether this server has joined members in a room.
func (s *Server) resident(ctx context.Context, roomID id.RoomID) (bool, error) {
	info, err := s.Info(ctx, roomID)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	local, err := s.db.Latest().HasLocalMember(ctx, info.NID)
	return local, err
}

// errNeedsResident: a restricted room admits the user, but only a member of
// another server can say so.
var errNeedsResident = errors.New("another server must authorise the join")

func (p *proposal) join(req MemberRequest) error {
	before, err := p.memberEvent(req.Target)
	if err != nil {
		return err
	}
	if before != nil && before.PDU.Membership() == "join" && req.Profile == profileOf(before) && len(req.Content) == 0 {
		p.done.existing = before.PDU.ID()
		return nil
	}
	content := req.content("join")
	if before == nil || before.PDU.Membership() != "join" && before.PDU.Membership() != "invite" {
		if content, err = p.authorised(req.Target, content); err != nil {
			return err
		}
	}
	_, err = p.append(p.membership(req, content))
	return err
}

func (p *proposal) membership(req MemberRequest, content json.RawMessage) Draft {
	target := string(req.Target)
	return Draft{Type: typeMember, StateKey: &target, Sender: req.Sender, Content: content}
}

func profileOf(e *storage.Event) Profile {
	var p Profile
	v := event.Value(e.PDU.Content())
	p.DisplayName, _ = v.Get("displayname").Str()
	p.AvatarURL, _ = v.Get("avatar_url").Str()
	return p
}

// memberEvent is a user's current membership event; nil when there is none.
func (p *proposal) memberEvent(user id.UserID) (*storage.Event, error) {
	return p.room.eventAt(p.ctx, p.head.Root, event.Key{Type: typeMember, StateKey: string(user)})
}

// Invite invites a user to a room.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidinvite
func (s *Server) Invite(ctx context.Context, req MemberRequest) error {
	info, err := s.Info(ctx, req.Room)
	if err != nil {
		return err
	}
	if err := s.policy.invite(req.Sender, req.Target, info.Version); err != nil {
		return err
	}
	if !s.Local(req.Target) {
		return s.inviteRemote(ctx, req)
	}
	return s.with(ctx, req.Room, func(r *room) error {
		_, err := s.update(ctx, r, func(p *proposal) error {
			if err := p.mustBeInRoom(req.Sender); err != nil {
				return err
			}
			_, err := p.append(p.membership(req, req.content("invite")))
			return err
		})
		return err
	})
}

// Leave takes a local user out of a room, or refuses an invite, or takes back
// a knock.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidleave
func (s *Server) Leave(ctx context.Context, req MemberRequest) error {
	info, err := s.Info(ctx, req.Room)
	if err != nil {
		return err
	}
	member, err := s.db.Latest().Member(ctx, info.NID, req.Sender)
	if err != nil {
		return err
	}
	if member == nil {
		return NotInRoom(req.Sender)
	}
	if member.Membership == storage.Leave {
		return nil
	}
	resident, err := s.resident(ctx, req.Room)
	if err != nil {
		return err
	}
	if !resident {
		return s.leaveRemote(ctx, req)
	}
	return s.setMembership(ctx, req, "leave", nil)
}

// Kick removes a user from a room.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidkick
func (s *Server) Kick(ctx context.Context, req MemberRequest) error {
	return s.setMembership(ctx, req, "leave", func(before *storage.Event) error {
		switch membershipOf(before) {
		case storage.Join, storage.Invite, storage.Knock:
			return nil
		}
		return fault.New(fault.Forbidden, "%s is not in the room", req.Target)
	})
}

// Ban bans a user from a room.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidban
func (s *Server) Ban(ctx context.Context, req MemberRequest) error {
	return s.setMembership(ctx, req, "ban", nil)
}

// Unban lifts a ban.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidunban
func (s *Server) Unban(ctx context.Context, req MemberRequest) error {
	return s.setMembership(ctx, req, "leave", func(before *storage.Event) error {
		if membershipOf(before) != storage.Ban {
			return fault.New(fault.BadState, "%s is not banned from the room", req.Target)
		}
		return nil
	})
}

func (s *Server) setMembership(ctx context.Context, req MemberRequest, membership string, check func(before *storage.Event) error) error {
	return s.with(ctx, req.Room, func(r *room) error {
		_, err := s.update(ctx, r, func(p *proposal) error {
			if req.Sender != req.Target {
				if err := p.mustBeInRoom(req.Sender); err != nil {
					return err
				}
			}
			before, err := p.memberEvent(req.Target)
			if err != nil {
				return err
			}
			if check != nil {
				if err := check(before); err != nil {
					return err
				}
			}
			if req.Sender != req.Target && before != nil && !p.server.Local(req.Target) {
				req.Profile = profileOf(before)
			}
			_, err = p.append(p.membership(req, req.content(membership)))
			return err
		})
		return err
	})
}

// Knock asks to be let into a room.
//
// Spec: client-server-api/#post_matrixclientv3knockroomidoralias
func (s *Server) Knock(ctx context.Context, req MemberRequest) error {
	resident, err := s.resident(ctx, req.Room)
	if err != nil {
		return err
	}
	if !resident {
		return s.knockRemote(ctx, req)
	}
	return s.setMembership(ctx, req, "knock", nil)
}

// Forget makes a user forget a room that they have left.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidforget
func (s *Server) Forget(ctx context.Context, roomID id.RoomID, user id.UserID) error {
	info, err := s.Info(ctx, roomID)
	if err != nil {
		return err
	}
	m, err := s.db.Latest().Member(ctx, info.NID, user)
	if err != nil {
		return err
	}
	if m == nil {
		return fault.New(fault.NotFound, "You were never in this room")
	}
	if m.Membership != storage.Leave && m.Membership != storage.Ban {
		return fault.New(fault.BadState, "Leave the room before forgetting it")
	}
	touched, err := s.db.UserSubject(ctx, storage.User, user)
	if err != nil {
		return err
	}
	_, err = s.db.Commit(ctx, storage.Commit{
		Positions: 1, Write: []storage.Row{&storage.Forget{Room: info.NID, User: user}}, Touch: []storage.Subject{touched},
	})
	return err
}

// SetProfile makes a user's membership of a room show another profile.
func (s *Server) SetProfile(ctx context.Context, roomID id.RoomID, user id.UserID, profile Profile) error {
	return s.with(ctx, roomID, func(r *room) error {
		_, err := s.update(ctx, r, func(p *proposal) error {
			before, err := p.memberEvent(user)
			if err != nil || before == nil || before.PDU.Membership() != "join" || profileOf(before) == profile {
				return err
			}
			fields := map[string]json.RawMessage{}
			for name, v := range event.Value(before.PDU.Content()).Members() {
				switch name {
				case "displayname", "avatar_url", "reason", "join_authorised_via_users_server":
				default:
					fields[name] = json.RawMessage(v)
				}
			}
			req := MemberRequest{Sender: user, Target: user, Profile: profile, Content: fields}
			_, err = p.append(p.membership(req, req.content("join")))
			return err
		})
		return err
	})
}

// authorised completes the content of a join that only a member's word allows.
//
// Spec: client-server-api/#restricted-rooms, server-server-api/#restricted-rooms
func (p *proposal) authorised(user id.UserID, join json.RawMessage) (json.RawMessage, error) {
	rules, err := p.joinRules()
	if err != nil || !rules.restricted {
		return join, err
	}
	allowed, err := p.server.memberOfAny(p.ctx, user, rules.allow)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return nil, fault.New(fault.Forbidden, "You are not in any of the rooms that let people into this one")
	}
	authoriser, err := p.authoriser()
	if err != nil {
		return nil, err
	}
	if authoriser == "" {
		return nil, errNeedsResident
	}
	fields := map[string]json.RawMessage{}
	for name, v := range event.Value(join).Members() {
		fields[name] = json.RawMessage(v)
	}
	fields["join_authorised_via_users_server"] = content(authoriser)
	return content(fields), nil
}

// joinRules is what the current join rules say.
type joinRules struct {
	rule       string
	restricted bool
	allow      []id.RoomID
}

func (p *proposal) joinRules() (joinRules, error) {
	e, err := p.room.eventAt(p.ctx, p.head.Root, event.Key{Type: typeJoinRules})
	if err != nil || e == nil {
		return joinRules{rule: "invite"}, err
	}
	return parseJoinRules(p.room.rules, e.PDU), nil
}

func parseJoinRules(rules *event.Rules, e *event.PDU) joinRules {
	var j joinRules
	v := event.Value(e.Content())
	j.rule, _ = v.Get("join_rule").Str()
	j.restricted = j.rule == "restricted" && rules.RestrictedJoins || j.rule == "knock_restricted" && rules.KnockRestricted
	if j.restricted {
		for a := range v.Get("allow").Elements() {
			kind, _ := a.Get("type").Str()
			room, ok := a.Get("room_id").Str()
			if kind == "m.room_membership" && ok {
				j.allow = append(j.allow, id.RoomID(room))
			}
		}
	}
	return j
}

// memberOfAny reports whether a user has joined one of the rooms, as far as
// this server can see.
func (s *Server) memberOfAny(ctx context.Context, user id.UserID, rooms []id.RoomID) (bool, error) {
	for _, roomID := range rooms {
		info, err := s.Info(ctx, roomID)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		m, err := s.db.Latest().Member(ctx, info.NID, user)
		if err != nil {
			return false, err
		}
		if m != nil && m.Membership == storage.Join {
			return true, nil
		}
	}
	return false, nil
}

// authoriser is a local member who may invite, and so authorise restricted
// joins; empty when there is none.
func (p *proposal) authoriser() (id.UserID, error) {
	levels, err := p.levels()
	if err != nil {
		return "", err
	}
	members, err := p.server.db.Latest().LocalMembers(p.ctx, p.room.info.NID, storage.Join)
	if err != nil {
		return "", err
	}
	var best id.UserID
	for _, m := range members {
		if levels.CanInvite(m.User) && (best == "" || levels.UserLevel(m.User) > levels.UserLevel(best)) {
			best = m.User
		}
	}
	return best, nil
}
