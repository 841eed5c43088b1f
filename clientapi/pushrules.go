package clientapi

import (
	"context"
	"encoding/json"

	"entente/accounts"
	"entente/internal/fault"
	"entente/internal/web"
)

// getPushRules serves all push rules.
//
// Spec: client-server-api/#push-rules-api
func (s *Server) getPushRules(ctx context.Context, c *web.Call) (any, error) {
	rules, err := s.accounts.PushRules(ctx, c.User())
	if err != nil {
		return nil, err
	}
	return web.Raw(rules.JSON), nil
}

func (s *Server) getGlobalPushRules(ctx context.Context, c *web.Call) (any, error) {
	rules, err := s.accounts.PushRules(ctx, c.User())
	if err != nil {
		return nil, err
	}
	global, err := rules.GlobalJSON()
	return web.Raw(global), err
}

func (s *Server) getPushRule(ctx context.Context, c *web.Call) (any, error) {
	rules, err := s.accounts.PushRules(ctx, c.User())
	if err != nil {
		return nil, err
	}
	rule, err := rules.Rule(c.Path("kind"), c.Path("ruleId"))
	return web.Raw(rule), err
}

func (s *Server) getPushRuleEnabled(ctx context.Context, c *web.Call) (any, error) {
	return s.pushRuleAttribute(ctx, c, "enabled")
}

func (s *Server) getPushRuleActions(ctx context.Context, c *web.Call) (any, error) {
	return s.pushRuleAttribute(ctx, c, "actions")
}

func (s *Server) pushRuleAttribute(ctx context.Context, c *web.Call, key string) (any, error) {
	rules, err := s.accounts.PushRules(ctx, c.User())
	if err != nil {
		return nil, err
	}
	value, err := rules.Attribute(c.Path("kind"), c.Path("ruleId"), key)
	return map[string]json.RawMessage{key: value}, err
}

func (s *Server) putPushRule(ctx context.Context, c *web.Call) (any, error) {
	body, err := c.JSON()
	if err != nil {
		return nil, err
	}
	place := accounts.RulePlace{Before: c.QueryString("before"), After: c.QueryString("after")}
	return web.Empty, s.accounts.SetPushRule(ctx, c.User(), c.Path("kind"), c.Path("ruleId"), body, place)
}

func (s *Server) deletePushRule(ctx context.Context, c *web.Call) (any, error) {
	return web.Empty, s.accounts.DeletePushRule(ctx, c.User(), c.Path("kind"), c.Path("ruleId"))
}

func (s *Server) putPushRuleEnabled(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Enabled *bool `json:"enabled"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.Enabled == nil {
		return nil, fault.New(fault.MissingParam, "enabled is missing")
	}
	return web.Empty, s.accounts.EnablePushRule(ctx, c.User(), c.Path("kind"), c.Path("ruleId"), *body.Enabled)
}

func (s *Server) putPushRuleActions(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Actions json.RawMessage `json:"actions"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	return web.Empty, s.accounts.SetPushActions(ctx, c.User(), c.Path("kind"), c.Path("ruleId"), body.Actions)
}
