package inbound

import (
	"context"

	"entente/federation/keys"
	"entente/internal/fault"
	"entente/internal/web"

	"maunium.net/go/mautrix/id"
)

// getKeys answers our own keys.
func (s *Server) getKeys(context.Context, *web.Call) (any, error) {
	document, err := s.o.Keys.Own().Document()
	return web.Raw(document), err
}

// getKeyQuery answers, as a notary, the keys of another server.
func (s *Server) getKeyQuery(ctx context.Context, c *web.Call) (any, error) {
	server, err := c.ServerName("serverName")
	if err != nil {
		return nil, err
	}
	valid, err := c.QueryInt("minimum_valid_until_ts", 0, 0, maxTimestamp)
	if err != nil {
		return nil, err
	}
	return s.notarize(ctx, keys.Query{Servers: map[string]map[id.KeyID]keys.Criteria{server: nil}, MinimumValidUntil: valid})
}

// maxTimestamp is the largest integer that Matrix has.
const maxTimestamp = 1<<53 - 1

// postKeyQuery answers, as a notary, the keys of other servers.
func (s *Server) postKeyQuery(ctx context.Context, c *web.Call) (any, error) {
	var q keys.Query
	if err := c.Decode(&q); err != nil {
		return nil, err
	}
	if q.Servers == nil {
		return nil, fault.New(fault.MissingParam, "server_keys is missing")
	}
	return s.notarize(ctx, q)
}

func (s *Server) notarize(ctx context.Context, q keys.Query) (any, error) {
	answer, err := s.o.Keys.Notarize(ctx, q)
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// getVersion names this software.
func (s *Server) getVersion(context.Context, *web.Call) (any, error) {
	return map[string]any{"server": map[string]string{"name": "Entente", "version": s.o.Version}}, nil
}
