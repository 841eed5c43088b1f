// Package clientapi is what Matrix clients call: the Client-Server API. Each
// file is named for the part of the specification that it serves; routes.go
// lists what there is. A handler parses its call, asks the component that
// knows, and returns a value or an error; rules live below.
//
// Spec: client-server-api/
package clientapi

import (
	"context"
	"time"

	"entente/accounts"
	"entente/clientapi/render"
	"entente/clientapi/syncapi"
	"entente/internal/web"
	"entente/roomserver"
)

// Options are the components that the API serves, and what it tells clients.
type Options struct {
	// Accounts are the users of this server. Required.
	Accounts *accounts.Accounts
	// Rooms are the rooms of this server. Required for all that is about rooms.
	Rooms *roomserver.Server
	// Sync tells clients what changed. Required for sync, typing, receipts and
	// presence.
	Sync *syncapi.Server
	// Transactions knows whose requests made which events; it was made before
	// whatever else follows the log. Nil knows none.
	Transactions *render.Transactions
	// Epoch is the database's: storage.DB.Epoch.
	Epoch int64
	// Directory says who may list rooms in the directory, and who sees it.
	Directory Directory
	// Secret is the key of what this API gives out and takes back, the same on
	// all nodes: storage.DB.Secret. Required.
	Secret [32]byte
	// BaseURL is what clients are told at login to use; empty tells nothing.
	BaseURL string
	// WellKnown is served under /.well-known/matrix.
	WellKnown WellKnown
	// Features are unstable features beyond those that are always served.
	Features map[string]bool
	// Now is the clock; nil is the real one.
	Now func() time.Time
}

// Directory says who may list rooms in this server's directory, and who sees
// it.
type Directory struct {
	// Closed lets nobody list a room but administrators, and Frozen not even
	// them.
	Closed, Frozen bool
	// DefaultListed lists new rooms of the preset public_chat without being
	// asked to.
	DefaultListed bool
	// Anonymous shows the directory without a login.
	Anonymous bool
}

// Server serves the API. It is complete once made.
type Server struct {
	opts     Options
	accounts *accounts.Accounts
	rooms    *roomserver.Server
	sync     *syncapi.Server
	render   *render.Renderer
	uia      *interactions
}

// New makes a Server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{
		opts: o, accounts: o.Accounts, rooms: o.Rooms, sync: o.Sync, uia: newInteractions(o.Secret, o.Now),
		render: &render.Renderer{Rooms: o.Rooms, Transactions: o.Transactions, Now: o.Now},
	}
}

// Users authenticates users by their access tokens.
//
// Spec: client-server-api/#using-access-tokens
type Users struct{ Accounts *accounts.Accounts }

// Authenticate finds the user of a request. It implements web.Authenticator.
func (u Users) Authenticate(ctx context.Context, cred web.Credentials) (web.Principal, error) {
	s, err := u.Accounts.Authenticate(ctx, cred.Token, accounts.Caller{Remote: cred.Remote, Agent: cred.UserAgent})
	if err != nil {
		return web.Principal{}, err
	}
	return web.Principal{User: s.User, Device: s.Device, Admin: s.Admin, Session: s}, nil
}

// caller is who makes a call, as Accounts wants it.
func caller(c *web.Call) accounts.Caller {
	return accounts.Caller{User: c.User(), Device: c.Device(), Remote: c.Remote(), Agent: c.UserAgent()}
}
