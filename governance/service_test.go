package governance_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entente/governance"
	"entente/governance/audit"
	"entente/storage"
	"entente/storage/storagetest"
)

// running is a Service that runs.
type running struct {
	*governance.Service
	stop func()
}

func run(t *testing.T, o governance.Options, listeners ...func(*governance.Policy)) *running {
	t.Helper()
	o.Settings.ServerName = ours
	if o.Settings.Mode == "" {
		o.Settings.Mode = governance.ModeListed
	}
	s, err := governance.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, fn := range listeners {
		s.OnChange(fn)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return &running{s, stop}
}

// A change that a command makes in another process reaches the running server
// without a restart: when Wait returns, listeners have stopped what was under
// way, and nothing is permitted any more.
func TestChangeFromAnotherProcess(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, beside, ctx := storagetest.Open(t, o), storagetest.Open(t, o), t.Context()
		g := governance.NewAgreements(beside, ours, nil)
		var stopped atomic.Int64
		s := run(t, governance.Options{DB: db}, func(p *governance.Policy) { stopped.Store(p.Version()) })
		if err := s.Allow(theirs); ruleOf(t, err) != governance.RuleNotListed {
			t.Errorf("before: %v", err)
		}
		change := func(version int64, err error) {
			t.Helper()
			if err == nil {
				err = g.Wait(ctx, version, func([]storage.Node) {})
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Version() < version || stopped.Load() < version {
				t.Errorf("version %d is confirmed, and the node has %d, its listeners %d", version, s.Version(), stopped.Load())
			}
		}
		change(g.Add(ctx, "os:kim", governance.NewAgreement(theirs), false))
		if err := s.Allow(theirs); err != nil {
			t.Errorf("agreed: %v", err)
		}
		change(g.Suspend(ctx, "os:kim", theirs, ""))
		if err := s.Accept(theirs); ruleOf(t, err) != governance.RuleSuspended {
			t.Errorf("suspended: %v", err)
		}
		s.stop()
		nodes, err := db.Latest().Nodes(ctx)
		if err != nil || len(nodes) != 0 {
			t.Errorf("after the end, nodes are %v, error %v", nodes, err)
		}
		if err := s.Allow(ours); err != nil {
			t.Errorf("ourselves: %v", err)
		}
		if err := s.Allow("listed.example"); ruleOf(t, err) != governance.RuleStale {
			t.Errorf("after the end: %v", err)
		}
	})
}

// What was decided under an older policy does not commit, and Refresh brings
// the next one.
func TestRefreshAfterALostCommit(t *testing.T) {
	o := storagetest.SQLite(t)
	db, beside, ctx := storagetest.Open(t, o), storagetest.Open(t, o), t.Context()
	s := run(t, governance.Options{DB: db})
	version, err := newAgreements(beside).Add(ctx, "os:kim", governance.NewAgreement(theirs), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Commit(ctx, storage.Commit{Positions: 1, Expect: []storage.Precondition{storage.PolicyVersion(version - 1)}}); err == nil {
		t.Error("a decision under an older policy commits")
	}
	if err := s.Refresh(ctx); err != nil || s.Version() != version {
		t.Errorf("version %d, error %v", s.Version(), err)
	}
	if _, err := db.Commit(ctx, storage.Commit{Positions: 1, Expect: []storage.Precondition{storage.PolicyVersion(s.Version())}}); err != nil {
		t.Error(err)
	}
}

// An agreement ends by itself, to the moment, and listeners are told.
func TestExpiryTakesEffectByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := storage.Open(t.Context(), storagetest.SQLite(t))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		start := time.Now()
		_, err = governance.NewAgreements(db, ours, nil).Add(t.Context(), "os:kim", with(theirs, func(a *governance.Agreement) {
			a.ValidFrom, a.ValidUntil = start.Add(7*time.Second), start.Add(19*time.Second)
		}), false)
		if err != nil {
			t.Fatal(err)
		}
		told := make(chan time.Time, 10)
		s := run(t, governance.Options{DB: db}, func(*governance.Policy) { told <- time.Now() })
		defer s.stop()
		if rule := ruleOf(t, s.Allow(theirs)); rule != governance.RuleNotYetValid {
			t.Errorf("at first: %q", rule)
		}
		for _, bound := range []struct {
			after time.Duration
			rule  string
		}{{7 * time.Second, ""}, {19 * time.Second, governance.RuleExpired}} {
			if at := <-told; at.Sub(start) != bound.after {
				t.Errorf("told after %s, want %s", at.Sub(start), bound.after)
			}
			if rule := ruleOf(t, s.Allow(theirs)); rule != bound.rule {
				t.Errorf("after %s: %q, want %q", bound.after, rule, bound.rule)
			}
		}
	})
}

// A node that cannot make sure of its policy lets nothing pass, and says that
// it is no fault of the caller's.
func TestStaleNode(t *testing.T) {
	db := storagetest.Open(t, storagetest.SQLite(t))
	now := noon()
	s, err := governance.Open(t.Context(), governance.Options{
		DB: db, Settings: governance.Settings{ServerName: ours, Mode: governance.ModeOpen}, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, ""}, {11 * time.Second, ""}, {12 * time.Second, governance.RuleStale}, {time.Hour, governance.RuleStale}} {
		now = noon().Add(c.after)
		if rule := ruleOf(t, s.Allow(theirs)); rule != c.want {
			t.Errorf("%s after it made sure: %q, want %q", c.after, rule, c.want)
		}
		if rule := ruleOf(t, s.Accept(theirs)); rule != c.want {
			t.Errorf("%s after it made sure: %q, want %q", c.after, rule, c.want)
		}
	}
}

// Every refusal is in the audit log, with its rule, whom it concerns and what
// it was about; permissions are not.
func TestRefusalsAreAudited(t *testing.T) {
	db := storagetest.Open(t, storagetest.SQLite(t))
	auditor := audit.New(audit.Options{DB: db})
	_, err := newAgreements(db).Add(t.Context(), "os:kim", with(theirs, func(a *governance.Agreement) {
		a.EDUs, a.RoomVersions, a.Outbound.By = governance.Patterns{}, governance.Patterns{"11"}, governance.Patterns{}
	}), false)
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, governance.Options{DB: db, Audit: auditor})
	permitted := newEvent(t, "@a:dhs.example", "m.room.message", nil, object{})
	stranger := newEvent(t, "@eve:evil.example", "m.room.message", nil, object{"body": "secret"})
	joins := newEvent(t, "@eve:evil.example", "m.room.member", state("@eve:evil.example"), object{"membership": "join"})
	for _, err := range []error{s.Send(permitted, ""), s.Receive(theirs, newEvent(t, "@b:dla.example", "m.room.message", nil, object{})), s.Room("11", theirs)} {
		if err != nil {
			t.Error(err)
		}
	}
	refused := map[string]error{
		"policy request to evil.example federation.not_listed":       s.Allow("evil.example"),
		"policy request from worse.example federation.not_listed":    s.Accept("worse.example"),
		"policy m.typing dla.example agreement.edu":                  s.EDU(theirs, "m.typing"),
		"policy room dla.example agreement.room_version":             s.Room("12", theirs),
		"membership invite dla.example agreement.invite_outbound":    s.Invite("@a:dhs.example", "@b:dla.example", "11"),
		"policy m.room.message bad.example federation.not_listed":    s.Receive(theirs, newEvent(t, "@x:bad.example", "m.room.message", nil, object{"body": "secret"})),
		"membership m.room.member foe.example federation.not_listed": s.Receive(theirs, newEvent(t, "@x:foe.example", "m.room.member", state("@x:foe.example"), object{"membership": "join"})),
	}
	for _, ev := range []error{s.Receive(theirs, stranger), s.Receive(theirs, joins)} { // repeats of a pair
		if ev == nil {
			t.Error("a stranger's event is permitted")
		}
	}
	// What is only withheld, again and again, is not in the log.
	if s.MaySend("quiet.example") == nil || s.MaySendEDU(theirs, "m.presence") == nil || s.MaySend(theirs) != nil {
		t.Error("what may be sent is decided otherwise than by Allow")
	}
	for what, err := range refused {
		if err == nil {
			t.Errorf("%s: permitted", what)
		}
	}
	if err := auditor.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	records := auditOf(t, db)[1:]
	for _, r := range records {
		delete(refused, string(r.Kind)+" "+r.What+" "+r.Server+" "+r.Rule)
		if r.Outcome != audit.Refused || r.Count < 1 {
			t.Errorf("a record of a refusal: %+v", r)
		}
	}
	if len(refused) != 0 || len(records) != 8 {
		t.Errorf("%d records, missing are %v", len(records), refused)
	}
	entries, err := db.Latest().Audit(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if contains(e.Body, "secret") {
			t.Errorf("the audit log has content of messages: %s", e.Body)
		}
	}
}

// Decisions go on, each by one whole policy, while the policy changes again
// and again.
func TestReloadUnderLoad(t *testing.T) {
	db := storagetest.Open(t, storagetest.SQLite(t))
	s := run(t, governance.Options{DB: db, Audit: audit.New(audit.Options{DB: db})})
	g := newAgreements(db)
	version, err := g.Add(t.Context(), "os:kim", governance.NewAgreement(theirs), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(t.Context(), version, func([]storage.Node) {}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var deciders sync.WaitGroup
	ev := newEvent(t, "@b:dla.example", "m.room.message", nil, object{})
	for range 4 {
		deciders.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if rule := ruleOf(t, s.Receive(theirs, ev)); rule != "" && rule != governance.RuleSuspended {
					t.Errorf("decided by %q", rule)
				}
				_ = s.Allow(theirs)
				s.Pinned(theirs)
				s.RootsFor(theirs)
			}
		})
	}
	for i := range 20 {
		change := g.Suspend
		if i%2 == 1 {
			change = g.Resume
		}
		if version, err = change(t.Context(), "os:kim", theirs, ""); err == nil {
			err = g.Wait(t.Context(), version, func([]storage.Node) {})
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{governance.RuleSuspended, ""}[i%2]; ruleOf(t, s.Allow(theirs)) != want {
			t.Errorf("change %d is confirmed and not in effect", i)
		}
	}
	close(done)
	deciders.Wait()
}
