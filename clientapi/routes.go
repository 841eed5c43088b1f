package clientapi

import (
	"slices"

	"entente/internal/web"
)

// Routes lists all that the server serves. Each area lists its own beside its
// handlers' area, in a file that ends in _routes.go.
func (s *Server) Routes() []web.Route {
	return slices.Concat(
		s.wellKnownRoutes(),
		s.accountRoutes(),
		s.roomRoutes(),
		s.syncRoutes(),
	)
}
