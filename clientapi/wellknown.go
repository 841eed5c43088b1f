package clientapi

import (
	"context"

	"entente/internal/fault"
	"entente/internal/web"
)

// WellKnown is what is served under /.well-known/matrix; what is empty is
// answered with 404.
type WellKnown struct {
	// Client is the base URL of the Client-Server API.
	Client string
	// Server is where other servers reach this one, host:port.
	Server string
	// Support says whom people turn to.
	Support Support
}

// Support is the answer of /.well-known/matrix/support.
//
// Spec: client-server-api/#getwell-knownmatrixsupport
type Support struct {
	Contacts []Contact `json:"contacts,omitempty"`
	Page     string    `json:"support_page,omitempty"`
}

// Contact is someone who answers.
type Contact struct {
	Role     string `json:"role"`
	Email    string `json:"email_address,omitempty"`
	MatrixID string `json:"matrix_id,omitempty"`
}

var errNotServed = fault.New(fault.NotFound, "Nothing is configured to be served here")

func (s *Server) wellKnownRoutes() []web.Route {
	return []web.Route{
		{Method: "GET", Path: "/.well-known/matrix/client", Auth: web.AuthNone, Rate: web.RateNone, Handle: s.getWellKnownClient, Spec: "client-server-api/#getwell-knownmatrixclient"},
		{Method: "GET", Path: "/.well-known/matrix/server", Auth: web.AuthNone, Rate: web.RateNone, Handle: s.getWellKnownServer, Spec: "server-server-api/#getwell-knownmatrixserver"},
		{Method: "GET", Path: "/.well-known/matrix/support", Auth: web.AuthNone, Rate: web.RateNone, Handle: s.getWellKnownSupport, Spec: "client-server-api/#getwell-knownmatrixsupport"},
	}
}

func (s *Server) getWellKnownClient(context.Context, *web.Call) (any, error) {
	if s.opts.WellKnown.Client == "" {
		return nil, errNotServed
	}
	return map[string]any{"m.homeserver": map[string]string{"base_url": s.opts.WellKnown.Client}}, nil
}

func (s *Server) getWellKnownServer(context.Context, *web.Call) (any, error) {
	if s.opts.WellKnown.Server == "" {
		return nil, errNotServed
	}
	return map[string]string{"m.server": s.opts.WellKnown.Server}, nil
}

func (s *Server) getWellKnownSupport(context.Context, *web.Call) (any, error) {
	support := s.opts.WellKnown.Support
	if support.Page == "" && len(support.Contacts) == 0 {
		return nil, errNotServed
	}
	return support, nil
}
