package inbound

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

// getMakeJoin answers the template of a join.
func (s *Server) getMakeJoin(ctx context.Context, c *web.Call) (any, error) {
	return s.template(ctx, c, "join")
}

// getMakeLeave answers the template of a leave.
func (s *Server) getMakeLeave(ctx context.Context, c *web.Call) (any, error) {
	return s.template(ctx, c, "leave")
}

// getMakeKnock answers the template of a knock.
func (s *Server) getMakeKnock(ctx context.Context, c *web.Call) (any, error) {
	return s.template(ctx, c, "knock")
}

// template is a membership event for the peer to fill in and sign.
type template struct {
	Event   json.RawMessage `json:"event"`
	Version event.Version   `json:"room_version"`
}

func (s *Server) template(ctx context.Context, c *web.Call, membership string) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	var versions []event.Version
	for _, v := range c.QueryList("ver") {
		versions = append(versions, event.Version(v))
	}
	version, draft, err := s.rooms.MakeMembership(ctx, c.Origin(), room, user, membership, versions)
	if err != nil {
		return nil, err
	}
	return template{Event: s.withOrigin(draft), Version: version}, nil
}

// withOrigin adds to a template the name of the resident server, which the
// specification wants there, although room versions have no such field any
// more.
func (s *Server) withOrigin(draft json.RawMessage) json.RawMessage {
	out := strconv.AppendQuote([]byte(`{"origin":`), s.rooms.Name())
	return append(append(out, ','), draft[1:]...)
}

// signed is a membership event that a peer sends to the room through us.
func signed(c *web.Call) (room id.RoomID, eventID id.EventID, raw json.RawMessage, err error) {
	if room, err = c.RoomID("roomId"); err != nil {
		return
	}
	if eventID, err = c.EventID("eventId"); err != nil {
		return
	}
	raw, err = c.JSON()
	return
}

// putSendJoin lets a user of the peer join, and answers the room.
func (s *Server) putSendJoin(ctx context.Context, c *web.Call) (any, error) {
	room, eventID, raw, err := signed(c)
	if err != nil {
		return nil, err
	}
	arrival, err := s.rooms.AcceptJoin(ctx, c.Origin(), room, eventID, raw)
	if err != nil {
		return nil, err
	}
	return s.arrival(c.Origin(), arrival), nil
}

// arrival answers send_join. The state may be large, so it is written event by
// event.
func (s *Server) arrival(peer string, a *roomserver.Arrival) web.Stream {
	return func(w http.ResponseWriter, _ *http.Request) error {
		// Policy may have changed while the answer was made.
		if err := s.o.Policy.Accept(peer); err != nil {
			return err
		}
		out := newObject(w)
		out.events("auth_chain", a.Auth)
		out.value("event", a.Event.JSON())
		out.value("members_omitted", []byte("false"))
		out.events("state", a.State)
		return out.end()
	}
}

// putSendLeave lets a user of the peer leave, or refuse an invite.
func (s *Server) putSendLeave(ctx context.Context, c *web.Call) (any, error) {
	room, eventID, raw, err := signed(c)
	if err != nil {
		return nil, err
	}
	return web.Empty, s.rooms.AcceptLeave(ctx, c.Origin(), room, eventID, raw)
}

// putSendKnock lets a user of the peer knock, and answers stripped state.
func (s *Server) putSendKnock(ctx context.Context, c *web.Call) (any, error) {
	room, eventID, raw, err := signed(c)
	if err != nil {
		return nil, err
	}
	stripped, err := s.rooms.AcceptKnock(ctx, c.Origin(), room, eventID, raw)
	if err != nil {
		return nil, err
	}
	return map[string][]json.RawMessage{"knock_room_state": stripped}, nil
}

// invite is an invite of one of our users, to be signed.
type invite struct {
	Event   json.RawMessage   `json:"event"`
	Version event.Version     `json:"room_version"`
	State   []json.RawMessage `json:"invite_room_state"`
}

// putInvite signs an invite of one of our users.
func (s *Server) putInvite(ctx context.Context, c *web.Call) (any, error) {
	var in invite
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if len(in.Event) == 0 || in.Version == "" {
		return nil, fault.New(fault.MissingParam, "The invite needs event and room_version")
	}
	return s.sign(ctx, c, in)
}

// putInviteV1 signs an invite of a server that knows room versions 1 and 2
// only: the state is in the event's unsigned object, and the answer in a pair.
func (s *Server) putInviteV1(ctx context.Context, c *web.Call) (any, error) {
	raw, err := c.JSON()
	if err != nil {
		return nil, err
	}
	in := invite{Event: raw, Version: "1"}
	for _, e := range gjson.GetBytes(raw, "unsigned.invite_room_state").Array() {
		in.State = append(in.State, json.RawMessage(e.Raw))
	}
	answer, err := s.sign(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return []any{http.StatusOK, answer}, nil
}

func (s *Server) sign(ctx context.Context, c *web.Call, in invite) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	eventID, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	rules, ok := event.RulesOf(in.Version)
	if !ok {
		refusal := fault.New(fault.IncompatibleVersion, "This server does not speak room version %q", in.Version)
		refusal.RoomVersion = string(in.Version)
		return nil, refusal
	}
	pdu, err := event.Parse(rules, in.Event)
	if err != nil {
		return nil, malformed(err)
	}
	if pdu.RoomID() != room || pdu.ID() != eventID {
		return nil, fault.New(fault.InvalidParam, "The event is not the one that the path names")
	}
	accepted, err := s.rooms.ReceiveInvite(ctx, c.Origin(), in.Version, in.Event, in.State)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{"event": accepted.JSON()}, nil
}
