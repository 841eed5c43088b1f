package inbound

import (
	"context"
	"net/http"
	"time"

	"entente/internal/fault"
	"entente/internal/web"
)

// roomACL says what an endpoint has to do with a room's server ACL. Its zero
// value is refused, so that no endpoint goes around it by omission.
type roomACL uint8

const (
	// aclPath: the ACL of the room in the path is asked before the handler.
	aclPath roomACL = iota + 1
	// aclInside: the handler asks for each room that the body names.
	aclInside
	// aclNone: the endpoint is not about rooms, or the specification does not
	// hold it to ACLs.
	aclNone
)

// route is one endpoint of the API.
type route struct {
	method, path string
	auth         web.Auth
	acl          roomACL
	handle       web.Handler
	spec         string
}

const (
	get  = http.MethodGet
	put  = http.MethodPut
	post = http.MethodPost

	v1 = "/_matrix/federation/v1"
	v2 = "/_matrix/federation/v2"
	v  = "server-server-api/#"

	// maxTransaction is how large a transaction may be: 50 events and 100 EDUs
	// of 64 KiB, as their senders may write them.
	maxTransaction = 12 << 20
	maxInvite      = 4 << 20
	longTimeout    = 10 * time.Minute
)

// table lists what there is.
//
// Spec: server-server-api/#server-access-control-lists-acls
func (s *Server) table() []route {
	const server, anyone = web.AuthServer, web.AuthNone
	return []route{
		{get, "/_matrix/key/v2/server", anyone, aclNone, s.getKeys, v + "get_matrixkeyv2server"},
		{get, "/_matrix/key/v2/query/{serverName}", anyone, aclNone, s.getKeyQuery, v + "get_matrixkeyv2queryservername"},
		{post, "/_matrix/key/v2/query", anyone, aclNone, s.postKeyQuery, v + "post_matrixkeyv2query"},
		{get, v1 + "/version", anyone, aclNone, s.getVersion, v + "get_matrixfederationv1version"},

		{put, v1 + "/send/{txnId}", server, aclInside, s.putSend, v + "put_matrixfederationv1sendtxnid"},

		{get, v1 + "/make_join/{roomId}/{userId}", server, aclPath, s.getMakeJoin, v + "get_matrixfederationv1make_joinroomiduserid"},
		{put, v2 + "/send_join/{roomId}/{eventId}", server, aclPath, s.putSendJoin, v + "put_matrixfederationv2send_joinroomideventid"},
		{get, v1 + "/make_leave/{roomId}/{userId}", server, aclPath, s.getMakeLeave, v + "get_matrixfederationv1make_leaveroomiduserid"},
		{put, v2 + "/send_leave/{roomId}/{eventId}", server, aclPath, s.putSendLeave, v + "put_matrixfederationv2send_leaveroomideventid"},
		{get, v1 + "/make_knock/{roomId}/{userId}", server, aclPath, s.getMakeKnock, v + "get_matrixfederationv1make_knockroomiduserid"},
		{put, v1 + "/send_knock/{roomId}/{eventId}", server, aclPath, s.putSendKnock, v + "put_matrixfederationv1send_knockroomideventid"},
		{put, v2 + "/invite/{roomId}/{eventId}", server, aclPath, s.putInvite, v + "put_matrixfederationv2inviteroomideventid"},
		{put, v1 + "/invite/{roomId}/{eventId}", server, aclPath, s.putInviteV1, v + "put_matrixfederationv1inviteroomideventid"},

		{get, v1 + "/event/{eventId}", server, aclNone, s.getEvent, v + "get_matrixfederationv1eventeventid"},
		{get, v1 + "/state/{roomId}", server, aclPath, s.getState, v + "get_matrixfederationv1stateroomid"},
		{get, v1 + "/state_ids/{roomId}", server, aclPath, s.getStateIDs, v + "get_matrixfederationv1state_idsroomid"},
		{get, v1 + "/event_auth/{roomId}/{eventId}", server, aclPath, s.getEventAuth, v + "get_matrixfederationv1event_authroomideventid"},
		{get, v1 + "/backfill/{roomId}", server, aclPath, s.getBackfill, v + "get_matrixfederationv1backfillroomid"},
		{post, v1 + "/get_missing_events/{roomId}", server, aclPath, s.postMissing, v + "post_matrixfederationv1get_missing_eventsroomid"},

		{get, v1 + "/query/directory", server, aclNone, s.getDirectory, v + "get_matrixfederationv1querydirectory"},
		{get, v1 + "/query/profile", server, aclNone, s.getProfile, v + "get_matrixfederationv1queryprofile"},
		{get, v1 + "/publicRooms", server, aclNone, s.getPublicRooms, v + "get_matrixfederationv1publicrooms"},
		{post, v1 + "/publicRooms", server, aclNone, s.postPublicRooms, v + "post_matrixfederationv1publicrooms"},
	}
}

// Routes lists all that the server serves, for a web.Router whose PeerAuthenticator
// is keys.Ring's. The router's MaxDepth should be that of an event, since
// transactions hold events.
func (s *Server) Routes() []web.Route {
	table := s.table()
	out := make([]web.Route, len(table))
	for i, r := range table {
		out[i] = web.Route{Method: r.method, Path: r.path, Auth: r.auth, Rate: web.RateFederation, Handle: s.guard(r), Spec: r.spec}
		switch r.path {
		case v1 + "/send/{txnId}":
			out[i].MaxBody, out[i].Timeout = maxTransaction, s.o.Patience+time.Minute
		case v2 + "/send_join/{roomId}/{eventId}", v1 + "/state/{roomId}":
			out[i].Timeout = longTimeout
		case v2 + "/invite/{roomId}/{eventId}", v1 + "/invite/{roomId}/{eventId}":
			out[i].MaxBody = maxInvite
		}
	}
	return out
}

// guard asks policy about the peer, and the room's ACL, before the handler.
func (s *Server) guard(r route) web.Handler {
	if r.acl != aclPath && r.acl != aclInside && r.acl != aclNone {
		return func(context.Context, *web.Call) (any, error) {
			return nil, fault.New(fault.Forbidden, "This endpoint does not say which rooms it is about")
		}
	}
	if r.auth != web.AuthServer {
		return r.handle
	}
	return func(ctx context.Context, c *web.Call) (any, error) {
		if err := s.o.Policy.Accept(c.Origin()); err != nil {
			return nil, err
		}
		s.o.Contacted(c.Origin())
		if r.acl == aclPath {
			room, err := c.RoomID("roomId")
			if err != nil {
				return nil, err
			}
			if err := s.admitTo(ctx, room, c.Origin()); err != nil {
				return nil, err
			}
		}
		return r.handle(ctx, c)
	}
}
