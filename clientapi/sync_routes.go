package clientapi

import "entente/internal/web"

// syncRoutes are sync and what is only seen through it.
func (s *Server) syncRoutes() []web.Route {
	const v3, spec = "/_matrix/client/v3", "client-server-api/#"
	const room, presence = v3 + "/rooms/{roomId}", v3 + "/presence/{userId}/status"
	return []web.Route{
		{Method: "GET", Path: v3 + "/sync", Auth: web.AuthGuest, Rate: web.RateNone, Timeout: -1, Handle: s.getSync, Spec: spec + "get_matrixclientv3sync"},

		{Method: "PUT", Path: room + "/typing/{userId}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putTyping, Spec: spec + "put_matrixclientv3roomsroomidtypinguserid"},
		{Method: "POST", Path: room + "/receipt/{receiptType}/{eventId}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.postReceipt, Spec: spec + "post_matrixclientv3roomsroomidreceiptreceipttypeeventid"},
		{Method: "POST", Path: room + "/read_markers", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.postReadMarkers, Spec: spec + "post_matrixclientv3roomsroomidread_markers"},

		{Method: "GET", Path: presence, Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getPresence, Spec: spec + "get_matrixclientv3presenceuseridstatus"},
		{Method: "PUT", Path: presence, Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putPresence, Spec: spec + "put_matrixclientv3presenceuseridstatus"},
	}
}
