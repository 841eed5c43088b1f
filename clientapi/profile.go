package clientapi

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/internal/web"
)

// getProfile reads a profile. Whoever has no token learns about our users
// only, so that strangers cannot make us call other servers.
func (s *Server) getProfile(ctx context.Context, c *web.Call) (any, error) {
	user, err := s.profileOf(c)
	if err != nil {
		return nil, err
	}
	profile, err := s.accounts.Profile(ctx, user)
	return profile, err
}

func (s *Server) getProfileField(ctx context.Context, c *web.Call) (any, error) {
	user, err := s.profileOf(c)
	if err != nil {
		return nil, err
	}
	field := c.Path("keyName")
	value, err := s.accounts.ProfileField(ctx, user, field)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{field: value}, nil
}

func (s *Server) profileOf(c *web.Call) (id.UserID, error) {
	user, err := c.UserID("userId")
	if err == nil && c.User() == "" && !s.accounts.Ours(user) {
		err = fault.New(fault.MissingToken, "Profiles of other servers' users are for our users only")
	}
	return user, err
}

func (s *Server) putProfileField(ctx context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	var body map[string]json.RawMessage
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	field := c.Path("keyName")
	value, ok := body[field]
	if !ok {
		return nil, fault.New(fault.MissingParam, "The body does not have the profile field that the path names")
	}
	return web.Empty, s.accounts.SetProfileField(ctx, c.User(), field, value)
}

func (s *Server) deleteProfileField(ctx context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	return web.Empty, s.accounts.DeleteProfileField(ctx, c.User(), c.Path("keyName"))
}

// postUserSearch searches the user directory.
//
// Spec: client-server-api/#user-directory
func (s *Server) postUserSearch(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Term  *string `json:"search_term"`
		Limit int     `json:"limit"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.Term == nil {
		return nil, fault.New(fault.MissingParam, "search_term is missing")
	}
	found, more, err := s.accounts.SearchUsers(ctx, c.User(), *body.Term, body.Limit)
	if err != nil {
		return nil, err
	}
	type result struct {
		User   id.UserID       `json:"user_id"`
		Name   json.RawMessage `json:"display_name,omitempty"`
		Avatar json.RawMessage `json:"avatar_url,omitempty"`
	}
	results := make([]result, len(found))
	for i, f := range found {
		results[i] = result{f.User, f.DisplayName, f.AvatarURL}
	}
	return struct {
		Results []result `json:"results"`
		Limited bool     `json:"limited"`
	}{results, more}, nil
}
