package clientapi

import (
	"context"
	"time"

	"entente/internal/fault"
	"entente/internal/web"
)

func (s *Server) putTyping(ctx context.Context, c *web.Call) (any, error) {
	room, err := ownRoom(c)
	if err != nil {
		return nil, err
	}
	var form struct {
		Typing  *bool `json:"typing"`
		Timeout int64 `json:"timeout"`
	}
	if err := c.Decode(&form); err != nil {
		return nil, err
	}
	if form.Typing == nil {
		return nil, fault.New(fault.MissingParam, "typing is missing")
	}
	// What is too long is cut anyway, so that it may be cut before it overflows.
	timeout := time.Duration(min(max(form.Timeout, 0), 1<<30)) * time.Millisecond
	return web.Empty, s.sync.Typing(ctx, room, c.User(), *form.Typing, timeout)
}
