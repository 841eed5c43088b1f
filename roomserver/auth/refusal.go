package auth

import (
	"fmt"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// Refusal says which rule forbids an event.
type Refusal struct {
	// Rule is the rule's number in the specification of the room version, for
	// example "5.3.2". Where the specification's source numbers a list
	// wrongly, it is the number that a reader of the page sees.
	Rule string
	// Version is the room version.
	Version event.Version
	// Reason says why, for people.
	Reason string
}

// Error is the reason with the rule's number.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s (rule %s of room version %s)", r.Reason, r.Rule, r.Version)
}

// Unwrap makes the refusal a fault of kind Forbidden, which its caller may
// read.
func (r *Refusal) Unwrap() error {
	return fault.New(fault.Forbidden, "%s", r.Error())
}

func refuse(rules *event.Rules, r rule, format string, args ...any) *Refusal {
	return &Refusal{Rule: r.number(rules), Version: rules.Version, Reason: fmt.Sprintf(format, args...)}
}

// rule names a rule, or a list of rules: a row of the table below, and within
// it, after a point, the number that it has there in every version.
type rule string

// The rows of the table.
const (
	ruleCreate           rule = "create"
	ruleCreateMissing    rule = "create missing"
	ruleAuthEvents       rule = "auth events"
	ruleOtherRoom        rule = "other room"
	ruleFederate         rule = "federate"
	ruleAliases          rule = "aliases"
	ruleMember           rule = "member"
	ruleAuthorised       rule = "authorised"
	ruleJoin             rule = "join"
	ruleJoinOtherwise    rule = "join otherwise"
	ruleInvite           rule = "invite"
	ruleLeave            rule = "leave"
	ruleBan              rule = "ban"
	ruleKnock            rule = "knock"
	ruleMembership       rule = "membership"
	ruleJoined           rule = "joined"
	ruleThirdParty       rule = "third party"
	ruleRequired         rule = "required"
	ruleOwnKey           rule = "own key"
	ruleLevels           rule = "levels"
	ruleLevelsMaps       rule = "levels maps"
	ruleLevelsUsers      rule = "levels users"
	ruleLevelsCreators   rule = "levels creators"
	ruleLevelChanged     rule = "level changed"
	ruleEntryWas         rule = "entry was"
	ruleEntryBecomes     rule = "entry becomes"
	ruleUserEntryWas     rule = "user entry was"
	ruleUserEntryBecomes rule = "user entry becomes"
	ruleRedaction        rule = "redaction"
)

// numbered has the numbers of each row in the room versions
//
//	1-2, 3-5, 6, 7, 8-9, 10-11 and 12.
//
// An empty number is a rule that the version does not have.
//
// Spec: rooms/v1/#authorisation-rules, rooms/v3/#authorisation-rules,
// rooms/v6/#authorisation-rules, rooms/v7/#authorisation-rules,
// rooms/v8/#authorisation-rules, rooms/v10/#authorisation-rules,
// rooms/v12/#authorisation-rules
var numbered = map[rule][7]string{
	ruleCreate:           {"1", "1", "1", "1", "1", "1", "1"},
	ruleCreateMissing:    {"2.4", "2.4", "2.4", "2.4", "2.4", "2.4", "2"},
	ruleAuthEvents:       {"2", "2", "2", "2", "2", "2", "3"},
	ruleOtherRoom:        {"2.5", "2.5", "2.5", "2.5", "2.5", "2.5", "2"},
	ruleFederate:         {"3", "3", "3", "3", "3", "3", "4"},
	ruleAliases:          {"4", "4", "", "", "", "", ""},
	ruleMember:           {"5", "5", "4", "4", "4", "4", "5"},
	ruleAuthorised:       {"", "", "", "", "4.2", "4.2", "5.2"},
	ruleJoin:             {"5.2", "5.2", "4.2", "4.2", "4.3", "4.3", "5.3"},
	ruleJoinOtherwise:    {"5.2.6", "5.2.6", "4.2.6", "4.2.6", "4.3.7", "4.3.7", "5.3.7"},
	ruleInvite:           {"5.3", "5.3", "4.3", "4.3", "4.4", "4.4", "5.4"},
	ruleLeave:            {"5.4", "5.4", "4.4", "4.4", "4.5", "4.5", "5.5"},
	ruleBan:              {"5.5", "5.5", "4.5", "4.5", "4.6", "4.6", "5.6"},
	ruleKnock:            {"", "", "", "4.6", "4.7", "4.7", "5.7"},
	ruleMembership:       {"5.6", "5.6", "4.6", "4.7", "4.8", "4.8", "5.8"},
	ruleJoined:           {"6", "6", "5", "5", "5", "5", "6"},
	ruleThirdParty:       {"7", "7", "6", "6", "6", "6", "7"},
	ruleRequired:         {"8", "8", "7", "7", "7", "7", "8"},
	ruleOwnKey:           {"9", "9", "8", "8", "8", "8", "9"},
	ruleLevels:           {"", "", "", "", "", "9.1", "10.1"},
	ruleLevelsMaps:       {"", "", "", "", "", "9.2", "10.2"},
	ruleLevelsUsers:      {"10.1", "10.1", "9.1", "9.1", "9.1", "9.3", "10.3"},
	ruleLevelsCreators:   {"", "", "", "", "", "", "10.4"},
	ruleLevelChanged:     {"10.3", "10.3", "9.3", "9.3", "9.3", "9.5", "10.6"},
	ruleEntryWas:         {"10.4", "10.4", "9.4", "9.4", "9.4", "9.6", "10.7"},
	ruleEntryBecomes:     {"10.5", "10.5", "9.5", "9.5", "9.5", "9.7", "10.8"},
	ruleUserEntryWas:     {"10.6", "10.6", "9.6", "9.6", "9.6", "9.8", "10.9"},
	ruleUserEntryBecomes: {"10.7", "10.7", "9.7", "9.7", "9.7", "9.9", "10.10"},
	ruleRedaction:        {"11", "", "", "", "", "", ""},
}

// number is the rule's number in the room version.
func (r rule) number(rules *event.Rules) string {
	row, within, _ := strings.Cut(string(r), ".")
	number := numbered[rule(row)][column(rules)]
	if within == "" {
		return number
	}
	return number + "." + within
}

// column is the version's column in the table.
func column(rules *event.Rules) int {
	switch {
	case rules.PrivilegedCreators:
		return 6
	case rules.IntegerPowerLevels:
		return 5
	case rules.RestrictedJoins:
		return 4
	case rules.Knocking:
		return 3
	case !rules.SpecialAliases:
		return 2
	case !rules.EventIDInBody:
		return 1
	}
	return 0
}
