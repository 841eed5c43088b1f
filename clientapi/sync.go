package clientapi

import (
	"context"
	"time"

	"entente/clientapi/syncapi"
	"entente/internal/web"
)

// longestSync is the longest that a client may ask to wait, in milliseconds.
const longestSync = int64(5 * time.Minute / time.Millisecond)

// getSync tells what changed. The unstable parameter is that of clients which
// came before the stable one.
func (s *Server) getSync(ctx context.Context, c *web.Call) (any, error) {
	timeout, err := c.QueryInt("timeout", 0, 0, longestSync)
	if err != nil {
		return nil, err
	}
	full, err := c.QueryBool("full_state", false)
	if err != nil {
		return nil, err
	}
	presence, err := c.QueryEnum("set_presence", "", syncapi.Online, syncapi.Unavailable, syncapi.Offline)
	if err != nil {
		return nil, err
	}
	req := syncapi.Request{
		User: c.User(), Device: c.Device(), Since: c.QueryString("since"), Filter: c.QueryString("filter"), FullState: full,
		Presence: presence, Timeout: time.Duration(timeout) * time.Millisecond,
	}
	for parameter, name := range map[string]string{
		"org.matrix.msc4222.use_state_after": "org.matrix.msc4222.state_after", "use_state_after": "state_after",
	} {
		wanted, err := c.QueryBool(parameter, false)
		if err != nil {
			return nil, err
		}
		if wanted && req.StateAfter != "state_after" {
			req.StateAfter = name
		}
	}
	answer, err := s.sync.Sync(ctx, req)
	return web.Raw(answer), err
}
