// Package adminapi is what operators and their tools call.
package adminapi

import (
	"time"

	"entente/accounts"
	"entente/internal/web"
)

// Options are what the API needs.
type Options struct {
	// Accounts are the users of this server. Required.
	Accounts *accounts.Accounts
	// SharedSecret lets whoever knows it make accounts; empty turns that off.
	SharedSecret string
	// Now is the clock; nil is the real one.
	Now func() time.Time
}

// Server serves the API. It is complete once made.
type Server struct {
	opts     Options
	accounts *accounts.Accounts
	nonces   *nonces
}

// New makes a Server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{opts: o, accounts: o.Accounts, nonces: newNonces(o.Now)}
}

// Routes lists all that the server serves. The route for registering with a
// shared secret is not of the specification: the field's tools know it by
// this path.
func (s *Server) Routes() []web.Route {
	if s.opts.SharedSecret == "" {
		return nil
	}
	const register = "/_synapse/admin/v1/register"
	return []web.Route{
		{Method: "GET", Path: register, Auth: web.AuthNone, Rate: web.RateRegister, Handle: s.getNonce},
		{Method: "POST", Path: register, Auth: web.AuthNone, Rate: web.RateRegister, Handle: s.postRegister},
	}
}
