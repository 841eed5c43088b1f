package auth

import (
	"encoding/json"
	"slices"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// maxNeeded is the most keys that one event needs, create event included.
const maxNeeded = 6

// Needed are the keys of the state that the auth_events of an event are
// selected from: create event (before room version 12), power levels, the
// sender's membership, and what a membership event needs besides. The create
// event, where it is selected, comes first. A create event needs nothing.
//
// Spec: server-server-api/#auth-events-selection
func Needed(rules *event.Rules, typ, stateKey string, sender id.UserID, content json.RawMessage) []event.Key {
	if typ == typeCreate {
		return nil
	}
	size := 3
	if typ == typeMember {
		size = maxNeeded
	}
	return appendNeeded(make([]event.Key, 0, size), rules, typ, stateKey, sender, content)
}

// Reads are the keys of the state that Check may look up for the event: those
// of Needed, and the create event in every room version.
func Reads(ev *event.PDU) []event.Key {
	if ev.Type() == typeCreate {
		return nil
	}
	key, _ := ev.StateKey()
	keys := make([]event.Key, 0, maxNeeded)
	if ev.Rules().RoomIDIsCreateHash {
		keys = append(keys, event.Key{Type: typeCreate})
	}
	return appendNeeded(keys, ev.Rules(), ev.Type(), key, ev.Sender(), ev.Content())
}

func appendNeeded(dst []event.Key, rules *event.Rules, typ, stateKey string, sender id.UserID, content json.RawMessage) []event.Key {
	if !rules.RoomIDIsCreateHash {
		dst = append(dst, event.Key{Type: typeCreate})
	}
	dst = append(dst, event.Key{Type: typePowerLevels}, event.Key{Type: typeMember, StateKey: string(sender)})
	if typ != typeMember {
		return dst
	}
	dst = appendMember(dst, stateKey)
	fields := event.Value(content)
	membership, _ := fields.Get("membership").Str()
	switch membership {
	case joined, invited, knocking:
		dst = append(dst, event.Key{Type: typeJoinRules})
	}
	switch membership {
	case invited:
		token, ok := fields.Get("third_party_invite").Get("signed").Get("token").Str()
		if ok {
			dst = append(dst, event.Key{Type: typeThirdPartyInvite, StateKey: token})
		}
	case joined:
		via, ok := fields.Get(viaKey).Str()
		if ok && rules.RestrictedJoins {
			dst = appendMember(dst, via)
		}
	}
	return dst
}

// appendMember adds a user's membership unless it is there.
func appendMember(dst []event.Key, user string) []event.Key {
	key := event.Key{Type: typeMember, StateKey: user}
	if user == "" || slices.Contains(dst, key) {
		return dst
	}
	return append(dst, key)
}

// CheckAuthEvents applies the rules on the list of auth events itself:
// nothing twice, nothing that is not selected, nothing rejected, the create
// event where the room version wants it, all of the same room. authEvents are
// the events that ev names; rejected says which of them this server rejected,
// nil for none of them. It returns nil or a *Refusal.
//
// In room version 12 the create event is implied by the room ID: that it is
// known and accepted is for the Lookup of Check to know.
//
// Spec: server-server-api/#auth-events-selection, rooms/v12/#authorisation-rules
func CheckAuthEvents(ev *event.PDU, authEvents []*event.PDU, rejected func(*event.PDU) bool) error {
	if ev.Type() == typeCreate {
		return nil // allowed before these rules are reached
	}
	rules := ev.Rules()
	key, _ := ev.StateKey()
	var buf [maxNeeded]event.Key
	needed := appendNeeded(buf[:0], rules, ev.Type(), key, ev.Sender(), ev.Content())
	var seen [maxNeeded]bool
	for _, a := range authEvents {
		i := slices.IndexFunc(needed, func(k event.Key) bool { return a.IsState(k.Type, k.StateKey) })
		switch {
		case i < 0:
			return refuse(rules, ruleAuthEvents+".2", "auth event %s of type %s is not among those that authorise a %s", a.ID(), a.Type(), ev.Type())
		case seen[i]:
			return refuse(rules, ruleAuthEvents+".1", "there are two auth events of type %s and state key %q", a.Type(), needed[i].StateKey)
		case rejected != nil && rejected(a):
			return refuse(rules, ruleAuthEvents+".3", "auth event %s was rejected", a.ID())
		case a.RoomID() != ev.RoomID() && rules.RoomIDIsCreateHash:
			// The fourth rule as the page numbers them: its source says 5.
			return refuse(rules, ruleAuthEvents+".4", "auth event %s is of room %s", a.ID(), a.RoomID())
		case a.RoomID() != ev.RoomID():
			return refuse(rules, ruleOtherRoom, "auth event %s is of room %s", a.ID(), a.RoomID())
		}
		seen[i] = true
	}
	if !rules.RoomIDIsCreateHash && !seen[0] {
		return refuse(rules, ruleCreateMissing, "there is no create event among the auth events")
	}
	return nil
}
