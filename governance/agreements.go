package governance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"entente/governance/audit"
	"entente/internal/fault"
	"entente/storage"
)

// Agreements reads and changes the agreements of a server, from within it or
// from a command beside it.
type Agreements struct {
	db     *storage.DB
	server string
	now    func() time.Time
}

// NewAgreements makes Agreements of the server of that name; now is the clock,
// time.Now when nil.
func NewAgreements(db *storage.DB, server string, now func() time.Time) *Agreements {
	if now == nil {
		now = time.Now
	}
	return &Agreements{db: db, server: server, now: now}
}

// List reads all agreements, sorted by peer.
func (g *Agreements) List(ctx context.Context) ([]Agreement, error) {
	_, all, err := load(ctx, g.db)
	return all, err
}

// load reads the policy's version and its agreements at one moment.
func load(ctx context.Context, db *storage.DB) (version int64, all []Agreement, err error) {
	err = db.View(ctx, func(v *storage.View) error {
		if version, err = v.PolicyVersion(ctx); err != nil {
			return err
		}
		rows, err := v.Agreements(ctx)
		if err != nil {
			return err
		}
		all = make([]Agreement, len(rows))
		for i := range rows {
			if all[i], err = loadAgreement(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("read the agreements: %w", err)
	}
	return version, all, nil
}

// Load reads the policy that is the latest in the database.
func Load(ctx context.Context, db *storage.DB, s Settings) (*Policy, error) {
	version, all, err := load(ctx, db)
	if err != nil {
		return nil, err
	}
	return NewPolicy(s, version, all)
}

// Get reads the agreement with a peer. It is NotFound when there is none.
func (g *Agreements) Get(ctx context.Context, peer string) (*Agreement, error) {
	all, err := g.List(ctx)
	if err != nil {
		return nil, err
	}
	return find(all, peer)
}

func find(all []Agreement, peer string) (*Agreement, error) {
	name := canonicalName(peer)
	for i := range all {
		if all[i].Peer == name {
			return &all[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no agreement with %s", name)
}

// Add makes an agreement. With replace it takes the place of one with the same
// peer; without, that is a Conflict. All changes say in whose name they are
// made, and answer the version of the policy with which they hold: see Wait.
func (g *Agreements) Add(ctx context.Context, by string, a Agreement, replace bool) (version int64, err error) {
	a.Peer = canonicalName(a.Peer)
	if err := a.check(g.server); err != nil {
		return 0, err
	}
	return g.change(ctx, func(all []Agreement) ([]storage.Row, audit.Record, error) {
		what, before := "add", (*Agreement)(nil)
		if old, err := find(all, a.Peer); err == nil {
			if !replace {
				return nil, audit.Record{}, fault.New(fault.Conflict, "there is an agreement with %s already", a.Peer)
			}
			what, before = "replace", old
		}
		rows, err := g.row(by, a, before)
		return rows, audit.Record{Who: by, What: what, Server: a.Peer, Detail: a.summary()}, err
	})
}

// Suspend stops all traffic with a peer and keeps memberships. The reason is
// for the audit log.
func (g *Agreements) Suspend(ctx context.Context, by, peer, reason string) (version int64, err error) {
	return g.suspend(ctx, by, peer, reason, true)
}

// Resume lets traffic with a suspended peer go on.
func (g *Agreements) Resume(ctx context.Context, by, peer, reason string) (version int64, err error) {
	return g.suspend(ctx, by, peer, reason, false)
}

func (g *Agreements) suspend(ctx context.Context, by, peer, reason string, suspended bool) (int64, error) {
	what := "resume"
	if suspended {
		what = "suspend"
	}
	return g.change(ctx, func(all []Agreement) ([]storage.Row, audit.Record, error) {
		old, err := find(all, peer)
		if err != nil {
			return nil, audit.Record{}, err
		}
		a := *old
		a.Suspended = suspended
		rows, err := g.row(by, a, old)
		return rows, audit.Record{Who: by, What: what, Server: a.Peer, Detail: withReason(a.summary(), reason)}, err
	})
}

// Remove ends the agreement with a peer: from then on the mode alone decides
// about it.
func (g *Agreements) Remove(ctx context.Context, by, peer, reason string) (version int64, err error) {
	return g.change(ctx, func(all []Agreement) ([]storage.Row, audit.Record, error) {
		old, err := find(all, peer)
		if err != nil {
			return nil, audit.Record{}, err
		}
		record := audit.Record{Who: by, What: "remove", Server: old.Peer, Detail: withReason(old.summary(), reason)}
		return []storage.Row{&storage.NoAgreement{Peer: old.Peer}}, record, nil
	})
}

func (g *Agreements) row(by string, a Agreement, before *Agreement) ([]storage.Row, error) {
	a.Changed, a.ChangedBy = g.now(), by
	a.Created = a.Changed
	if before != nil {
		a.Created = before.Created
	}
	row, err := a.stored()
	return []storage.Row{row}, err
}

const changeAttempts = 10

// change commits what build makes of the agreements as they are, with the
// audit record, as the next version of the policy.
func (g *Agreements) change(ctx context.Context, build func(all []Agreement) ([]storage.Row, audit.Record, error)) (int64, error) {
	var err error
	for range changeAttempts {
		var version int64
		var all []Agreement
		if version, all, err = load(ctx, g.db); err != nil {
			return 0, err
		}
		rows, record, e := build(all)
		if e != nil {
			return 0, e
		}
		record.Kind, record.At = audit.Agreement, g.now()
		_, err = g.db.Commit(ctx, storage.Commit{
			Positions: 1,
			Expect:    []storage.Precondition{storage.PolicyVersion(version)},
			Write:     append(rows, &storage.PolicyBump{}),
			Touch:     []storage.Subject{{Kind: storage.Policy}},
			Audit:     []storage.AuditRecord{record.Stored()},
		})
		if err == nil {
			return version + 1, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			break
		}
	}
	return 0, fmt.Errorf("change the agreements: %w", err)
}

// summary is an agreement in the audit log.
func (a *Agreement) summary() map[string]string {
	d := map[string]string{
		"ours_invite": a.Outbound.By.String(), "theirs_invited": a.Outbound.Of.String(),
		"theirs_invite": a.Inbound.By.String(), "ours_invited": a.Inbound.Of.String(),
		"room_versions": a.RoomVersions.String(), "edus": a.EDUs.String(),
	}
	if a.Suspended {
		d["suspended"] = "true"
	}
	if !a.ValidFrom.IsZero() {
		d["valid_from"] = stamp(a.ValidFrom)
	}
	if !a.ValidUntil.IsZero() {
		d["valid_until"] = stamp(a.ValidUntil)
	}
	for _, keyID := range a.KeyIDs() {
		d["keys"] = strings.TrimPrefix(d["keys"]+","+string(keyID)+"="+encodeKey(a.Keys[keyID]), ",")
	}
	if a.CA != "" {
		d["ca"] = fingerprint(a.CA)
	}
	if a.Note != "" {
		d["note"] = a.Note
	}
	return d
}

func withReason(d map[string]string, reason string) map[string]string {
	if reason != "" {
		d["reason"] = reason
	}
	return d
}

// pollNodes is how often Wait looks again, and patience how long nodes may take
// before it is worth a word.
const (
	pollNodes = 100 * time.Millisecond
	patience  = time.Second
)

// Wait returns when no node lets anything pass under a policy older than
// version. If it takes a while, lagging is told which do, again whenever that changes;
// a node that shows no sign of life any more counts as stopped, since it stops
// by itself to let anything pass. When ctx ends first, the error names them.
func (g *Agreements) Wait(ctx context.Context, version int64, lagging func([]storage.Node)) error {
	t := time.NewTicker(pollNodes)
	defer t.Stop()
	watch, told, names, began := nodeWatch{}, "", "", time.Now()
	for {
		nodes, err := g.db.Latest().Nodes(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("read the nodes: %w", err)
		}
		if err == nil {
			late, gone := watch.late(nodes, version, g.now())
			if err := g.forget(ctx, gone); err != nil {
				return err
			}
			if len(late) == 0 {
				return nil
			}
			if names = nodeNames(late); names != told && time.Since(began) >= patience {
				told = names
				lagging(late)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("the change is made, but these nodes have not confirmed it: %s: %w", names, ctx.Err())
		}
	}
}

func nodeNames(nodes []storage.Node) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Host + " (" + n.ID + ")"
	}
	return strings.Join(names, ", ")
}

// nodeWatch notes when each node last gave a new sign of life.
type nodeWatch map[string]sighting

type sighting struct {
	seen int64     // as the node wrote it
	at   time.Time // when we first saw that
}

// goneAfter is how long a node may give no sign of life that we can see. What
// it wrote as the time of the last one does not count: clocks differ.
const goneAfter = 20 * time.Second

// late are the nodes that may still let something pass under a policy older
// than version, and gone those that stopped without a word.
func (w nodeWatch) late(nodes []storage.Node, version int64, now time.Time) (late, gone []storage.Node) {
	for _, n := range nodes {
		if n.Policy >= version {
			continue
		}
		s, known := w[n.ID]
		if !known || s.seen != n.Seen {
			s = sighting{n.Seen, now}
			w[n.ID] = s
		}
		if now.Sub(s.at) < goneAfter {
			late = append(late, n)
		} else {
			gone = append(gone, n)
		}
	}
	return late, gone
}

// forget takes the rows of nodes that are gone away, so that the next command
// need not wait for them. A node that comes back after all enters itself again.
func (g *Agreements) forget(ctx context.Context, gone []storage.Node) error {
	for _, n := range gone {
		if err := g.db.Stage(ctx, &storage.NoNode{ID: n.ID}); err != nil {
			return fmt.Errorf("forget node %s: %w", n.ID, err)
		}
	}
	return nil
}
