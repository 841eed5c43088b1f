package clientapi

import (
	"context"
	"encoding/json"

	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// roomAnswer names a room.
type roomAnswer struct {
	RoomID id.RoomID `json:"room_id"`
}

// createRoom makes a room.
func (s *Server) createRoom(ctx context.Context, c *web.Call) (any, error) {
	var req roomserver.CreateRequest
	if err := c.Decode(&req); err != nil {
		return nil, err
	}
	req.Creator = c.User()
	if s.opts.Directory.DefaultListed && req.Visibility == "" && req.Preset == "public_chat" && s.mayList(c) == nil {
		req.Visibility = "public"
	}
	if req.Visibility == "public" {
		if err := s.mayList(c); err != nil {
			return nil, err
		}
	}
	var err error
	if req.Member, err = s.memberProfile(ctx, c.User()); err != nil {
		return nil, err
	}
	room, err := s.rooms.Create(ctx, req)
	return roomAnswer{room}, err
}

// upgradeRoom replaces a room by one of another version.
func (s *Server) upgradeRoom(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var body struct {
		Version  event.Version `json:"new_version"`
		Creators []id.UserID   `json:"additional_creators"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.Version == "" {
		return nil, fault.New(fault.MissingParam, "Missing new_version")
	}
	req := roomserver.UpgradeRequest{Room: room, User: c.User(), Version: body.Version, AdditionalCreators: body.Creators}
	if req.Member, err = s.memberProfile(ctx, c.User()); err != nil {
		return nil, err
	}
	replacement, err := s.rooms.Upgrade(ctx, req)
	return map[string]id.RoomID{"replacement_room": replacement}, err
}

// maxVia bounds the servers that a client may name to go through.
const maxVia = 20

// target is the room that a path names by ID or alias, and the servers to go
// through.
func (s *Server) target(ctx context.Context, c *web.Call) (id.RoomID, []string, error) {
	room, alias, err := c.RoomIDOrAlias("roomIdOrAlias")
	if err != nil {
		return "", nil, err
	}
	via := c.QueryList("via")
	if len(via) == 0 {
		via = c.QueryList("server_name")
	}
	via = via[:min(len(via), maxVia)]
	for _, server := range via {
		if !web.ValidServerName(server) {
			return "", nil, fault.New(fault.InvalidParam, "%q is not a server name", server)
		}
	}
	if alias == "" {
		return room, via, nil
	}
	found, err := s.rooms.ResolveAlias(ctx, alias)
	return found.Room, append(via, found.Servers...), err
}

// reason is the body of most changes of membership.
type reason struct {
	Reason string `json:"reason"`
}

// own is a change of the caller's own membership.
func (s *Server) own(ctx context.Context, c *web.Call, room id.RoomID) (roomserver.MemberRequest, error) {
	var body reason
	if err := c.DecodeOptional(&body); err != nil {
		return roomserver.MemberRequest{}, err
	}
	profile, err := s.memberProfile(ctx, c.User())
	return roomserver.MemberRequest{Room: room, Sender: c.User(), Target: c.User(), Reason: body.Reason, Profile: profile}, err
}

// joinRoom joins the room that the path names by its ID.
func (s *Server) joinRoom(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return s.enter(ctx, c, room, nil, s.rooms.Join)
}

// joinRoomOrAlias joins the room that the path names by its ID or an alias.
func (s *Server) joinRoomOrAlias(ctx context.Context, c *web.Call) (any, error) {
	room, via, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.enter(ctx, c, room, via, s.rooms.Join)
}

func (s *Server) knockRoom(ctx context.Context, c *web.Call) (any, error) {
	room, via, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.enter(ctx, c, room, via, s.rooms.Knock)
}

func (s *Server) enter(ctx context.Context, c *web.Call, room id.RoomID, via []string, do func(context.Context, roomserver.MemberRequest) error) (any, error) {
	req, err := s.own(ctx, c, room)
	if err != nil {
		return nil, err
	}
	req.Via = via
	return roomAnswer{room}, do(ctx, req)
}

func (s *Server) leaveRoom(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var body reason
	if err := c.DecodeOptional(&body); err != nil {
		return nil, err
	}
	err = s.rooms.Leave(ctx, roomserver.MemberRequest{Room: room, Sender: c.User(), Target: c.User(), Reason: body.Reason})
	return web.Empty, hideRoom(c, err)
}

func (s *Server) forgetRoom(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	err = s.rooms.Forget(ctx, room, c.User())
	if fault.Is(err, fault.NotFound) {
		err = fault.New(fault.NotFound, "You were never in this room")
	}
	return web.Empty, err
}

func (s *Server) invite(ctx context.Context, c *web.Call) (any, error) {
	return s.moderate(ctx, c, s.rooms.Invite)
}

func (s *Server) kick(ctx context.Context, c *web.Call) (any, error) {
	return s.moderate(ctx, c, s.rooms.Kick)
}

func (s *Server) ban(ctx context.Context, c *web.Call) (any, error) {
	return s.moderate(ctx, c, s.rooms.Ban)
}

func (s *Server) unban(ctx context.Context, c *web.Call) (any, error) {
	return s.moderate(ctx, c, s.rooms.Unban)
}

// moderate changes another's membership.
func (s *Server) moderate(ctx context.Context, c *web.Call, do func(context.Context, roomserver.MemberRequest) error) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var body struct {
		User   id.UserID `json:"user_id"`
		Reason string    `json:"reason"`
		Medium string    `json:"medium"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.User == "" && body.Medium != "":
		return nil, fault.New(fault.InvalidParam, "This server has no identity server to invite through")
	case body.User == "":
		return nil, fault.New(fault.MissingParam, "Missing user_id")
	case !event.ValidUserID(body.User):
		return nil, fault.New(fault.InvalidParam, "user_id is not a user ID")
	}
	req := roomserver.MemberRequest{Room: room, Sender: c.User(), Target: body.User, Reason: body.Reason}
	if s.accounts.Ours(body.User) {
		if req.Profile, err = s.memberProfile(ctx, body.User); err != nil {
			return nil, err
		}
	}
	return web.Empty, hideRoom(c, do(ctx, req))
}

// putMember sets a membership as a state event would, by the call that it
// stands for.
func (s *Server) putMember(ctx context.Context, c *web.Call, room id.RoomID, target id.UserID) error {
	fields := map[string]json.RawMessage{}
	if err := c.Decode(&fields); err != nil {
		return err
	}
	if !event.ValidUserID(target) {
		return fault.New(fault.InvalidParam, "The state key of a membership is a user ID")
	}
	var membership string
	if err := json.Unmarshal(fields["membership"], &membership); err != nil {
		return fault.New(fault.BadJSON, "membership must be a string")
	}
	req := roomserver.MemberRequest{Room: room, Sender: c.User(), Target: target, Content: fields}
	_, named := fields["displayname"]
	_, pictured := fields["avatar_url"]
	if !named && !pictured && membership == "join" {
		var err error
		if req.Profile, err = s.memberProfile(ctx, target); err != nil {
			return err
		}
	}
	do := map[string]func(context.Context, roomserver.MemberRequest) error{
		"join": s.rooms.Join, "knock": s.rooms.Knock, "invite": s.rooms.Invite, "ban": s.rooms.Ban, "leave": s.rooms.Leave,
	}[membership]
	switch {
	case do == nil:
		return fault.New(fault.BadJSON, "There is no membership %q", membership)
	case membership == "leave" && target != c.User():
		return s.remove(ctx, req)
	case (membership == "join" || membership == "knock") && target != c.User():
		return fault.New(fault.Forbidden, "Only the user themselves can do this")
	}
	return do(ctx, req)
}

// remove takes another out of the room, or lifts their ban.
func (s *Server) remove(ctx context.Context, req roomserver.MemberRequest) error {
	err := s.rooms.Unban(ctx, req)
	if fault.Is(err, fault.BadState) {
		return s.rooms.Kick(ctx, req)
	}
	return err
}

func (s *Server) joinedRooms(ctx context.Context, c *web.Call) (any, error) {
	rooms, err := s.rooms.JoinedRooms(ctx, c.User())
	return map[string][]id.RoomID{"joined_rooms": rooms}, err
}
