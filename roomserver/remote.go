package roomserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// maxCandidates bounds the servers that one request goes through.
const maxCandidates = 10

// candidates are the servers to go through to a room that we are not in: those
// the caller named, the inviter's, and the one in an old room ID.
func (s *Server) candidates(ctx context.Context, req MemberRequest) []string {
	named := slices.Clone(req.Via)
	if info, err := s.Info(ctx, req.Room); err == nil {
		if m, err := s.db.Latest().Member(ctx, info.NID, req.Target); err == nil && m != nil && m.Sender != req.Target {
			named = append(named, event.ServerOf(m.Sender))
		}
	}
	named = append(named, event.ServerOf(req.Room))
	var out []string
	for _, server := range named {
		if server != s.name && event.ValidServerName(server) && !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out[:min(len(out), maxCandidates)]
}

// through tries candidates one after another until one of them did it. What a
// server refused is final only if no other one can do it.
func (s *Server) through(ctx context.Context, req MemberRequest, try func(server string) error) error {
	if s.peers == nil {
		return fault.New(fault.Unreachable, "This server does not federate")
	}
	candidates := s.candidates(ctx, req)
	if len(candidates) == 0 {
		return fault.New(fault.NotFound, "This server does not know the room, and no server that does was named")
	}
	var failure error
	for _, server := range candidates {
		err := try(server)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if failure == nil || fault.Is(failure, fault.Unreachable) {
			failure = err
		}
	}
	return failure
}

// handshake is a membership that is made through another server.
type handshake struct {
	server string
	info   *storage.RoomInfo
	rules  *event.Rules
	pdu    *event.PDU
}

// makeMembership gets a template from a resident server and builds the event.
func (s *Server) makeMembership(ctx context.Context, req MemberRequest, membership string, t client.Template) (*handshake, error) {
	rules, ok := event.RulesOf(t.Version)
	if !ok {
		return nil, fault.New(fault.UnsupportedVersion, "The room is of version %q, which this server does not speak", t.Version)
	}
	draft, err := event.ParseTemplate(rules, t.Event, event.Expected{Room: req.Room, User: req.Target, Membership: membership})
	if err != nil {
		return nil, fault.Wrap(err, fault.Unreachable, "The other server's answer cannot be used")
	}
	fields := map[string]json.RawMessage{}
	for name, v := range event.Value(req.content(membership)).Members() {
		fields[name] = json.RawMessage(v)
	}
	for name, v := range event.Value(draft.Content).Members() {
		fields[name] = json.RawMessage(v)
	}
	draft.Content, draft.Timestamp, draft.Origin = content(fields), s.now().UnixMilli(), s.name
	if rules.EventIDInBody {
		draft.EventID = id.EventID("$" + rand.Text() + ":" + s.name)
	}
	h := &handshake{rules: rules}
	if h.pdu, err = draft.Build(rules, s.sign()); err != nil {
		return nil, err
	}
	h.info, err = s.addRoom(ctx, req.Room, t.Version)
	return h, err
}

// addRoom notes a room that another server told us of. Its version is that
// server's word, and corrects an earlier one, unless we know it from having
// been in the room.
func (s *Server) addRoom(ctx context.Context, roomID id.RoomID, version event.Version) (*storage.RoomInfo, error) {
	info, err := s.db.AddRoom(ctx, roomID, version)
	if err != nil {
		return nil, err
	}
	if info.Version != version {
		return nil, fault.New(fault.InvalidParam, "The room is of version %s, not %s", info.Version, version)
	}
	if known, ok := s.infos.Get(roomID); ok && known.Version != version {
		s.infos.Remove(roomID)
		s.byNID.Remove(info.NID)
		s.mu.Lock()
		delete(s.rooms, info.NID)
		s.mu.Unlock()
	}
	return info, nil
}

// leaveRemote refuses an invite, or takes back a knock, through a server that
// is in the room. When none can be reached the user has left all the same.
func (s *Server) leaveRemote(ctx context.Context, req MemberRequest) error {
	var left *event.PDU
	err := s.through(ctx, req, func(server string) error {
		t, err := s.peers.MakeLeave(ctx, server, req.Room, req.Target)
		if err != nil {
			return err
		}
		h, err := s.makeMembership(ctx, req, "leave", t)
		if err != nil {
			return err
		}
		left = h.pdu
		return s.peers.SendLeave(ctx, server, req.Room, h.pdu.ID(), h.pdu.JSON())
	})
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		s.log.Warn("leaving a room was not told to its servers", "room", req.Room, "error", err)
		left = nil
	}
	info, err := s.Info(ctx, req.Room)
	if err != nil {
		return err
	}
	return s.outside(ctx, left, &storage.Member{
		Room: info.NID, User: req.Target, Membership: storage.Leave, Sender: req.Target, Local: true,
	})
}

// outside stores what a local user's membership has become in a room that this
// server is not in. The event itself is not stored: what it cites is not known
// here. What clients are shown of it is kept with the member.
func (s *Server) outside(ctx context.Context, pdu *event.PDU, m *storage.Member) error {
	touched, err := s.db.UserSubject(ctx, storage.User, m.User)
	if err != nil {
		return err
	}
	if m.Stripped == nil && pdu != nil {
		m.Stripped = append(pdu.AppendStripped([]byte{'['}), ']')
	}
	var version event.NID
	h, err := s.db.Latest().Head(ctx, m.Room)
	if err != nil {
		return err
	}
	if h != nil {
		version = h.Version
	}
	if joined, err := s.db.Latest().HasLocalMember(ctx, m.Room); err != nil || joined {
		return cmp.Or(err, error(fault.New(fault.Unavailable, "This server has just joined the room; try again")))
	}
	_, err = s.db.Commit(ctx, storage.Commit{
		Positions: 1, Expect: []storage.Precondition{storage.RoomHead(m.Room, version)},
		Touch: []storage.Subject{touched}, Write: []storage.Row{m.At(0)},
	})
	if errors.Is(err, storage.ErrConflict) {
		return fault.Wrap(err, fault.Unavailable, "The room is changing; try again")
	}
	return err
}

// knockRemote knocks through a server that is in the room.
func (s *Server) knockRemote(ctx context.Context, req MemberRequest) error {
	return s.through(ctx, req, func(server string) error {
		t, err := s.peers.MakeKnock(ctx, server, req.Room, req.Target, event.SupportedVersions())
		if err != nil {
			return err
		}
		h, err := s.makeMembership(ctx, req, "knock", t)
		if err != nil {
			return err
		}
		stripped, err := s.peers.SendKnock(ctx, server, req.Room, h.pdu.ID(), h.pdu.JSON())
		if err != nil {
			return err
		}
		return s.outside(ctx, h.pdu, &storage.Member{
			Room: h.info.NID, User: req.Target, Membership: storage.Knock, Sender: req.Target, Local: true, Stripped: content(stripped),
		})
	})
}

// inviteRemote has the invited user's server sign the invite before it enters
// the room. It is then never built again: if the room moved meanwhile, it
// enters as a fork.
//
// Spec: server-server-api/#inviting-to-a-room
func (s *Server) inviteRemote(ctx context.Context, req MemberRequest) error {
	server := event.ServerOf(req.Target)
	if s.peers == nil {
		return fault.New(fault.Unreachable, "This server does not federate")
	}
	return s.with(ctx, req.Room, func(r *room) error {
		invite, stripped, err := s.draftInvite(ctx, r, req)
		if err != nil {
			return err
		}
		raw, err := s.peers.Invite(ctx, server, client.InviteRequest{
			Version: r.info.Version, Room: r.info.ID, EventID: invite.ID(), Event: invite.JSON(), State: stripped,
		})
		if err != nil {
			return err
		}
		signed, err := event.Parse(r.rules, raw)
		if err != nil || signed.ID() != invite.ID() {
			return fault.Wrap(err, fault.Unreachable, "%s answered the invite with something else", server)
		}
		if err := s.keys.VerifyPDU(ctx, signed); err != nil {
			return err
		}
		_, err = s.update(ctx, r, func(p *proposal) error {
			p.relay = true
			return p.receive(signed, noClaim)
		})
		if err != nil {
			return err
		}
		_, err = s.kept(ctx, r, signed, "invite")
		return err
	})
}

// draftInvite builds an invite on the room's head without entering it.
func (s *Server) draftInvite(ctx context.Context, r *room, req MemberRequest) (*event.PDU, []json.RawMessage, error) {
	if err := r.hold(ctx); err != nil {
		return nil, nil, err
	}
	defer r.unhold()
	if err := r.loadHeld(ctx); err != nil {
		return nil, nil, err
	}
	p := &proposal{ctx: ctx, server: s, room: r, head: r.head}
	if err := p.mustBeInRoom(req.Sender); err != nil {
		return nil, nil, err
	}
	if err := p.settle(); err != nil { // what the invite follows must not be lost
		return nil, nil, fault.Wrap(err, fault.Unavailable, "The room is changing; try again")
	}
	invite, _, err := p.build(p.membership(req, req.content("invite")))
	if err != nil {
		return nil, nil, err
	}
	if err := p.allow(invite); err != nil {
		return nil, nil, err
	}
	if err := s.policy.send(invite, p.head.Destinations.With(event.ServerOf(req.Target))); err != nil {
		return nil, nil, err
	}
	stripped, err := p.stripped(req.Sender)
	return invite, stripped, err
}

// strippedTypes is the state that invited and knocking users are shown.
//
// Spec: client-server-api/#stripped-state
var strippedTypes = []string{
	typeCreate, typeName, typeAvatar, typeTopic, typeJoinRules, typeCanonicalAlias, typeEncryption, "m.room.tombstone",
}

// stripped is the state that an invited or knocking user's server is shown:
// whole events, of which clients see the stripped form.
//
// Spec: server-server-api/#inviting-to-a-room
func (p *proposal) stripped(inviter id.UserID) ([]json.RawMessage, error) {
	keys := make([]event.Key, 0, len(strippedTypes)+1)
	for _, typ := range strippedTypes {
		keys = append(keys, event.Key{Type: typ})
	}
	if inviter != "" {
		keys = append(keys, event.Key{Type: typeMember, StateKey: string(inviter)})
	}
	var out []json.RawMessage
	for _, key := range keys {
		e, err := p.room.eventAt(p.ctx, p.head.Root, key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			out = append(out, e.PDU.JSON())
		}
	}
	return out, nil
}

// ReceiveInvite signs an invite of a local user, and shows it to the user. The
// answer is the event with our signature.
//
// Spec: server-server-api/#put_matrixfederationv2inviteroomideventid
func (s *Server) ReceiveInvite(ctx context.Context, origin string, version event.Version, raw json.RawMessage, stripped []json.RawMessage) (*event.PDU, error) {
	rules, ok := event.RulesOf(version)
	if !ok {
		return nil, fault.New(fault.IncompatibleVersion, "This server does not speak room version %q", version)
	}
	pdu, err := event.Parse(rules, raw)
	if err != nil {
		return nil, err
	}
	target, isState := pdu.StateKey()
	if !isState || pdu.Type() != typeMember || pdu.Membership() != "invite" || !s.Local(id.UserID(target)) {
		return nil, fault.New(fault.InvalidParam, "The event is not an invite of a user of this server")
	}
	if event.ServerOf(pdu.Sender()) != origin {
		return nil, fault.New(fault.Forbidden, "The invite is not by a user of %s", origin)
	}
	if err := s.keys.VerifyPDU(ctx, pdu); err != nil {
		return nil, err
	}
	if err := s.policy.invite(pdu.Sender(), id.UserID(target), version); err != nil {
		return nil, err
	}
	if s.exists != nil {
		if err := s.exists(ctx, id.UserID(target)); err != nil {
			return nil, err
		}
	}
	signed := pdu.WithSignature(s.sign())
	info, err := s.addRoom(ctx, pdu.RoomID(), version)
	if err != nil {
		return nil, err
	}
	resident, err := s.resident(ctx, info.ID)
	if err != nil || resident { // then the invite comes with the room's events
		return signed, err
	}
	return signed, s.outside(ctx, signed, &storage.Member{
		Room: info.NID, User: id.UserID(target), Membership: storage.Invite, Sender: pdu.Sender(), Local: true, Stripped: clientStripped(rules, signed, stripped),
	})
}

// clientStripped is stripped state as clients see it: of whole events, or of
// the stripped ones that older servers send, and the invite itself.
func clientStripped(rules *event.Rules, invite *event.PDU, sent []json.RawMessage) []byte {
	out := []byte{'['}
	for _, raw := range sent[:min(len(sent), maxStripped)] {
		if e := strippedEvent(rules, raw); e != nil {
			out = append(append(out, e...), ',')
		}
	}
	return append(invite.AppendStripped(out), ']')
}

const maxStripped = 100

// strippedEvent keeps of an event what stripped state has; nil when it is none.
func strippedEvent(rules *event.Rules, raw json.RawMessage) []byte {
	if pdu, err := event.Parse(rules, raw); err == nil {
		if _, isState := pdu.StateKey(); isState {
			return pdu.AppendStripped(nil)
		}
		return nil
	}
	canonical, err := event.Canonical(raw)
	if err != nil || len(canonical) > event.MaxSize {
		return nil
	}
	fields := map[string]json.RawMessage{}
	for name, v := range event.Value(canonical).Members() {
		switch name {
		case "content", "sender", "state_key", "type":
			fields[name] = json.RawMessage(v)
		}
	}
	if len(fields) != 4 {
		return nil
	}
	return content(fields)
}

// receiveOutside takes an event of a room that this server is not in: only the
// end of an invite or knock of a local user is of interest.
func (s *Server) receiveOutside(ctx context.Context, pdu *event.PDU) error {
	target, isState := pdu.StateKey()
	membership := pdu.Membership()
	if !isState || pdu.Type() != typeMember || !s.Local(id.UserID(target)) || membership != "leave" && membership != "ban" {
		return fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room")
	}
	info, err := s.Info(ctx, pdu.RoomID())
	if err != nil {
		return err
	}
	m, err := s.db.Latest().Member(ctx, info.NID, id.UserID(target))
	if err != nil {
		return err
	}
	if m == nil || m.Membership != storage.Invite && m.Membership != storage.Knock {
		return fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room")
	}
	if event.ServerOf(pdu.Sender()) != event.ServerOf(m.Sender) && pdu.Sender() != m.Sender {
		return fault.New(fault.Forbidden, "Only the inviting server can take the invite back")
	}
	is, _ := storage.ParseMembership(membership)
	return s.outside(ctx, pdu, &storage.Member{Room: info.NID, User: m.User, Membership: is, Sender: pdu.Sender(), Local: true})
}
