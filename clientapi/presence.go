package clientapi

import (
	"context"

	"entente/internal/web"
)

func (s *Server) getPresence(ctx context.Context, c *web.Call) (any, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	p, err := s.sync.PresenceOf(ctx, c.User(), user)
	if err != nil {
		return nil, err
	}
	return web.Raw(p.Append(nil, s.opts.Now().UnixMilli())), nil
}

func (s *Server) putPresence(_ context.Context, c *web.Call) (any, error) {
	if err := c.OwnPath("userId"); err != nil {
		return nil, err
	}
	var form struct {
		Presence string `json:"presence"`
		Message  string `json:"status_msg"`
	}
	if err := c.Decode(&form); err != nil {
		return nil, err
	}
	return web.Empty, s.sync.SetPresence(c.User(), form.Presence, form.Message)
}
