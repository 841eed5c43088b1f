package client

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

const (
	templateLimit = 1 << 20
	strippedLimit = 8 << 20
)

// Template is a resident server's answer to make_join, make_leave or
// make_knock: the room's version and an event to be checked, filled in and
// signed.
type Template struct {
	Version event.Version
	Event   json.RawMessage
}

// MakeJoin asks for a template of user's join. The versions are those that we
// speak.
//
// Spec: server-server-api/#get_matrixfederationv1make_joinroomiduserid
func (c *Client) MakeJoin(ctx context.Context, server string, room id.RoomID, user id.UserID, versions []event.Version) (Template, error) {
	return c.template(ctx, server, withQuery(path(federationV1+"/make_join", string(room), string(user)), versionQuery(versions)))
}

// MakeLeave asks for a template of user's leave, to refuse an invite or take
// back a knock.
//
// Spec: server-server-api/#get_matrixfederationv1make_leaveroomiduserid
func (c *Client) MakeLeave(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error) {
	return c.template(ctx, server, path(federationV1+"/make_leave", string(room), string(user)))
}

// MakeKnock asks for a template of user's knock. The versions are those that
// we speak.
//
// Spec: server-server-api/#get_matrixfederationv1make_knockroomiduserid
func (c *Client) MakeKnock(ctx context.Context, server string, room id.RoomID, user id.UserID, versions []event.Version) (Template, error) {
	return c.template(ctx, server, withQuery(path(federationV1+"/make_knock", string(room), string(user)), versionQuery(versions)))
}

func versionQuery(versions []event.Version) url.Values {
	query := url.Values{}
	for _, v := range versions {
		query.Add("ver", string(v))
	}
	return query
}

func (c *Client) template(ctx context.Context, server, uri string) (Template, error) {
	var answer struct {
		Version event.Version   `json:"room_version"`
		Event   json.RawMessage `json:"event"`
	}
	if err := c.do(ctx, call{server: server, method: http.MethodGet, uri: uri, limit: templateLimit}, &answer); err != nil {
		return Template{}, err
	}
	if !isObject(answer.Event) {
		return Template{}, malformed(server, errors.New("the answer has no event"))
	}
	if answer.Version == "" {
		// Servers older than room versions leave it out.
		answer.Version = "1"
	}
	return Template(answer), nil
}

// SendJoinRequest is a signed join.
type SendJoinRequest struct {
	Room    id.RoomID
	EventID id.EventID
	Event   json.RawMessage // canonical
	// OmitMembers accepts an answer without membership events.
	OmitMembers bool
}

// JoinAnswer is what send_join answers besides the state of the room.
type JoinAnswer struct {
	// Event is the join as the resident server accepted it, with its
	// signature; nil when it did not send it back.
	Event json.RawMessage
	// MembersOmitted: membership events are left out of the state.
	MembersOmitted bool
	// Servers are the servers in the room, when members were left out.
	Servers []string
}

// SendJoin sends a join to a resident server, and gives the room's state and
// auth chain to each as they arrive.
//
// Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
func (c *Client) SendJoin(ctx context.Context, server string, req SendJoinRequest, each Receiver) (JoinAnswer, error) {
	uri := path(federationV2+"/send_join", string(req.Room), string(req.EventID))
	if req.OmitMembers {
		uri += "?omit_members=true"
	}
	var signed, omitted, servers json.RawMessage
	err := c.stream(ctx, call{server: server, method: http.MethodPut, uri: uri, body: req.Event, limit: stateLimit}, map[string]field{
		"state":           {required: true, each: each.of(StatePart)},
		"auth_chain":      {required: true, each: each.of(AuthPart)},
		"event":           {into: &signed},
		"members_omitted": {into: &omitted},
		"servers_in_room": {into: &servers},
	})
	if err != nil {
		return JoinAnswer{}, err
	}
	var answer JoinAnswer
	if err := errors.Join(decode(omitted, &answer.MembersOmitted), decode(servers, &answer.Servers)); err != nil {
		return JoinAnswer{}, malformed(server, err)
	}
	if isObject(signed) {
		answer.Event = signed
	}
	return answer, nil
}

func decode(raw json.RawMessage, out any) error {
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// SendLeave sends a signed leave, canonical, to a resident server.
//
// Spec: server-server-api/#put_matrixfederationv2send_leaveroomideventid
func (c *Client) SendLeave(ctx context.Context, server string, room id.RoomID, eventID id.EventID, leave json.RawMessage) error {
	var answer struct{}
	return c.do(ctx, call{
		server: server, method: http.MethodPut, body: leave, limit: templateLimit,
		uri: path(federationV2+"/send_leave", string(room), string(eventID)),
	}, &answer)
}

// SendKnock sends a signed knock, canonical, to a resident server, and
// answers the stripped state of the room.
//
// Spec: server-server-api/#put_matrixfederationv1send_knockroomideventid
func (c *Client) SendKnock(ctx context.Context, server string, room id.RoomID, eventID id.EventID, knock json.RawMessage) ([]json.RawMessage, error) {
	var answer struct {
		State []json.RawMessage `json:"knock_room_state"`
	}
	err := c.do(ctx, call{
		server: server, method: http.MethodPut, body: knock, limit: strippedLimit,
		uri: path(federationV1+"/send_knock", string(room), string(eventID)),
	}, &answer)
	return answer.State, err
}

// InviteRequest is a signed invite.
type InviteRequest struct {
	Room    id.RoomID
	EventID id.EventID
	Version event.Version
	Event   json.RawMessage // canonical
	// State helps the invited user to tell the room: full events, canonical,
	// the create event among them.
	State []json.RawMessage
}

// Invite sends an invite to the invited user's server, and answers the event
// with that server's signature. A server that only knows version 1 of the
// call gets that, for the room versions that it can mean.
//
// Spec: server-server-api/#put_matrixfederationv2inviteroomideventid
func (c *Client) Invite(ctx context.Context, server string, req InviteRequest) (json.RawMessage, error) {
	body := appendMember(nil, "event", req.Event)
	body = appendMember(body, "invite_room_state", appendArray(nil, req.State))
	body = append(appendMember(body, "room_version", []byte(strconv.Quote(string(req.Version)))), '}')
	var answer inviteAnswer
	err := c.do(ctx, call{
		server: server, method: http.MethodPut, body: body, limit: strippedLimit,
		uri: path(federationV2+"/invite", string(req.Room), string(req.EventID)),
	}, &answer)
	if IsUnrecognized(err) && (req.Version == "1" || req.Version == "2") {
		return c.inviteV1(ctx, server, req)
	}
	if err != nil {
		return nil, err
	}
	if !isObject(answer.Event) {
		return nil, malformed(server, errors.New("the answer has no event"))
	}
	return answer.Event, nil
}

func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }

type inviteAnswer struct {
	Event json.RawMessage `json:"event"`
}

// inviteV1 carries the state in the event's unsigned object.
//
// Spec: server-server-api/#put_matrixfederationv1inviteroomideventid
func (c *Client) inviteV1(ctx context.Context, server string, req InviteRequest) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(req.Event, &fields); err != nil {
		return nil, err
	}
	fields["unsigned"] = append(appendMember(nil, "invite_room_state", appendArray(nil, req.State)), '}')
	var body []byte
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		body = appendMember(body, key, fields[key])
	}
	body = append(body, '}')
	// The answer is a pair: 200, and the object of version 2.
	var answer [2]json.RawMessage
	err := c.do(ctx, call{
		server: server, method: http.MethodPut, body: body, limit: strippedLimit,
		uri: path(federationV1+"/invite", string(req.Room), string(req.EventID)),
	}, &answer)
	if err != nil {
		return nil, err
	}
	var signed inviteAnswer
	if err := json.Unmarshal(answer[1], &signed); err != nil || !isObject(signed.Event) {
		return nil, malformed(server, errors.Join(errors.New("the answer has no event"), err))
	}
	return signed.Event, nil
}

// appendMember appends a member to an object, opening it if need be. Events
// are put into bodies as they are: they are canonical by the rules of their
// own room version, which may be laxer than those of today.
func appendMember(obj []byte, key string, value json.RawMessage) []byte {
	if len(obj) == 0 {
		obj = append(obj, '{')
	} else {
		obj = append(obj, ',')
	}
	obj = append(strconv.AppendQuote(obj, key), ':')
	return append(obj, value...)
}

func appendArray(dst []byte, values []json.RawMessage) []byte {
	dst = append(dst, '[')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, value...)
	}
	return append(dst, ']')
}
