package event

import (
	"math"
	"strconv"
)

// Version is a room version, "1" to "12".
//
// Spec: rooms/
type Version string

// DefaultVersion is the version of new rooms.
const DefaultVersion Version = "12"

// StateResolution names an algorithm of state resolution.
type StateResolution int

// The algorithms. Spec: rooms/v1/#state-resolution, rooms/v2/#state-resolution,
// rooms/v12/#state-resolution
const (
	StateResV1 StateResolution = iota
	StateResV2
	StateResV21
)

// Rules is what differs between room versions. Values are shared and
// immutable; get them from RulesOf.
type Rules struct {
	// Version is the room version that these rules are of.
	Version Version
	// StateResolution is the algorithm that settles forks.
	StateResolution StateResolution
	// EventIDInBody: events carry their ID (versions 1 and 2).
	EventIDInBody bool
	// URLSafeEventID: event IDs are URL-safe base64 (version 4 on; version 3 is not).
	URLSafeEventID bool
	// StrictKeyValidity: a signing key must be valid at the event's time (version 5 on).
	StrictKeyValidity bool
	// SpecialAliases: m.room.aliases has its own auth rule and redaction (versions 1 to 5).
	SpecialAliases bool
	// StrictCanonicalJSON: floats and integers beyond 2^53 are refused (version 6 on).
	StrictCanonicalJSON bool
	// NotificationLevels: power over notifications is checked (version 6 on).
	NotificationLevels bool
	// Knocking: the join rule knock exists (version 7 on).
	Knocking bool
	// RestrictedJoins: the join rule restricted exists (version 8 on).
	RestrictedJoins bool
	// RestrictedRedaction: redaction keeps join_authorised_via_users_server (version 9 on).
	RestrictedRedaction bool
	// KnockRestricted: the join rule knock_restricted exists (version 10 on).
	KnockRestricted bool
	// IntegerPowerLevels: power levels must be integers, not strings (version 10 on).
	IntegerPowerLevels bool
	// ImplicitCreator: the creator is the create event's sender (version 11 on).
	ImplicitCreator bool
	// UpdatedRedaction: the redaction rules of version 11, with redacts in content.
	UpdatedRedaction bool
	// PrivilegedCreators: creators outrank every power level (version 12 on).
	PrivilegedCreators bool
	// RoomIDIsCreateHash: the room ID is the create event's hash, and the
	// create event is not among auth_events (version 12 on).
	RoomIDIsCreateHash bool
	// AuthEventsInRoom: auth events of another room are refused by rule (version 12 on).
	AuthEventsInRoom bool
}

// lastVersion is the highest room version of the table.
const lastVersion = 12

// Limits of the format of an event.
//
// Spec: client-server-api/#size-limits, rooms/v4/#event-format
const (
	// MaxSize is the size of an event's canonical JSON in bytes.
	MaxSize = 65_536
	// MaxIDSize is the size of an identifier, an event type or a state key in bytes.
	MaxIDSize = 255
	// MaxPrevEvents is the number of events that one event may follow.
	MaxPrevEvents = 20
	// MaxAuthEvents is the number of auth events of one event.
	MaxAuthEvents = 10
	// MaxInteger is the largest integer of canonical JSON.
	MaxInteger = 1<<53 - 1
)

// RulesOf returns the rules of room version v; ok is false when this server
// does not know the version.
func RulesOf(v Version) (rules *Rules, ok bool) {
	for i := range versions {
		if versions[i].Version == v {
			return &versions[i], true
		}
	}
	return nil, false
}

// SupportedVersions lists the room versions that this server knows, oldest
// first.
func SupportedVersions() []Version {
	list := make([]Version, len(versions))
	for i := range versions {
		list[i] = versions[i].Version
	}
	return list
}

// MaxDepth is the largest depth that an event of the version can have.
//
// Spec: rooms/v1/#event-format, rooms/v6/#event-format
func (r *Rules) MaxDepth() int64 {
	if r.StrictCanonicalJSON {
		return MaxInteger
	}
	return math.MaxInt64
}

// versions holds the rules of every known version, and is never written.
//
// Spec: rooms/#feature-matrix
var versions = func() [lastVersion]Rules {
	var table [lastVersion]Rules
	for i := range table {
		n := i + 1
		r := &table[i]
		r.Version = Version(strconv.Itoa(n))
		switch {
		case n == 1:
			r.StateResolution = StateResV1
		case n < 12:
			r.StateResolution = StateResV2
		default:
			r.StateResolution = StateResV21
		}
		r.EventIDInBody = n <= 2
		r.URLSafeEventID = n >= 4
		r.StrictKeyValidity = n >= 5
		r.SpecialAliases = n <= 5
		r.StrictCanonicalJSON = n >= 6
		r.NotificationLevels = n >= 6
		r.Knocking = n >= 7
		r.RestrictedJoins = n >= 8
		r.RestrictedRedaction = n >= 9
		r.KnockRestricted = n >= 10
		r.IntegerPowerLevels = n >= 10
		r.ImplicitCreator = n >= 11
		r.UpdatedRedaction = n >= 11
		r.PrivilegedCreators = n >= 12
		r.RoomIDIsCreateHash = n >= 12
		r.AuthEventsInRoom = n >= 12
	}
	return table
}()
