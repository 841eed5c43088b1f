package auth

import (
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// checkCreate has the rules on m.room.create.
//
// Spec: rooms/v1/#authorisation-rules, rooms/v11/#authorisation-rules,
// rooms/v12/#authorisation-rules
func checkCreate(ev *event.PDU) error {
	rules, content := ev.Rules(), event.Value(ev.Content())
	if len(ev.PrevEvents()) > 0 {
		return refuse(rules, ruleCreate+".1", "a create event cannot follow another event")
	}
	if rules.RoomIDIsCreateHash {
		if event.Value(ev.JSON()).Get("room_id") != nil {
			return refuse(rules, ruleCreate+".2", "a create event cannot name its room")
		}
	} else if event.ServerOf(ev.RoomID()) != event.ServerOf(ev.Sender()) {
		return refuse(rules, ruleCreate+".2", "room %s cannot be created by %s", ev.RoomID(), ev.Sender())
	}
	if version := content.Get("room_version"); version != nil {
		name, _ := version.Str()
		if _, ok := event.RulesOf(event.Version(name)); !ok {
			return refuse(rules, ruleCreate+".3", "room version %s is not known", version)
		}
	}
	if !rules.ImplicitCreator && content.Get("creator") == nil {
		return refuse(rules, ruleCreate+".4", "a create event needs a creator")
	}
	if rules.PrivilegedCreators && !validCreators(content.Get("additional_creators")) {
		return refuse(rules, ruleCreate+".4", "additional_creators must be a list of user IDs")
	}
	return nil
}

// validCreators reports whether additional_creators is absent or a list of
// user IDs.
func validCreators(list event.Value) bool {
	if list == nil {
		return true
	}
	if !list.IsArray() {
		return false
	}
	for v := range list.Elements() {
		if user, ok := v.Str(); !ok || !event.ValidUserID(id.UserID(user)) {
			return false
		}
	}
	return true
}
