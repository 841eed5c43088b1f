package auth

import (
	"cmp"
	"math"
	"slices"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// CreatorLevel is the power of a creator in room version 12: above every
// other.
//
// Spec: rooms/v12/#authorisation-rules
const CreatorLevel = math.MaxInt64

// Levels that hold when nothing says otherwise.
//
// Spec: client-server-api/#mroompower_levels
const (
	defaultModeration   = 50 // ban, kick, redact, state_default, notifications
	defaultCreatorPower = 100
)

// PowerLevels are a room's create and power levels events, parsed: who has
// which power, and what needs how much. A value is immutable, and may be
// shared and kept for as long as the state has these two events.
type PowerLevels struct {
	create *event.PDU
	event  *event.PDU // nil when the room has no power levels

	creator      id.UserID   // the one of the rules on joining and on missing power levels
	creators     []id.UserID // those whose power is infinite, in order; before version 12 none
	createServer string      // the server of the create event's sender
	federate     bool

	content levels
}

// ParsePowerLevels reads the room's create event and its power levels, nil
// when it has none. The error is a *Refusal when the power levels do not have
// the form that the room version wants.
func ParsePowerLevels(create, powerLevels *event.PDU) (*PowerLevels, error) {
	rules, content := create.Rules(), event.Value(create.Content())
	p := &PowerLevels{
		create:       create,
		event:        powerLevels,
		creator:      create.Sender(),
		createServer: event.ServerOf(create.Sender()),
		federate:     true,
	}
	if !rules.ImplicitCreator {
		creator, _ := content.Get("creator").Str()
		p.creator = id.UserID(creator)
	}
	if federate, ok := content.Get("m.federate").Bool(); ok {
		p.federate = federate
	}
	if rules.PrivilegedCreators {
		p.creators = Creators(create)
		slices.Sort(p.creators)
	}
	if powerLevels == nil {
		return p, nil
	}
	parsed, refusal := parseLevels(rules, event.Value(powerLevels.Content()))
	if refusal != nil {
		return nil, refusal
	}
	p.content = parsed
	return p, nil
}

// Creators are a room's creators, the create event's sender first. Before
// room version 12 there is one: the sender, or before version 11 whom the
// content names.
//
// Spec: rooms/v12/#event-format, rooms/v11/#event-format
func Creators(create *event.PDU) []id.UserID {
	rules, content := create.Rules(), event.Value(create.Content())
	if !rules.ImplicitCreator {
		creator, _ := content.Get("creator").Str()
		return []id.UserID{id.UserID(creator)}
	}
	creators := []id.UserID{create.Sender()}
	if !rules.PrivilegedCreators {
		return creators
	}
	for v := range content.Get("additional_creators").Elements() {
		if user, ok := v.Str(); ok && id.UserID(user) != create.Sender() {
			creators = append(creators, id.UserID(user))
		}
	}
	return creators
}

// Of reports whether the levels are those of these two events; powerLevels is
// nil for a room without.
func (p *PowerLevels) Of(create, powerLevels *event.PDU) bool {
	return same(p.create, create) && same(p.event, powerLevels)
}

func same(a, b *event.PDU) bool {
	return a == b || a != nil && b != nil && a.ID() == b.ID()
}

// UserLevel is a user's power.
func (p *PowerLevels) UserLevel(user id.UserID) int64 {
	if p.isPrivileged(user) {
		return CreatorLevel
	}
	if p.event == nil {
		if user == p.creator && !p.create.Rules().PrivilegedCreators {
			return defaultCreatorPower
		}
		return 0
	}
	if level, ok := p.content.users.find(string(user)); ok {
		return level
	}
	return p.content.named[usersDefault].or(0)
}

// isPrivileged reports whether the user is a creator whose power is infinite.
func (p *PowerLevels) isPrivileged(user id.UserID) bool {
	if len(p.creators) == 0 {
		return false
	}
	_, ok := slices.BinarySearch(p.creators, user)
	return ok
}

// EventLevel is the power that sending an event of the type needs.
//
// Spec: server-server-api/#definitions
func (p *PowerLevels) EventLevel(typ string, isState bool) int64 {
	if level, ok := p.content.events.find(typ); ok {
		return level
	}
	if isState {
		return p.content.named[stateDefault].or(defaultModeration)
	}
	return p.content.named[eventsDefault].or(0)
}

// NotificationLevel is the power that a notification needs, "room" for
// @room.
//
// Spec: client-server-api/#mroompower_levels
func (p *PowerLevels) NotificationLevel(key string) int64 {
	if level, ok := p.content.notifications.find(key); ok {
		return level
	}
	return defaultModeration
}

// InviteLevel is the power that inviting needs.
func (p *PowerLevels) InviteLevel() int64 { return p.content.named[inviteLevel].or(0) }

// KickLevel is the power that kicking needs.
func (p *PowerLevels) KickLevel() int64 { return p.content.named[kickLevel].or(defaultModeration) }

// BanLevel is the power that banning needs.
func (p *PowerLevels) BanLevel() int64 { return p.content.named[banLevel].or(defaultModeration) }

// RedactLevel is the power that redacting the events of others needs.
func (p *PowerLevels) RedactLevel() int64 { return p.content.named[redactLevel].or(defaultModeration) }

// CanSend reports whether a member's power suffices for an event of the type.
// The rules ask for more than power: Check has them all.
func (p *PowerLevels) CanSend(user id.UserID, typ string, isState bool) bool {
	return p.UserLevel(user) >= p.EventLevel(typ, isState)
}

// CanInvite reports whether a member's power suffices to invite.
func (p *PowerLevels) CanInvite(user id.UserID) bool { return p.UserLevel(user) >= p.InviteLevel() }

// CanRedact reports whether a redaction by redactor applies to an event that
// author sent: the redactor has the power, or is of the author's server. From
// room version 3 on this decides on receipt of either event whether the
// redaction is performed.
//
// Spec: rooms/v3/#handling-redactions
func (p *PowerLevels) CanRedact(redactor, author id.UserID) bool {
	return p.UserLevel(redactor) >= p.RedactLevel() || event.ServerOf(redactor) == event.ServerOf(author)
}

// CanNotifyRoom reports whether a member's @room notifies the room.
//
// Spec: client-server-api/#push-rules
func (p *PowerLevels) CanNotifyRoom(user id.UserID) bool {
	return p.UserLevel(user) >= p.NotificationLevel("room")
}

// name is one of the levels that have a property of their own.
type name int

// The named levels.
const (
	usersDefault name = iota
	eventsDefault
	stateDefault
	banLevel
	redactLevel
	kickLevel
	inviteLevel
	namedLevels
)

// names are the properties of the named levels.
var names = [namedLevels]string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}

// levels is the content of an m.room.power_levels event.
type levels struct {
	named         [namedLevels]level
	users         entries
	events        entries
	notifications entries
}

// level is a level that may be unset.
type level struct {
	value int64
	set   bool
}

func (l level) or(missing int64) int64 {
	if l.set {
		return l.value
	}
	return missing
}

// entry is the level of one user, event type or notification.
type entry struct {
	key   string
	level int64
}

// entries are sorted by key, each key once.
type entries []entry

func (e entries) find(key string) (int64, bool) {
	i, ok := slices.BinarySearchFunc(e, key, func(x entry, key string) int { return cmp.Compare(x.key, key) })
	if !ok {
		return 0, false
	}
	return e[i].level, true
}

// changes calls visit for every key whose level differs between before and
// after, in order of the keys, until it returns an error.
func changes(before, after entries, visit func(key string, was, becomes level) error) error {
	for len(before) > 0 || len(after) > 0 {
		var was, becomes level
		var key string
		switch order := compareHeads(before, after); {
		case order < 0:
			key, was = before[0].key, level{before[0].level, true}
			before = before[1:]
		case order > 0:
			key, becomes = after[0].key, level{after[0].level, true}
			after = after[1:]
		default:
			key, was, becomes = before[0].key, level{before[0].level, true}, level{after[0].level, true}
			before, after = before[1:], after[1:]
		}
		if was == becomes {
			continue
		}
		if err := visit(key, was, becomes); err != nil {
			return err
		}
	}
	return nil
}

// compareHeads compares the first keys; an empty list sorts last.
func compareHeads(a, b entries) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return cmp.Compare(a[0].key, b[0].key)
}
