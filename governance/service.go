package governance

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"entente/governance/audit"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	// beatEvery is how often a node shows a sign of life and makes sure that
	// its policy is the latest.
	beatEvery = 5 * time.Second
	// leaseTime is how long a node lets anything pass after it last made sure.
	// It is shorter than goneAfter: who takes a node for stopped is right.
	leaseTime = 12 * time.Second
	// nodeKept is how long the row of a node that ended without a word stays.
	nodeKept = time.Hour
	// retryEvery is the pause after a policy could not be read.
	retryEvery = time.Second
)

// Options are what a Service works with.
type Options struct {
	DB       *storage.DB
	Settings Settings
	// Audit gets refusals; nil keeps none.
	Audit *audit.Auditor
	Log   *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Service holds the policy in force on this node. Its decisions write their
// refusals to the audit log. It is safe for concurrent use.
type Service struct {
	db       *storage.DB
	settings Settings
	audit    *audit.Auditor
	log      *slog.Logger
	now      func() time.Time
	host     string
	started  time.Time

	current   atomic.Pointer[Policy]
	confirmed atomic.Pointer[time.Time] // when current was last known to be the latest
	changed   chan struct{}

	refreshing sync.Mutex // one refresh at a time
	mu         sync.Mutex
	listeners  []func(*Policy) // guarded by mu
}

// Open reads the policy, enters this node among the nodes of the server, and
// follows the log. From then on Run must run: a node that does not confirm its
// policy again and again lets nothing pass any more.
func Open(ctx context.Context, o Options) (*Service, error) {
	s := &Service{
		db: o.DB, settings: o.Settings, audit: o.Audit, log: o.Log, now: o.Now, changed: make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.started = s.now()
	var err error
	if s.host, err = os.Hostname(); err != nil {
		s.host = "unknown"
	}
	p, err := Load(ctx, o.DB, o.Settings)
	if err != nil {
		return nil, err
	}
	s.current.Store(p)
	o.DB.Follow(s.follow)
	return s, s.refresh(ctx)
}

// follow only takes note: reading here would hold up acknowledgements.
func (s *Service) follow(e *storage.LogEntry) {
	e.Touched(func(subject storage.Subject, _ storage.Position) {
		if subject.Kind == storage.Policy {
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	})
}

// OnChange has fn called with the policy whenever it was replaced, and when
// the time passed at which an agreement begins or ends. A change counts as
// applied on this node when fn has returned: what may go on no more, fn must
// have stopped by then. Calls come one at a time. Call OnChange before Run.
func (s *Service) OnChange(fn func(*Policy)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, fn)
}

// Current is the policy in force.
func (s *Service) Current() *Policy { return s.current.Load() }

// Version is the version of the policy in force, for storage.PolicyVersion. A
// commit that finds it outdated calls Refresh before it is built again.
func (s *Service) Version() int64 { return s.Current().version }

// Run keeps the policy up to date and this node among the nodes, until ctx
// ends.
func (s *Service) Run(ctx context.Context) error {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	checked := s.started // until then, listeners know which agreements are in force
	bound := time.NewTimer(s.untilBound(checked))
	defer bound.Stop()
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.leave(ctx)
		case <-bound.C:
		case <-beat.C:
		case <-s.changed:
		case <-retry.C:
		}
		now := s.now()
		if next := s.Current().NextBound(checked); !next.IsZero() && !next.After(now) {
			s.refreshing.Lock()
			s.announce(s.Current())
			s.refreshing.Unlock()
		}
		checked = now
		if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("the policy cannot be confirmed; trying again", "error", err)
			retry.Reset(retryEvery)
		}
		bound.Reset(s.untilBound(now))
	}
}

// untilBound is the time until an agreement begins or ends.
func (s *Service) untilBound(now time.Time) time.Duration {
	next := s.Current().NextBound(now)
	if next.IsZero() {
		return 24 * time.Hour
	}
	return next.Sub(now)
}

func (s *Service) leave(ctx context.Context) error {
	s.confirmed.Store(nil)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.db.Stage(last, &storage.NoNode{ID: s.db.Node()}); err != nil && !errors.Is(err, storage.ErrClosed) {
		return fmt.Errorf("leave the nodes: %w", err)
	}
	return nil
}

// Refresh makes sure that the policy is the latest, and returns when it is
// applied.
func (s *Service) Refresh(ctx context.Context) error {
	latest, err := s.db.Latest().PolicyVersion(ctx)
	if err != nil || latest == s.Version() {
		return err
	}
	return s.refresh(ctx)
}

// refresh applies the latest policy, and then says so in the node's row. The
// version is read once more after that: whoever changes it later finds the row,
// and waits for this node.
func (s *Service) refresh(ctx context.Context) error {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	for {
		began := s.now()
		latest, err := s.db.Latest().PolicyVersion(ctx)
		if err != nil {
			return err
		}
		if latest != s.Version() {
			p, err := Load(ctx, s.db, s.settings)
			if err != nil {
				return err
			}
			s.current.Store(p)
			s.log.Info("the policy changed", "version", p.version, "agreements", len(p.peers))
			s.announce(p)
		}
		applied := s.Version()
		node := &storage.Node{
			ID: s.db.Node(), Host: s.host, Policy: applied, Started: s.started.UnixMilli(), Seen: s.now().UnixMilli(),
		}
		old := &storage.NoNodesSince{Seen: s.now().Add(-nodeKept).UnixMilli()}
		if err := s.db.Stage(ctx, node, old); err != nil {
			return err
		}
		if latest, err = s.db.Latest().PolicyVersion(ctx); err != nil {
			return err
		}
		if latest == applied {
			s.confirmed.Store(&began)
			return nil
		}
	}
}

// announce is called with refreshing held.
func (s *Service) announce(p *Policy) {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, fn := range listeners {
		fn(p)
	}
}

// fresh refuses everything when this node could not make sure for long that
// its policy is the latest: others may take it for stopped by now. The wall
// clock counts beside the monotonic one, which may stand still with the machine.
func (s *Service) fresh(server string, now time.Time) *Refusal {
	if server == s.settings.ServerName {
		return nil
	}
	if at := s.confirmed.Load(); at != nil && max(now.Sub(*at), now.Round(0).Sub(at.Round(0))) < leaseTime {
		return nil
	}
	return refuse(RuleStale, server, "This server cannot make sure of its agreements at the moment")
}

// Allow decides whether anything may be sent to a server. It fits
// client.Options.
func (s *Service) Allow(server string) error { return s.transport(server, "request to") }

// Accept decides whether a request of a server is listened to. Its answer
// leaves this server, so that it is asked again before a long one.
func (s *Service) Accept(server string) error { return s.transport(server, "request from") }

func (s *Service) transport(server, what string) error {
	now := s.now()
	refusal := s.fresh(server, now)
	if refusal == nil {
		_, refusal = s.Current().inForce(server, now)
	}
	return s.refused(refusal, audit.Record{Kind: audit.Policy, What: what, Server: server})
}

// MaySend decides as Allow does, for whoever asks again and again whether what
// waits for a server may go: what is only withheld is no refusal for the audit
// log.
func (s *Service) MaySend(server string) error {
	now := s.now()
	if refusal := s.fresh(server, now); refusal != nil {
		return refusal
	}
	return s.Current().Peer(server, now)
}

// MaySendEDU decides whether ephemeral data of a type is sent to a server. What
// is left out is no refusal for the audit log.
func (s *Service) MaySendEDU(server, kind string) error {
	return s.Current().EDU(server, kind, s.now())
}

// Room decides whether a room of this version may have this server in it.
func (s *Service) Room(version event.Version, server string) error {
	refusal := s.Current().room(version, server, s.now())
	return s.refused(refusal, audit.Record{Kind: audit.Policy, What: "room", Server: server})
}

// Send decides about an event that a user of ours sends, or that is accepted
// for others. That servers in the room may not get it now is no reason to
// refuse it: transport withholds it from them.
func (s *Service) Send(ev *event.PDU, _ storage.Servers) error {
	return s.event(ev, s.settings.ServerName)
}

// Receive decides about an event from a peer, which may be another's than the
// peer's own.
func (s *Service) Receive(origin string, ev *event.PDU) error { return s.event(ev, origin) }

func (s *Service) event(ev *event.PDU, origin string) error {
	refusal := s.Current().event(ev, s.now())
	if refusal == nil {
		return nil
	}
	kind := audit.Policy
	if ev.Type() == typeMember {
		kind = audit.Membership
	}
	return s.refused(refusal, audit.Record{
		Kind: kind, What: ev.Type(), Who: string(ev.Sender()), Room: ev.RoomID(), Server: origin, Target: string(ev.ID()),
	})
}

// Invite decides whether one user may invite another into a room of this
// version.
func (s *Service) Invite(inviter, invitee id.UserID, version event.Version) error {
	refusal := s.Current().invite(inviter, invitee, version, s.now())
	return s.refused(refusal, audit.Record{Kind: audit.Membership, What: "invite", Who: string(inviter), Target: string(invitee)})
}

// EDU decides whether ephemeral data of a type is taken from a server.
func (s *Service) EDU(server, kind string) error {
	err := s.Current().EDU(server, kind, s.now())
	var refusal *Refusal
	errors.As(err, &refusal)
	return s.refused(refusal, audit.Record{Kind: audit.Policy, What: kind, Server: server})
}

// Pinned are the only signing keys that count for a server. It fits
// keys.Options.
func (s *Service) Pinned(server string) (pinned map[id.KeyID]ed25519.PublicKey, ok bool) {
	return s.Current().Pinned(server)
}

// RootsFor are the authorities that must vouch for a server's certificate; nil
// for a server without such a pin. It fits client.Options.
func (s *Service) RootsFor(server string) *x509.CertPool { return s.Current().RootsFor(server) }

// refused writes a refusal to the audit log, and makes it an error.
func (s *Service) refused(refusal *Refusal, r audit.Record) error {
	if refusal == nil {
		return nil
	}
	if s.audit != nil {
		r.Rule = refusal.Rule
		origin := r.Server
		if refusal.Peer != "" {
			r.Server = refusal.Peer
		}
		if refusal.Detail != "" {
			r.Detail = map[string]string{"detail": refusal.Detail}
			if origin != "" && r.Server != origin {
				r.Detail["origin"] = origin
			}
		}
		s.audit.Refused(r)
	}
	return refusal
}
