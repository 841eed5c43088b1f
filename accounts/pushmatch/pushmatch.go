// Package pushmatch decides by a user's push rules what an event does to them.
// Rules are compiled once; deciding about an event then reads it in place. It
// is pure: what it must know of the room it asks through a [Room].
//
// Spec: client-server-api/#push-rules
package pushmatch

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"

	"entente/roomserver/event"
)

// Room is what rules ask about the room of an event. Answers are asked for only
// where a rule comes to them.
type Room interface {
	// Members is how many have joined the room.
	Members() (int64, error)
	// DisplayName is the user's own in the room; empty for none.
	DisplayName() (string, error)
	// MayNotify reports whether a sender may notify the whole room.
	MayNotify(sender id.UserID) (bool, error)
}

// Outcome is what an event does to a user.
type Outcome struct {
	Notify, Highlight bool
}

// Rules are compiled push rules.
type Rules struct {
	list []rule
}

type rule struct {
	conditions []condition
	outcome    Outcome
}

// condition is one compiled condition; cost orders them, since all of a rule
// must hold.
type condition struct {
	cost  int
	holds func(e *event.PDU, room Room) (bool, error)
}

// Compile compiles a ruleset. Rules that are not enabled are left out. A rule
// with a condition that this server does not know never matches.
func Compile(set *pushrules.PushRuleset) *Rules {
	r := &Rules{}
	for _, p := range set.Override {
		r.add(p, conditions(p)...)
	}
	for _, p := range set.Content {
		r.add(p, eventMatch("content.body", p.Pattern))
	}
	for _, p := range sorted(set.Room) {
		r.add(p, condition{cost: 1, holds: func(e *event.PDU, _ Room) (bool, error) { return string(e.RoomID()) == p.RuleID, nil }})
	}
	for _, p := range sorted(set.Sender) {
		r.add(p, condition{cost: 1, holds: func(e *event.PDU, _ Room) (bool, error) { return string(e.Sender()) == p.RuleID, nil }})
	}
	for _, p := range set.Underride {
		r.add(p, conditions(p)...)
	}
	return r
}

// sorted lists rules of which at most one can match an event.
func sorted(m pushrules.PushRuleMap) []*pushrules.PushRule {
	out := m.Unmap()
	slices.SortFunc(out, func(a, b *pushrules.PushRule) int { return cmp.Compare(a.RuleID, b.RuleID) })
	return out
}

func (r *Rules) add(p *pushrules.PushRule, list ...condition) {
	if p == nil || !p.Enabled {
		return
	}
	should := p.Actions.Should()
	slices.SortStableFunc(list, func(a, b condition) int { return cmp.Compare(a.cost, b.cost) })
	r.list = append(r.list, rule{list, Outcome{Notify: should.Notify, Highlight: should.Notify && should.Highlight}})
}

// Decide finds the first rule that matches an event, and answers what it says.
func (r *Rules) Decide(e *event.PDU, room Room) (Outcome, error) {
	for i := range r.list {
		matches, err := r.list[i].matches(e, room)
		if err != nil || matches {
			return r.list[i].outcome, err
		}
	}
	return Outcome{}, nil
}

func (r *rule) matches(e *event.PDU, room Room) (bool, error) {
	for i := range r.conditions {
		if holds, err := r.conditions[i].holds(e, room); err != nil || !holds {
			return false, err
		}
	}
	return true, nil
}

func conditions(p *pushrules.PushRule) []condition {
	out := make([]condition, 0, len(p.Conditions))
	for _, c := range p.Conditions {
		if c == nil {
			out = append(out, never)
			continue
		}
		out = append(out, compile(c))
	}
	return out
}

var never = condition{holds: func(*event.PDU, Room) (bool, error) { return false, nil }}

func compile(c *pushrules.PushCondition) condition {
	switch c.Kind {
	case pushrules.KindEventMatch:
		return eventMatch(c.Key, c.Pattern)
	case pushrules.KindEventPropertyIs:
		path, want := SplitPath(c.Key), encode(c.Value)
		return condition{cost: 2, holds: func(e *event.PDU, _ Room) (bool, error) { return want != "" && string(property(e, path)) == want, nil }}
	case pushrules.KindEventPropertyContains:
		path, want := SplitPath(c.Key), encode(c.Value)
		return condition{cost: 2, holds: func(e *event.PDU, _ Room) (bool, error) { return contains(property(e, path), want), nil }}
	case pushrules.KindContainsDisplayName:
		return condition{cost: 4, holds: containsDisplayName}
	case pushrules.KindRoomMemberCount:
		return memberCount(c.MemberCountCondition)
	case pushrules.KindSenderNotificationPermission:
		if c.Key != "room" {
			return never
		}
		return condition{cost: 5, holds: func(e *event.PDU, room Room) (bool, error) { return room.MayNotify(e.Sender()) }}
	}
	return never
}

// eventMatch compares a property with a pattern, in which * stands for any
// characters and ? for one, whatever the case: the whole of it, but any words
// of the body.
//
// Spec: client-server-api/#conditions-1
func eventMatch(key, pattern string) condition {
	path := SplitPath(key)
	if key != "content.body" && !strings.ContainsAny(pattern, "*?") {
		return condition{cost: 1, holds: func(e *event.PDU, _ Room) (bool, error) {
			text, ok := textOf(e, path)
			return ok && strings.EqualFold(text, pattern), nil
		}}
	}
	form := globForm(pattern)
	if key == "content.body" {
		form = `(?:^|\W)` + form + `(?:\W|$)`
	} else {
		form = `^` + form + `$`
	}
	re, err := regexp.Compile(`(?is)` + form)
	if err != nil {
		return never
	}
	return condition{cost: 3, holds: func(e *event.PDU, _ Room) (bool, error) {
		text, ok := textOf(e, path)
		return ok && re.MatchString(text), nil
	}}
}

// globForm is a pattern as a regular expression, which runs in linear time.
func globForm(pattern string) string {
	var out strings.Builder
	for _, r := range pattern {
		switch r {
		case '*':
			out.WriteString(`.*`)
		case '?':
			out.WriteByte('.')
		default:
			out.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return out.String()
}

// textOf is a property as text; only strings are.
func textOf(e *event.PDU, path []string) (string, bool) {
	if len(path) == 1 {
		switch path[0] {
		case "type":
			return e.Type(), true
		case "sender":
			return string(e.Sender()), true
		case "room_id":
			return string(e.RoomID()), true
		case "state_key":
			return e.StateKey()
		}
	}
	return property(e, path).Str()
}

// property is the value at a path of an event.
func property(e *event.PDU, path []string) event.Value {
	v := event.Value(e.JSON())
	if path[0] == "content" {
		v, path = event.Value(e.Content()), path[1:]
	}
	for _, name := range path {
		if v = v.Get(name); v == nil {
			return nil
		}
	}
	return v
}

func contains(list event.Value, want string) bool {
	if want == "" {
		return false
	}
	for v := range list.Elements() {
		if string(v) == want {
			return true
		}
	}
	return false
}

// encode is a simple value as canonical JSON; empty for others.
func encode(v any) string {
	switch x := v.(type) {
	case nil, string, bool:
	case float64:
		if x == float64(int64(x)) {
			return strconv.FormatInt(int64(x), 10)
		}
		return ""
	default:
		return ""
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	canonical, err := event.Canonical(append(append([]byte(`{"v":`), raw...), '}'))
	if err != nil {
		return ""
	}
	return string(event.Value(canonical).Get("v"))
}

// SplitPath splits a path at its dots; a backslash takes the next dot or
// backslash for what it is.
//
// Spec: appendices/#dot-separated-property-paths
func SplitPath(path string) []string {
	var out []string
	var part []byte
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			part = append(part, path[i])
		case path[i] == '.':
			out, part = append(out, string(part)), nil
		default:
			part = append(part, path[i])
		}
	}
	return append(out, string(part))
}

func containsDisplayName(e *event.PDU, room Room) (bool, error) {
	body, ok := event.Value(e.Content()).Get("body").Str()
	if !ok {
		return false, nil
	}
	name, err := room.DisplayName()
	if err != nil || name == "" {
		return false, err
	}
	return containsWords(strings.ToLower(body), strings.ToLower(name)), nil
}

// containsWords reports whether words stand in text with no letter, digit or
// underscore next to them.
func containsWords(text, words string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], words)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(words)
		if (i == 0 || !isWord(text[i-1])) && (end == len(text) || !isWord(text[end])) {
			return true
		}
		from = i + 1
	}
}

func isWord(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

var countForm = regexp.MustCompile(`^(==|<=|>=|<|>|)([0-9]{1,9})$`)

// memberCount compares the number of members.
func memberCount(is string) condition {
	parts := countForm.FindStringSubmatch(is)
	if parts == nil {
		return never
	}
	n, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return never
	}
	want := map[string]func(int) bool{
		"": isZero, "==": isZero,
		"<": func(c int) bool { return c < 0 }, ">": func(c int) bool { return c > 0 },
		"<=": func(c int) bool { return c <= 0 }, ">=": func(c int) bool { return c >= 0 },
	}[parts[1]]
	return condition{cost: 5, holds: func(_ *event.PDU, room Room) (bool, error) {
		members, err := room.Members()
		return err == nil && want(cmp.Compare(members, n)), err
	}}
}

func isZero(c int) bool { return c == 0 }
