package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"entente/adminapi"
	"entente/clientapi"
	"entente/clientapi/render"
	"entente/clientapi/syncapi"
	"entente/config"
	"entente/internal/web"
)

// newLimiter is the limiter of all listeners; nil limits nobody.
func newLimiter(cfg config.RateLimits) *web.Limiter {
	limits := rateLimits(cfg)
	if limits == nil {
		return nil
	}
	return web.NewLimiter(limits, 0, time.Now())
}

// openListeners binds every configured listener to the routes of its resources.
func (s *server) openListeners(ctx context.Context) error {
	metrics, limiter := web.NewMetrics(s.metrics), newLimiter(s.cfg.RateLimits)
	for i, cfg := range s.cfg.Listeners {
		proxies, err := trustedProxies(cfg)
		if err != nil {
			return fmt.Errorf("listeners[%d]: %w", i, err)
		}
		handler, err := web.New(web.Options{
			Logger: s.log, Metrics: metrics, Limiter: limiter, Users: clientapi.Users{Accounts: s.accounts}, Peers: s.ring.Authenticate,
			Proxies: proxies, QueryToken: s.cfg.Sessions.QueryAccessToken, MaxBody: int64(s.cfg.Limits.RequestBody), MaxDepth: s.cfg.Limits.JSONDepth,
		}, s.routes(cfg.Resources)...)
		if err != nil {
			return err
		}
		l, err := listen(ctx, cfg, handler, s.log)
		if err != nil {
			return fmt.Errorf("listeners[%d]: %w", i, err)
		}
		s.listeners = append(s.listeners, l)
	}
	return s.openAdmin(ctx)
}

// openAdmin binds the operators' listener, unless it is off.
func (s *server) openAdmin(ctx context.Context) error {
	if s.cfg.Admin.Address == "" || s.cfg.Admin.Address == "off" {
		return nil
	}
	l, err := bind(ctx, []string{s.cfg.Admin.Address}, nil, adminHandler(s.cfg.Admin, s.metrics, s.ready), s.log)
	if err != nil {
		return fmt.Errorf("admin.address: %w", err)
	}
	s.listeners = append(s.listeners, l)
	return nil
}

// routes are those of a listener's resources; none named is all.
func (s *server) routes(resources []string) []web.Route {
	var out []web.Route
	if len(resources) == 0 || slices.Contains(resources, config.ResourceClient) {
		out = append(out, s.clients.Routes()...)
		out = append(out, s.admin.Routes()...)
	}
	if len(resources) == 0 || slices.Contains(resources, config.ResourceFederation) {
		out = append(out, s.inbound.Routes()...)
	}
	return out
}

// openAPIs builds what serves requests.
func (s *server) openAPIs() {
	transactions := render.NewTransactions(s.db)
	s.sync = s.newSync(syncapi.Options{
		DB: s.db, Rooms: s.rooms, Accounts: s.accounts, Transactions: transactions, Presence: s.cfg.Presence.Local, Log: s.log,
	})
	s.clients = clientapi.New(clientapi.Options{
		Accounts: s.accounts, Rooms: s.rooms, Sync: s.sync, Transactions: transactions, Epoch: s.db.Epoch(),
		Directory: clientapi.Directory{
			Closed: s.cfg.PublicRooms.Publish == "admins", Frozen: s.cfg.PublicRooms.Publish == "nobody",
			DefaultListed: s.cfg.PublicRooms.DefaultPublished, Anonymous: s.cfg.PublicRooms.Anonymous,
		},
		Secret: s.db.Secret(), BaseURL: s.cfg.WellKnown.Client, WellKnown: wellKnown(s.cfg.WellKnown),
	})
	s.admin = adminapi.New(adminapi.Options{Accounts: s.accounts, SharedSecret: s.cfg.Registration.SharedSecret.Reveal()})
}

func wellKnown(cfg config.WellKnown) clientapi.WellKnown {
	w := clientapi.WellKnown{Client: cfg.Client, Server: cfg.Server, Support: clientapi.Support{Page: cfg.Support.Page}}
	for _, c := range cfg.Support.Contacts {
		w.Support.Contacts = append(w.Support.Contacts, clientapi.Contact{Role: c.Role, Email: c.Email, MatrixID: c.MatrixID})
	}
	return w
}

func decodePublicKey(text string) (ed25519.PublicKey, error) {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errors.New("the key is not a public Ed25519 key in unpadded base64")
	}
	return raw, nil
}
