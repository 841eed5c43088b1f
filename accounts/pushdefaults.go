package accounts

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"

	"maunium.net/go/mautrix/id"
)

// defaultRulesText is the specification's rules in its order, with $user for
// the user's ID.
//
// Spec: client-server-api/#predefined-rules
//
//go:embed pushdefaults.json
var defaultRulesText string

// defaultRules are the rules that everyone has.
func defaultRules(user id.UserID) *pushRules {
	quoted := string(mustJSON(string(user)))
	text := strings.ReplaceAll(defaultRulesText, "$user", quoted[1:len(quoted)-1])
	rules, err := parsePushRules([]byte(text))
	if err != nil {
		panic("accounts: the default push rules are damaged: " + err.Error())
	}
	return rules
}

// upgrade gives stored rules today's server-default rules: their conditions
// are ours, whether they are enabled and what they do is the user's choice.
// .m.rule.master comes before the user's own rules, the others after them.
func (p *pushRules) upgrade(user id.UserID) {
	for kind, ours := range defaultRules(user).kinds {
		var master, defaults, own, rest []pushRule
		chosen := map[string]pushRule{}
		for _, rule := range p.kinds[kind] {
			if rule.isDefault() {
				chosen[rule.id()] = rule
			} else {
				own = append(own, rule)
			}
		}
		for _, rule := range ours {
			if mine, ok := chosen[rule.id()]; ok {
				rule[keyEnabled], rule[keyActions] = mine[keyEnabled], mine[keyActions]
				delete(chosen, rule.id())
			}
			if rule.id() == masterRule {
				master = append(master, rule)
			} else {
				defaults = append(defaults, rule)
			}
		}
		for _, rule := range p.kinds[kind] { // defaults of another server, kept in order
			if _, ok := chosen[rule.id()]; ok && rule.isDefault() {
				rest = append(rest, rule)
			}
		}
		p.kinds[kind] = append([]pushRule{}, slices.Concat(master, own, defaults, rest)...)
	}
}

const (
	masterRule = ".m.rule.master"

	keyRuleID     = "rule_id"
	keyDefault    = "default"
	keyEnabled    = "enabled"
	keyActions    = "actions"
	keyConditions = "conditions"
	keyPattern    = "pattern"
)

var (
	jsonTrue  = json.RawMessage("true")
	jsonFalse = json.RawMessage("false")
)
