package event

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
