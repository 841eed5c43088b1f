package clientapi

import (
	"slices"

	"entente/internal/web"
)

// accountRoutes are what concerns a user alone: sessions, devices, profile,
// account data, push rules.
func (s *Server) accountRoutes() []web.Route {
	return slices.Concat(s.sessionRoutes(), s.profileRoutes(), s.accountDataRoutes(), s.pushRuleRoutes())
}

func (s *Server) sessionRoutes() []web.Route {
	const v3, spec = "/_matrix/client/v3", "client-server-api/#"
	return []web.Route{
		{Method: "GET", Path: "/_matrix/client/versions", Auth: web.AuthOptional, Rate: web.RateRead, Handle: s.getVersions, Spec: spec + "get_matrixclientversions"},
		{Method: "GET", Path: v3 + "/capabilities", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getCapabilities, Spec: spec + "get_matrixclientv3capabilities"},

		{Method: "GET", Path: v3 + "/login", Auth: web.AuthNone, Rate: web.RateRead, Handle: s.getLogin, Spec: spec + "get_matrixclientv3login"},
		{Method: "POST", Path: v3 + "/login", Auth: web.AuthNone, Rate: web.RateLogin, Handle: s.postLogin, Spec: spec + "post_matrixclientv3login"},
		{Method: "POST", Path: v3 + "/refresh", Auth: web.AuthNone, Rate: web.RateRead, Handle: s.postRefresh, Spec: spec + "post_matrixclientv3refresh"},
		{Method: "POST", Path: v3 + "/logout", Auth: web.AuthGuest, Rate: web.RateWrite, Handle: s.postLogout, Spec: spec + "post_matrixclientv3logout"},
		{Method: "POST", Path: v3 + "/logout/all", Auth: web.AuthGuest, Rate: web.RateWrite, Handle: s.postLogoutAll, Spec: spec + "post_matrixclientv3logoutall"},

		{Method: "POST", Path: v3 + "/register", Auth: web.AuthNone, Rate: web.RateRegister, Handle: s.postRegister, Spec: spec + "post_matrixclientv3register"},
		{Method: "GET", Path: v3 + "/register/available", Auth: web.AuthNone, Rate: web.RateDirectory, Handle: s.getRegisterAvailable, Spec: spec + "get_matrixclientv3registeravailable"},
		{Method: "GET", Path: "/_matrix/client/v1/register/m.login.registration_token/validity", Auth: web.AuthNone, Rate: web.RateRegister, Handle: s.getTokenValidity, Spec: spec + "get_matrixclientv1registermloginregistration_tokenvalidity"},

		{Method: "GET", Path: v3 + "/account/whoami", Auth: web.AuthGuest, Rate: web.RateRead, Handle: s.getWhoami, Spec: spec + "get_matrixclientv3accountwhoami"},
		{Method: "POST", Path: v3 + "/account/password", Auth: web.AuthOptional, Rate: web.RateLogin, Handle: s.postPassword, Spec: spec + "post_matrixclientv3accountpassword"},
		{Method: "POST", Path: v3 + "/account/deactivate", Auth: web.AuthOptional, Rate: web.RateLogin, Handle: s.postDeactivate, Spec: spec + "post_matrixclientv3accountdeactivate"},
		{Method: "GET", Path: v3 + "/account/3pid", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.get3PIDs, Spec: spec + "get_matrixclientv3account3pid"},

		{Method: "GET", Path: v3 + "/devices", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getDevices, Spec: spec + "get_matrixclientv3devices"},
		{Method: "GET", Path: v3 + "/devices/{deviceId}", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getDevice, Spec: spec + "get_matrixclientv3devicesdeviceid"},
		{Method: "PUT", Path: v3 + "/devices/{deviceId}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putDevice, Spec: spec + "put_matrixclientv3devicesdeviceid"},
		{Method: "DELETE", Path: v3 + "/devices/{deviceId}", Auth: web.AuthUser, Rate: web.RateLogin, Handle: s.deleteDevice, Spec: spec + "delete_matrixclientv3devicesdeviceid"},
		{Method: "POST", Path: v3 + "/delete_devices", Auth: web.AuthUser, Rate: web.RateLogin, Handle: s.postDeleteDevices, Spec: spec + "post_matrixclientv3delete_devices"},
	}
}

func (s *Server) profileRoutes() []web.Route {
	const v3, spec = "/_matrix/client/v3", "client-server-api/#"
	return []web.Route{
		{Method: "GET", Path: v3 + "/profile/{userId}", Auth: web.AuthOptional, Rate: web.RateRead, Handle: s.getProfile, Spec: spec + "get_matrixclientv3profileuserid"},
		{Method: "GET", Path: v3 + "/profile/{userId}/{keyName}", Auth: web.AuthOptional, Rate: web.RateRead, Handle: s.getProfileField, Spec: spec + "get_matrixclientv3profileuseridkeyname"},
		{Method: "PUT", Path: v3 + "/profile/{userId}/{keyName}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putProfileField, Spec: spec + "put_matrixclientv3profileuseridkeyname"},
		{Method: "DELETE", Path: v3 + "/profile/{userId}/{keyName}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.deleteProfileField, Spec: spec + "delete_matrixclientv3profileuseridkeyname"},
		{Method: "POST", Path: v3 + "/user_directory/search", Auth: web.AuthUser, Rate: web.RateDirectory, Handle: s.postUserSearch, Spec: spec + "post_matrixclientv3user_directorysearch"},
	}
}

func (s *Server) accountDataRoutes() []web.Route {
	const user, spec = "/_matrix/client/v3/user/{userId}", "client-server-api/#"
	return []web.Route{
		{Method: "GET", Path: user + "/account_data/{type}", Auth: web.AuthGuest, Rate: web.RateRead, Handle: s.getAccountData, Spec: spec + "get_matrixclientv3useruseridaccount_datatype"},
		{Method: "PUT", Path: user + "/account_data/{type}", Auth: web.AuthGuest, Rate: web.RateWrite, Handle: s.putAccountData, Spec: spec + "put_matrixclientv3useruseridaccount_datatype"},
		{Method: "GET", Path: user + "/rooms/{roomId}/account_data/{type}", Auth: web.AuthGuest, Rate: web.RateRead, Handle: s.getRoomAccountData, Spec: spec + "get_matrixclientv3useruseridroomsroomidaccount_datatype"},
		{Method: "PUT", Path: user + "/rooms/{roomId}/account_data/{type}", Auth: web.AuthGuest, Rate: web.RateWrite, Handle: s.putRoomAccountData, Spec: spec + "put_matrixclientv3useruseridroomsroomidaccount_datatype"},

		{Method: "GET", Path: user + "/rooms/{roomId}/tags", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getTags, Spec: spec + "get_matrixclientv3useruseridroomsroomidtags"},
		{Method: "PUT", Path: user + "/rooms/{roomId}/tags/{tag}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putTag, Spec: spec + "put_matrixclientv3useruseridroomsroomidtagstag"},
		{Method: "DELETE", Path: user + "/rooms/{roomId}/tags/{tag}", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.deleteTag, Spec: spec + "delete_matrixclientv3useruseridroomsroomidtagstag"},

		{Method: "POST", Path: user + "/filter", Auth: web.AuthGuest, Rate: web.RateWrite, Handle: s.postFilter, Spec: spec + "post_matrixclientv3useruseridfilter"},
		{Method: "GET", Path: user + "/filter/{filterId}", Auth: web.AuthGuest, Rate: web.RateRead, Handle: s.getFilter, Spec: spec + "get_matrixclientv3useruseridfilterfilterid"},
	}
}

func (s *Server) pushRuleRoutes() []web.Route {
	const rules, one, spec = "/_matrix/client/v3/pushrules", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", "client-server-api/#"
	return []web.Route{
		{Method: "GET", Path: rules, Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getPushRules, Spec: spec + "get_matrixclientv3pushrules"},
		{Method: "GET", Path: rules + "/", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getPushRules, Spec: spec + "get_matrixclientv3pushrules"},
		{Method: "GET", Path: rules + "/global", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getGlobalPushRules, Spec: spec + "get_matrixclientv3pushrulesglobal"},
		{Method: "GET", Path: rules + "/global/", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getGlobalPushRules, Spec: spec + "get_matrixclientv3pushrulesglobal"},
		{Method: "GET", Path: one, Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getPushRule, Spec: spec + "get_matrixclientv3pushrulesglobalkindruleid"},
		{Method: "PUT", Path: one, Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putPushRule, Spec: spec + "put_matrixclientv3pushrulesglobalkindruleid"},
		{Method: "DELETE", Path: one, Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.deletePushRule, Spec: spec + "delete_matrixclientv3pushrulesglobalkindruleid"},
		{Method: "GET", Path: one + "/enabled", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getPushRuleEnabled, Spec: spec + "get_matrixclientv3pushrulesglobalkindruleidenabled"},
		{Method: "PUT", Path: one + "/enabled", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putPushRuleEnabled, Spec: spec + "put_matrixclientv3pushrulesglobalkindruleidenabled"},
		{Method: "GET", Path: one + "/actions", Auth: web.AuthUser, Rate: web.RateRead, Handle: s.getPushRuleActions, Spec: spec + "get_matrixclientv3pushrulesglobalkindruleidactions"},
		{Method: "PUT", Path: one + "/actions", Auth: web.AuthUser, Rate: web.RateWrite, Handle: s.putPushRuleActions, Spec: spec + "put_matrixclientv3pushrulesglobalkindruleidactions"},
	}
}
