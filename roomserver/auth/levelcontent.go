package auth

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"entente/roomserver/event"
)

// parseLevels reads the content of an m.room.power_levels event by the rules
// on its form. From room version 10 on every level must be an integer. Before,
// a level may be a number with a fraction or a string, the rules ask this only
// of users, and a malformed level anywhere else counts as absent; a number
// beyond the range of a double is refused everywhere.
//
// Spec: rooms/v10/#authorisation-rules, rooms/v1/#authorisation-rules,
// rooms/v1/#deprecated-event-content-schemas
func parseLevels(rules *event.Rules, content event.Value) (levels, *Refusal) {
	p := levelParser{rules: rules}
	for key, v := range content.Members() {
		switch key {
		case "users":
			p.out.users = p.entries(key, v, ruleLevelsUsers)
		case "events":
			p.out.events = p.entries(key, v, ruleLevelsMaps)
		case "notifications":
			p.out.notifications = p.entries(key, v, ruleLevelsMaps)
		default:
			if i := slices.Index(names[:], key); i >= 0 {
				p.out.named[i] = p.level(key, v, ruleLevels)
			}
		}
		if p.refusal != nil {
			return levels{}, p.refusal
		}
	}
	return p.out, nil
}

// levelParser reads one event's levels; refusal is set by the first malformed
// one.
type levelParser struct {
	rules   *event.Rules
	out     levels
	refusal *Refusal
}

// malformed refuses by rule r, or lets the malformed value count as absent
// where the version has no such rule.
func (p *levelParser) malformed(r rule, format string, args ...any) {
	if r == ruleLevelsUsers || p.rules.IntegerPowerLevels {
		p.refusal = refuse(p.rules, r, format, args...)
	}
}

// level reads one level.
func (p *levelParser) level(key string, v event.Value, r rule) level {
	value, form := readLevel(p.rules, v)
	switch form {
	case levelFine:
		return level{value, true}
	case levelBeyond:
		p.refusal = refuse(p.rules, ruleLevelsUsers, "the level of %s is out of range", key)
	case levelMalformed:
		p.malformed(r, "the level of %s is %s, which is not an integer", key, v)
	}
	return level{}
}

// entries reads an object of levels.
func (p *levelParser) entries(property string, v event.Value, r rule) entries {
	if !v.IsObject() {
		p.malformed(r, "%s is not an object", property)
		return nil
	}
	var list entries
	sorted := true
	for key, value := range v.Members() {
		if r == ruleLevelsUsers && !isUserID(key) {
			p.malformed(r, "%q is not a user ID", key)
		}
		one := p.level(key, value, r)
		if p.refusal != nil {
			return nil
		}
		if !one.set {
			continue
		}
		sorted = sorted && (len(list) == 0 || list[len(list)-1].key < key)
		list = append(list, entry{key, one.value})
	}
	if !sorted { // canonical JSON is, in the order of code points
		slices.SortStableFunc(list, func(a, b entry) int { return strings.Compare(a.key, b.key) })
		list = slices.CompactFunc(list, func(a, b entry) bool { return a.key == b.key })
	}
	return list
}

// isUserID is what the field takes for a user ID in power levels: a sigil and
// a colon. Asking for a valid server name as well would refuse power levels
// that all other servers in the room have accepted, and guard against nothing,
// since a user whose ID is not valid cannot send.
//
// Spec: appendices/#historical-user-ids
func isUserID(s string) bool {
	return strings.HasPrefix(s, "@") && strings.Contains(s, ":")
}

// levelForm says how a level is written.
type levelForm int

const (
	levelFine levelForm = iota
	levelMalformed
	levelBeyond // a number beyond the range of a double
)

// readLevel reads a level as the room version has it.
func readLevel(rules *event.Rules, v event.Value) (int64, levelForm) {
	if n, ok := v.Int(); ok {
		return n, levelFine
	}
	if rules.IntegerPowerLevels || len(v) == 0 {
		return 0, levelMalformed
	}
	if text, ok := v.Str(); ok {
		return stringLevel(text)
	}
	if v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, levelMalformed
	}
	return floatLevel(string(v))
}

// stringLevel reads a level that is a string: an integer in base ten, perhaps
// with a sign, leading zeroes and surrounding white space.
//
// Spec: rooms/v1/#mroompower_levels-events-accept-values-as-strings
func stringLevel(text string) (int64, levelForm) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, levelMalformed
	}
	return n, levelFine // beyond int64, the nearest one
}

// floatLevel reads a level that is a number but no int64: the exponent is
// applied, then the fraction cut off.
//
// Spec: rooms/v1/#mroompower_levels-events-accept-values-as-floats
func floatLevel(number string) (int64, levelForm) {
	f, err := strconv.ParseFloat(number, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, levelBeyond
	case err != nil:
		return 0, levelMalformed
	case f >= math.MaxInt64:
		return math.MaxInt64, levelFine
	case f <= math.MinInt64:
		return math.MinInt64, levelFine
	}
	return int64(f), levelFine
}
