package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"entente/accounts"
	"entente/adminapi"
	"entente/clientapi"
	"entente/clientapi/syncapi"
	"entente/cluster"
	"entente/config"
	"entente/federation/client"
	"entente/federation/inbound"
	"entente/federation/keys"
	"entente/federation/resolve"
	"entente/federation/sender"
	"entente/governance"
	"entente/governance/audit"
	"entente/internal/dial"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// server is one Entente: everything that serves one server name. Several may
// live in one process.
type server struct {
	cfg     *config.Config
	log     *slog.Logger
	metrics *prometheus.Registry

	db       *storage.DB
	cluster  *cluster.Cluster // nil for a single node
	auditor  *audit.Auditor
	exporter *audit.Exporter
	policy   *governance.Service
	own      *keys.Own
	peers    *client.Client
	ring     *keys.Ring
	rooms    *roomserver.Server
	accounts *accounts.Accounts
	sender   *sender.Sender
	inbound  *inbound.Server
	sync     *syncapi.Server
	clients  *clientapi.Server
	admin    *adminapi.Server

	listeners []*listener
	pending   sync.WaitGroup // work that outlives the request that caused it
}

// serverOptions are what a server is built from beside its configuration.
type serverOptions struct {
	Config *config.Config
	Key    config.SigningKey
	Log    *slog.Logger
}

// newServer opens the database, builds every component and binds the
// listeners. Nothing is served before run.
func newServer(ctx context.Context, o serverOptions) (_ *server, err error) {
	s := &server{cfg: o.Config, log: o.Log, metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err = s.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err = s.openGovernance(ctx); err != nil {
		return nil, err
	}
	if err = s.openFederation(o); err != nil {
		return nil, err
	}
	if err = s.openExporter(); err != nil {
		return nil, err
	}
	s.openRooms()
	s.openAPIs()
	return s, s.openListeners(ctx)
}

func (s *server) openDatabase(ctx context.Context) (err error) {
	o := storageOptions(s.cfg)
	o.Log, o.Metrics = s.log, s.metrics
	if s.db, err = storage.Open(ctx, o); err != nil {
		return err
	}
	if url := s.cfg.Cluster.NATS.Reveal(); url != "" {
		s.cluster, err = cluster.Join(url, s.cfg.ServerName, s.db, s.log)
	}
	return err
}

func (s *server) openGovernance(ctx context.Context) (err error) {
	s.auditor = audit.New(audit.Options{DB: s.db, Log: s.log})
	s.policy, err = governance.Open(ctx, governance.Options{DB: s.db, Audit: s.auditor, Log: s.log, Settings: governanceSettings(s.cfg)})
	return err
}

// openFederation builds what calls other servers.
func (s *server) openFederation(o serverOptions) error {
	own, err := newOwn(s.cfg, o.Key)
	if err != nil {
		return err
	}
	s.own = own
	roots, err := peerRoots(s.cfg)
	if err != nil {
		return err
	}
	dialer, err := newDialer(s.cfg)
	if err != nil {
		return err
	}
	overrides := map[string]resolve.Override{}
	for name, addr := range s.cfg.Federation.Static {
		overrides[name] = resolve.Override{Addr: addr}
	}
	resolver := resolve.New(resolve.Options{
		Transport: resolve.NewTransport(dialer.DialContext, roots), Overrides: overrides,
	})
	s.peers = client.New(client.Options{
		Signer: own.Signer, Resolver: resolver, Dial: dialer.DialContext, Roots: roots, RootsFor: s.policy.RootsFor, Allow: s.policy.Allow,
		UserAgent: "Entente/" + version(), Timeout: s.cfg.Federation.RequestTimeout.Std(), Metrics: s.metrics,
	})
	s.ring = keys.New(keys.Options{
		Own: own, Fetch: s.peers.ServerKeys, Query: s.peers.QueryKeys, Pinned: s.policy.Pinned, Notaries: s.cfg.Federation.Notaries,
		Store: keyStore{s.db}, Log: s.log,
	})
	return nil
}

// newOwn is this server with its present and past keys.
func newOwn(cfg *config.Config, key config.SigningKey) (*keys.Own, error) {
	all := []keys.OwnKey{{ID: id.KeyID(key.ID), Private: key.Private}}
	for _, old := range cfg.Signing.OldKeys {
		public, err := decodePublicKey(old.Key)
		if err != nil {
			return nil, fmt.Errorf("signing.old_keys: %s: %w", old.ID, err)
		}
		all = append(all, keys.OwnKey{ID: id.KeyID(old.ID), Public: public, Until: old.Expired})
	}
	return keys.NewOwn(keys.OwnOptions{Name: cfg.ServerName, Keys: all, Validity: cfg.Signing.Validity.Std()})
}

// peerRoots are the certificate authorities that peers are believed by; nil is
// the system's.
func peerRoots(cfg *config.Config) (*x509.CertPool, error) {
	if len(cfg.Federation.CAFiles) == 0 && cfg.Federation.SystemRoots {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if cfg.Federation.SystemRoots {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
		}
	}
	for _, file := range cfg.Federation.CAFiles {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("federation.ca_files: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("federation.ca_files: %s holds no PEM certificate", file)
		}
	}
	return pool, nil
}

// newDialer guards connections that strangers can bring about.
func newDialer(cfg *config.Config) (*dial.Dialer, error) {
	o := dial.Options{
		AllowPrivate: cfg.Federation.AllowPrivateAddresses, Timeout: cfg.Federation.ConnectTimeout.Std(),
		Hint: "federation.allowed_ranges or federation.allow_private_addresses permits it",
	}
	for _, text := range cfg.Federation.AllowedRanges {
		prefix, err := config.ParseRange(text)
		if err != nil {
			return nil, fmt.Errorf("federation.allowed_ranges: %w", err)
		}
		o.Allow = append(o.Allow, prefix)
	}
	return dial.New(o), nil
}

// openRooms builds the room server and the accounts.
func (s *server) openRooms() {
	s.rooms = roomserver.New(roomserver.Options{
		DB: s.db, ServerName: s.cfg.ServerName, Sign: s.own.Signer, Peers: s.peers, Keys: s.ring, Log: s.log, Exists: s.invitable,
		Policy: &roomserver.Policy{
			Version: s.policy.Version, Refresh: s.policy.Refresh, Send: s.policy.Send, Receive: s.policy.Receive, Room: s.policy.Room, Invite: s.policy.Invite,
		},
	})
	s.accounts = newAccounts(s)
	s.sender = sender.New(sender.Options{
		DB: s.db, Send: s.peers.Send, Allow: s.policy.MaySend, AllowEDU: s.policy.MaySendEDU, Log: s.log, Metrics: s.metrics,
		LongestBackoff: s.cfg.Federation.LongestBackoff.Std(),
	})
	s.policy.OnChange(s.policyChanged(s.policy.Current()))
	s.inbound = inbound.New(inbound.Options{
		DB: s.db, Rooms: s.rooms, Keys: s.ring, Policy: &inbound.Policy{Accept: s.policy.Accept, EDU: s.policy.EDU}, EDUs: s.ephemeral(),
		Profile: s.localProfile, HideDirectory: !s.cfg.PublicRooms.Federation, Contacted: s.sender.Wake, Version: version(),
		StagedEvents: int64(s.cfg.Federation.Staging.Events), StagedBytes: int64(s.cfg.Federation.Staging.Bytes), Log: s.log, Metrics: s.metrics,
	})
}

// policyChanged stops what may go on no more, and forgets connections that
// were made under other terms.
func (s *server) policyChanged(applied *governance.Policy) func(*governance.Policy) {
	return func(p *governance.Policy) {
		for _, peer := range p.Differs(applied) {
			s.peers.Forget(peer)
		}
		applied = p
		s.sender.PolicyChanged()
	}
}

// run serves until ctx ends, then finishes what was acknowledged.
func (s *server) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range s.parts() {
		group.Go(func() error { return part(ctx) })
	}
	s.listeners = nil // they close themselves
	return errors.Join(group.Wait(), s.close())
}

// parts are what runs in the background, and the listeners.
func (s *server) parts() []func(context.Context) error {
	parts := []func(context.Context) error{s.policy.Run, s.auditor.Run, s.accounts.Run, s.sender.Run, s.inbound.Run, s.sync.Run}
	if s.exporter != nil {
		parts = append(parts, s.exporter.Run)
	}
	for _, l := range s.listeners {
		parts = append(parts, l.Run)
	}
	return parts
}

func (s *server) close() error {
	var err error
	for _, l := range s.listeners {
		err = errors.Join(err, l.close())
	}
	s.pending.Wait()
	if s.auditor != nil && s.db != nil {
		last, cancel := context.WithTimeout(context.Background(), auditTimeout)
		defer cancel()
		err = errors.Join(err, s.auditor.Flush(last))
	}
	if s.peers != nil {
		s.peers.Close()
	}
	if s.cluster != nil {
		s.cluster.Close()
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// ready reports whether the server can serve: its database answers.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := s.db.Latest().PolicyVersion(ctx)
	return err
}
