package clientapi

import (
	"slices"

	"entente/internal/web"
)

// roomRoutes are rooms: who is in them, what is said in them, what they are
// called, and where they are found.
func (s *Server) roomRoutes() []web.Route {
	return slices.Concat(s.membershipRoutes(), s.eventRoutes(), s.historyRoutes(), s.directoryRoutes())
}

func (s *Server) membershipRoutes() []web.Route {
	const room, spec = "/_matrix/client/v3/rooms/{roomId}", "client-server-api/#"
	return []web.Route{
		{Method: "POST", Path: "/_matrix/client/v3/createRoom", Auth: web.AuthUser, Rate: web.RateCreate, Handle: s.createRoom, Spec: spec + "post_matrixclientv3createroom"},
		{Method: "POST", Path: "/_matrix/client/v3/join/{roomIdOrAlias}", Auth: web.AuthUser, Rate: web.RateJoin, Handle: s.joinRoomOrAlias, Spec: spec + "post_matrixclientv3joinroomidoralias"},
		{Method: "POST", Path: "/_matrix/client/v3/knock/{roomIdOrAlias}", Auth: web.AuthUser, Rate: web.RateJoin, Handle: s.knockRoom, Spec: spec + "post_matrixclientv3knockroomidoralias"},
		{Method: "GET", Path: "/_matrix/client/v3/joined_rooms", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.joinedRooms, Spec: spec + "get_matrixclientv3joined_rooms"},

		{Method: "POST", Path: room + "/join", Auth: web.AuthUser, Rate: web.RateJoin, Handle: s.joinRoom, Spec: spec + "post_matrixclientv3roomsroomidjoin"},
		{Method: "POST", Path: room + "/leave", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.leaveRoom, Spec: spec + "post_matrixclientv3roomsroomidleave"},
		{Method: "POST", Path: room + "/forget", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.forgetRoom, Spec: spec + "post_matrixclientv3roomsroomidforget"},
		{Method: "POST", Path: room + "/invite", Auth: web.AuthUser, Rate: web.RateInvite, Handle: s.invite, Spec: spec + "post_matrixclientv3roomsroomidinvite"},
		{Method: "POST", Path: room + "/kick", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.kick, Spec: spec + "post_matrixclientv3roomsroomidkick"},
		{Method: "POST", Path: room + "/ban", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.ban, Spec: spec + "post_matrixclientv3roomsroomidban"},
		{Method: "POST", Path: room + "/unban", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.unban, Spec: spec + "post_matrixclientv3roomsroomidunban"},
		{Method: "POST", Path: room + "/upgrade", Auth: web.AuthUser, Rate: web.RateCreate, Handle: s.upgradeRoom, Spec: spec + "post_matrixclientv3roomsroomidupgrade"},

		{Method: "GET", Path: room + "/members", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getMembers, Spec: spec + "get_matrixclientv3roomsroomidmembers"},
		{Method: "GET", Path: room + "/joined_members", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getJoinedMembers, Spec: spec + "get_matrixclientv3roomsroomidjoined_members"},
	}
}

func (s *Server) eventRoutes() []web.Route {
	const room, spec = "/_matrix/client/v3/rooms/{roomId}", "client-server-api/#"
	return []web.Route{
		{Method: "PUT", Path: room + "/send/{eventType}/{txnId}", Auth: web.AuthUser, Rate: web.RateMessage, Handle: s.sendEvent, Spec: spec + "put_matrixclientv3roomsroomidsendeventtypetxnid"},
		{Method: "PUT", Path: room + "/redact/{eventId}/{txnId}", Auth: web.AuthUser, Rate: web.RateMessage, Handle: s.redactEvent, Spec: spec + "put_matrixclientv3roomsroomidredacteventidtxnid"},
		{Method: "GET", Path: room + "/state", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getState, Spec: spec + "get_matrixclientv3roomsroomidstate"},
		{Method: "GET", Path: room + "/state/{eventType}/{stateKey}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getStateEvent, OptionalTail: true, Spec: spec + "get_matrixclientv3roomsroomidstateeventtypestatekey"},
		{Method: "PUT", Path: room + "/state/{eventType}/{stateKey}", Auth: web.AuthUser, Rate: web.RateMessage, Handle: s.putStateEvent, OptionalTail: true, Spec: spec + "put_matrixclientv3roomsroomidstateeventtypestatekey"},
	}
}

func (s *Server) historyRoutes() []web.Route {
	const room, v1, spec = "/_matrix/client/v3/rooms/{roomId}", "/_matrix/client/v1/rooms/{roomId}", "client-server-api/#"
	return []web.Route{
		{Method: "GET", Path: room + "/messages", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getMessages, Spec: spec + "get_matrixclientv3roomsroomidmessages"},
		{Method: "GET", Path: room + "/event/{eventId}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getEvent, Spec: spec + "get_matrixclientv3roomsroomideventeventid"},
		{Method: "GET", Path: room + "/context/{eventId}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getContext, Spec: spec + "get_matrixclientv3roomsroomidcontexteventid"},
		{Method: "GET", Path: v1 + "/timestamp_to_event", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getTimestamp, Spec: spec + "get_matrixclientv1roomsroomidtimestamp_to_event"},
		{Method: "GET", Path: v1 + "/threads", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getThreads, Spec: spec + "get_matrixclientv1roomsroomidthreads"},
		{Method: "GET", Path: v1 + "/relations/{eventId}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getRelations, Spec: spec + "get_matrixclientv1roomsroomidrelationseventid"},
		{Method: "GET", Path: v1 + "/relations/{eventId}/{relType}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getRelationsOfType, Spec: spec + "get_matrixclientv1roomsroomidrelationseventidreltype"},
		{Method: "GET", Path: v1 + "/relations/{eventId}/{relType}/{eventType}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getRelationsOfEventType, Spec: spec + "get_matrixclientv1roomsroomidrelationseventidreltypeeventtype"},
	}
}

func (s *Server) directoryRoutes() []web.Route {
	const v3, spec = "/_matrix/client/v3", "client-server-api/#"
	return []web.Route{
		{Method: "GET", Path: v3 + "/directory/room/{roomAlias}", Auth: web.AuthOptional, Rate: web.RateDirectory, Handle: s.getAlias, Spec: spec + "get_matrixclientv3directoryroomroomalias"},
		{Method: "PUT", Path: v3 + "/directory/room/{roomAlias}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putAlias, Spec: spec + "put_matrixclientv3directoryroomroomalias"},
		{Method: "DELETE", Path: v3 + "/directory/room/{roomAlias}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.deleteAlias, Spec: spec + "delete_matrixclientv3directoryroomroomalias"},
		{Method: "GET", Path: v3 + "/rooms/{roomId}/aliases", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getAliases, Spec: spec + "get_matrixclientv3roomsroomidaliases"},
		{Method: "GET", Path: v3 + "/directory/list/room/{roomId}", Auth: web.AuthOptional, Rate: web.RateDirectory, Handle: s.getListing, Spec: spec + "get_matrixclientv3directorylistroomroomid"},
		{Method: "PUT", Path: v3 + "/directory/list/room/{roomId}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putListing, Spec: spec + "put_matrixclientv3directorylistroomroomid"},
		{Method: "GET", Path: v3 + "/publicRooms", Auth: web.AuthOptional, Rate: web.RateDirectory, Handle: s.getPublicRooms, Spec: spec + "get_matrixclientv3publicrooms"},
		{Method: "POST", Path: v3 + "/publicRooms", Auth: web.AuthUser, Rate: web.RateDirectory, Handle: s.postPublicRooms, Spec: spec + "post_matrixclientv3publicrooms"},
	}
}
