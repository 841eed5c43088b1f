// Package governance decides which servers and people may do what together.
// It decides, and four places ask it: transport (may this peer talk to us, and
// with which key), room (may this room have this server), event (every Matrix
// ID in it) and user (who may invite whom). Nothing else enforces policy.
//
// A Policy is one version of all that was configured and agreed: immutable,
// without clock, database or network, so that a decision on it is pure. A
// Service holds the version in force on this node, follows the database's log
// to the next one, and writes refusals to the audit log. Agreements are changed
// through Agreements, whose Wait returns when no node lets anything pass under
// the version before.
//
// What each mode, field and rule means is in docs/governance.md.
package governance

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"
)

// Mode is the switch of federation.
type Mode string

// The modes.
const (
	// ModeOpen: every server may talk to us; agreements restrict their peers.
	ModeOpen Mode = "open"
	// ModeListed: the servers of a list and the peers of agreements may.
	ModeListed Mode = "listed"
	// ModeClosed: no server may, whatever agreements say.
	ModeClosed Mode = "closed"
)

// Settings are what the configuration says.
type Settings struct {
	// ServerName is this server's name.
	ServerName string
	// Mode is the switch of federation.
	Mode Mode
	// Listed are server names for the mode listed; *.example.org stands for
	// all below a domain.
	Listed []string
}

// Policy is one version of what is permitted. Methods take the time of the
// decision; an error of theirs is a *Refusal.
type Policy struct {
	version int64
	own     string
	mode    Mode
	listed  map[string]struct{}
	below   []string // ".example.org"
	peers   map[string]*peer
	bounds  []time.Time // when agreements begin and end, sorted
}

// peer is an agreement ready to decide by.
type peer struct {
	Agreement
	roots *x509.CertPool // nil: no pin
}

// NewPolicy makes a policy. Agreements are of different peers.
func NewPolicy(s Settings, version int64, agreements []Agreement) (*Policy, error) {
	p := &Policy{
		version: version, own: s.ServerName, mode: s.Mode,
		listed: map[string]struct{}{}, peers: make(map[string]*peer, len(agreements)),
	}
	switch s.Mode {
	case ModeOpen, ModeListed, ModeClosed:
	default:
		return nil, fmt.Errorf("governance: there is no mode %q", s.Mode)
	}
	for _, name := range s.Listed {
		if domain, ok := strings.CutPrefix(name, "*"); ok {
			p.below = append(p.below, canonicalName(domain))
		} else {
			p.listed[canonicalName(name)] = struct{}{}
		}
	}
	for _, a := range agreements {
		terms := &peer{Agreement: a}
		if a.CA != "" {
			terms.roots = x509.NewCertPool()
			if !terms.roots.AppendCertsFromPEM([]byte(a.CA)) {
				return nil, fmt.Errorf("governance: the agreement with %s pins no certificate authority that can be read", a.Peer)
			}
		}
		p.peers[canonicalName(a.Peer)] = terms
		for _, bound := range []time.Time{a.ValidFrom, a.ValidUntil} {
			if !bound.IsZero() {
				p.bounds = append(p.bounds, bound)
			}
		}
	}
	slices.SortFunc(p.bounds, time.Time.Compare)
	return p, nil
}

// Version is the policy's version: what was permitted by it commits only while
// it is the latest.
func (p *Policy) Version() int64 { return p.version }

// Pinned are the only signing keys that count for a server; ok is false for a
// server without pins. A pin counts until it is taken away, whether the
// agreement is in force or not.
func (p *Policy) Pinned(server string) (keys map[id.KeyID]ed25519.PublicKey, ok bool) {
	terms := p.peers[canonicalName(server)]
	if terms == nil || len(terms.Keys) == 0 {
		return nil, false
	}
	return terms.Keys, true
}

// RootsFor are the authorities that must vouch for a server's certificate; nil
// for a server without such a pin.
func (p *Policy) RootsFor(server string) *x509.CertPool {
	if terms := p.peers[canonicalName(server)]; terms != nil {
		return terms.roots
	}
	return nil
}

// NextBound is the first time after at that an agreement begins or ends; zero
// when there is none.
func (p *Policy) NextBound(at time.Time) time.Time {
	for _, bound := range p.bounds {
		if bound.After(at) {
			return bound
		}
	}
	return time.Time{}
}

// Differs lists the peers whose agreements are not the same as in another
// policy, sorted.
func (p *Policy) Differs(other *Policy) []string {
	var out []string
	for name, terms := range p.peers {
		if o := other.peers[name]; o == nil || !same(&terms.Agreement, &o.Agreement) {
			out = append(out, name)
		}
	}
	for name := range other.peers {
		if p.peers[name] == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// same reports whether two agreements with a peer say the same.
func same(a, b *Agreement) bool {
	return a.Suspended == b.Suspended && a.ValidFrom.Equal(b.ValidFrom) && a.ValidUntil.Equal(b.ValidUntil) && a.CA == b.CA &&
		a.Outbound.same(b.Outbound) && a.Inbound.same(b.Inbound) &&
		slices.Equal(a.RoomVersions, b.RoomVersions) && slices.Equal(a.EDUs, b.EDUs) &&
		maps.EqualFunc(a.Keys, b.Keys, func(x, y ed25519.PublicKey) bool { return x.Equal(y) })
}

func (i Invitations) same(o Invitations) bool {
	return slices.Equal(i.By, o.By) && slices.Equal(i.Of, o.Of)
}
