package accounts

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"

	"entente/internal/fault"
	"entente/storage"
)

// The kinds of push rule, most important first.
//
// Spec: client-server-api/#push-rules
var pushKinds = []string{"override", "content", "room", "sender", "underride"}

// pushRule is a rule as its client wrote it: keys that we do not know stay.
type pushRule map[string]json.RawMessage

func (r pushRule) id() string {
	var s string
	_ = json.Unmarshal(r[keyRuleID], &s) // a rule without an ID has the empty one
	return s
}

func (r pushRule) isDefault() bool { return strings.HasPrefix(r.id(), ".") }

// pushRules are the rules of a user, as m.push_rules holds them: what we do
// not know in them stays.
type pushRules struct {
	all    map[string]json.RawMessage // scopes
	global map[string]json.RawMessage // kinds
	kinds  map[string][]pushRule      // those that we know
}

func parsePushRules(content []byte) (*pushRules, error) {
	p := &pushRules{kinds: map[string][]pushRule{}}
	if err := json.Unmarshal(content, &p.all); err != nil {
		return nil, err
	}
	if p.all == nil {
		p.all = map[string]json.RawMessage{}
	}
	if global := p.all["global"]; global != nil {
		if err := json.Unmarshal(global, &p.global); err != nil {
			return nil, err
		}
	}
	if p.global == nil {
		p.global = map[string]json.RawMessage{}
	}
	for _, kind := range pushKinds {
		p.kinds[kind] = []pushRule{}
		if rules := p.global[kind]; rules != nil {
			var list []pushRule
			if err := json.Unmarshal(rules, &list); err != nil {
				return nil, err
			}
			p.kinds[kind] = append(p.kinds[kind], list...)
		}
	}
	return p, nil
}

func (p *pushRules) encode() ([]byte, error) {
	for kind, rules := range p.kinds {
		encoded, err := encodePlain(rules)
		if err != nil {
			return nil, err
		}
		p.global[kind] = encoded
	}
	encoded, err := encodePlain(p.global)
	if err != nil {
		return nil, err
	}
	p.all["global"] = encoded
	return encodePlain(p.all)
}

// encodePlain is JSON in which < and > are themselves, as clients sent them.
func encodePlain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// find is where a rule stands among its kind, or an error.
func (p *pushRules) find(kind, rule string) (int, error) {
	if err := checkKind(kind); err != nil {
		return 0, err
	}
	for i, r := range p.kinds[kind] {
		if r.id() == rule {
			return i, nil
		}
	}
	return 0, fault.New(fault.NotFound, "The push rule was not found")
}

func checkKind(kind string) error {
	if !slices.Contains(pushKinds, kind) {
		return fault.New(fault.InvalidParam, "There is no kind of push rule of that name")
	}
	return nil
}

// PushRules are a user's push rules, ready to be served and evaluated. They
// are shared: nobody may change them.
type PushRules struct {
	// JSON is the content of m.push_rules.
	JSON json.RawMessage
	// Global is the global ruleset, for evaluation.
	Global *pushrules.PushRuleset
}

// GlobalJSON is the global ruleset.
func (p *PushRules) GlobalJSON() (json.RawMessage, error) {
	parsed, err := parsePushRules(p.JSON)
	if err != nil {
		return nil, err
	}
	return parsed.all["global"], nil
}

// Rule is one rule.
//
// Spec: client-server-api/#get_matrixclientv3pushrulesglobalkindruleid
func (p *PushRules) Rule(kind, rule string) (json.RawMessage, error) {
	found, err := p.find(kind, rule)
	if err != nil {
		return nil, err
	}
	return encodePlain(found)
}

// Attribute is one key of a rule, for example its actions.
func (p *PushRules) Attribute(kind, rule, key string) (json.RawMessage, error) {
	found, err := p.find(kind, rule)
	return found[key], err
}

func (p *PushRules) find(kind, rule string) (pushRule, error) {
	parsed, err := parsePushRules(p.JSON)
	if err != nil {
		return nil, err
	}
	i, err := parsed.find(kind, rule)
	if err != nil {
		return nil, err
	}
	return parsed.kinds[kind][i], nil
}

// PushRules are the push rules of one of our users. They are read once and
// kept until they change.
//
// Spec: client-server-api/#push-rules
func (a *Accounts) PushRules(ctx context.Context, user id.UserID) (*PushRules, error) {
	if kept := a.rules.get(user); kept != nil {
		return kept, nil
	}
	subject, err := a.db.UserSubject(ctx, storage.User, user)
	if err != nil {
		return nil, err
	}
	before := a.rules.changes.Load()
	data, err := a.db.Latest().AccountData(ctx, user, 0, pushRulesType)
	if err != nil {
		return nil, err
	}
	var content []byte
	if data != nil {
		content = data.Content
	}
	parsed, err := currentRules(user, content)
	if err != nil {
		return nil, err
	}
	rules := &PushRules{Global: &pushrules.PushRuleset{}}
	if rules.JSON, err = parsed.encode(); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(parsed.all["global"], rules.Global); err != nil {
		return nil, err
	}
	a.rules.put(user, subject.ID, rules, before)
	return rules, nil
}

// currentRules reads stored rules, which may be none, with today's defaults.
func currentRules(user id.UserID, content []byte) (*pushRules, error) {
	if content == nil {
		return defaultRules(user), nil
	}
	p, err := parsePushRules(content)
	if err == nil {
		p.upgrade(user)
	}
	return p, err
}

// RulePlace says where among a user's rules of its kind a rule goes: next to
// another, or with both empty before all.
type RulePlace struct{ Before, After string }

// SetPushRule adds or changes a rule of a user's own.
//
// Spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
func (a *Accounts) SetPushRule(ctx context.Context, user id.UserID, kind, rule string, body json.RawMessage, place RulePlace) error {
	if err := checkKind(kind); err != nil {
		return err
	}
	if err := checkRuleID(rule); err != nil {
		return err
	}
	made, err := readRule(kind, body)
	if err != nil {
		return err
	}
	made[keyRuleID], made[keyDefault], made[keyEnabled] = mustJSON(rule), jsonFalse, jsonTrue
	return a.revisePushRules(ctx, user, func(p *pushRules) error { return p.set(kind, made, place) })
}

// set puts a rule in its place. One that was there keeps whether it is
// enabled, and its place unless a place is named.
func (p *pushRules) set(kind string, made pushRule, place RulePlace) error {
	rules := p.kinds[kind]
	old, err := p.find(kind, made.id())
	exists := err == nil
	if exists {
		made[keyEnabled] = rules[old][keyEnabled]
		if place == (RulePlace{}) {
			rules[old] = made
			return nil
		}
		rules = slices.Delete(slices.Clone(rules), old, old+1)
	}
	at := slices.IndexFunc(rules, func(r pushRule) bool { return r.id() != masterRule })
	if at < 0 {
		at = len(rules)
	}
	beside, offset := place.Before, 0
	if beside == "" {
		beside, offset = place.After, 1
	}
	if beside != "" {
		i := slices.IndexFunc(rules, func(r pushRule) bool { return r.id() == beside && !r.isDefault() })
		if i < 0 {
			return fault.New(fault.InvalidParam, "The rule before or after which it should go was not found among the user's own")
		}
		at = i + offset
	}
	p.kinds[kind] = slices.Insert(rules, at, made)
	return nil
}

// DeletePushRule removes a rule of a user's own.
//
// Spec: client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid
func (a *Accounts) DeletePushRule(ctx context.Context, user id.UserID, kind, rule string) error {
	return a.revisePushRules(ctx, user, func(p *pushRules) error {
		i, err := p.find(kind, rule)
		if err != nil {
			return err
		}
		if p.kinds[kind][i].isDefault() {
			return fault.New(fault.InvalidParam, "Predefined rules can be disabled, not deleted")
		}
		p.kinds[kind] = slices.Delete(p.kinds[kind], i, i+1)
		return nil
	})
}

// EnablePushRule enables or disables a rule.
//
// Spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled
func (a *Accounts) EnablePushRule(ctx context.Context, user id.UserID, kind, rule string, enabled bool) error {
	value := jsonFalse
	if enabled {
		value = jsonTrue
	}
	return a.revisePushRule(ctx, user, kind, rule, keyEnabled, value)
}

// SetPushActions changes what a rule does.
//
// Spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions
func (a *Accounts) SetPushActions(ctx context.Context, user id.UserID, kind, rule string, actions json.RawMessage) error {
	value, err := readActions(actions)
	if err != nil {
		return err
	}
	return a.revisePushRule(ctx, user, kind, rule, keyActions, value)
}

func (a *Accounts) revisePushRule(ctx context.Context, user id.UserID, kind, rule, key string, value json.RawMessage) error {
	return a.revisePushRules(ctx, user, func(p *pushRules) error {
		i, err := p.find(kind, rule)
		if err == nil {
			p.kinds[kind][i][key] = value
		}
		return err
	})
}

func (a *Accounts) revisePushRules(ctx context.Context, user id.UserID, change func(p *pushRules) error) error {
	return a.reviseAccountData(ctx, user, 0, pushRulesType, func(content []byte) ([]byte, error) {
		p, err := currentRules(user, content)
		if err != nil {
			return nil, err
		}
		if err := change(p); err != nil {
			return nil, err
		}
		return p.encode()
	})
}

// checkRuleID refuses IDs that users' rules cannot have.
func checkRuleID(rule string) error {
	switch {
	case rule == "" || len(rule) > maxAccountDataType:
		return fault.New(fault.InvalidParam, "The rule's ID is empty or longer than %d bytes", maxAccountDataType)
	case rule[0] == '.':
		return fault.New(fault.InvalidParam, "IDs that begin with a dot are kept for predefined rules")
	case strings.ContainsAny(rule, `/\`):
		return fault.New(fault.InvalidParam, "The rule's ID contains a slash or a backslash")
	}
	return nil
}

// readRule checks a rule that a client sent.
func readRule(kind string, body json.RawMessage) (pushRule, error) {
	var rule pushRule
	if err := json.Unmarshal(body, &rule); err != nil || rule == nil {
		return nil, fault.Wrap(err, fault.BadJSON, "The push rule is not a JSON object")
	}
	actions, err := readActions(rule[keyActions])
	if err != nil {
		return nil, err
	}
	rule[keyActions] = actions
	switch kind {
	case "override", "underride":
		delete(rule, keyPattern)
		if rule[keyConditions] == nil {
			rule[keyConditions] = json.RawMessage("[]")
		}
		return rule, checkConditions(rule[keyConditions])
	case "content":
		delete(rule, keyConditions)
		var pattern *string
		if err := json.Unmarshal(rule[keyPattern], &pattern); err != nil || pattern == nil {
			return nil, fault.New(fault.BadJSON, "pattern must be a string")
		}
		return rule, nil
	}
	delete(rule, keyConditions)
	delete(rule, keyPattern)
	return rule, nil
}

func checkConditions(raw json.RawMessage) error {
	var conditions []struct {
		Kind *string `json:"kind"`
	}
	if err := json.Unmarshal(raw, &conditions); err != nil || conditions == nil {
		return fault.New(fault.BadJSON, "conditions must be a list of objects")
	}
	for _, c := range conditions {
		if c.Kind == nil {
			return fault.New(fault.BadJSON, "Each condition has a kind")
		}
	}
	return nil
}

// readActions checks a list of actions, and leaves out what is to be ignored.
//
// Spec: client-server-api/#historical-actions
func readActions(raw json.RawMessage) (json.RawMessage, error) {
	var actions []json.RawMessage
	if raw == nil {
		return nil, fault.New(fault.MissingParam, "actions are missing")
	}
	if err := json.Unmarshal(raw, &actions); err != nil || actions == nil {
		return nil, fault.New(fault.BadJSON, "actions must be a list")
	}
	kept := []json.RawMessage{}
	for _, action := range actions {
		keep, err := keepAction(action)
		if err != nil {
			return nil, err
		}
		if keep {
			kept = append(kept, action)
		}
	}
	return encodePlain(kept)
}

// keepAction checks one action: a word that we know or that is namespaced, or
// an object that sets a tweak.
func keepAction(raw json.RawMessage) (bool, error) {
	var word *string
	if json.Unmarshal(raw, &word) == nil && word != nil {
		switch {
		case *word == "dont_notify", *word == "coalesce":
			return false, nil
		case *word == "notify", strings.Contains(*word, "."):
			return true, nil
		}
		return false, fault.New(fault.InvalidParam, "There is no action %q", truncate(*word, 64))
	}
	var tweak struct {
		Tweak *string `json:"set_tweak"`
	}
	if json.Unmarshal(raw, &tweak) != nil || tweak.Tweak == nil {
		return false, fault.New(fault.InvalidParam, "An action is a word or sets a tweak")
	}
	return true, nil
}
