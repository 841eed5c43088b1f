package keys

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"
)

// policyServerKey signs events beside their server, and is published in the
// room, not by the server.
// Spec: server-server-api/#validating-policy-server-signatures
const policyServerKey id.KeyID = "ed25519:policy_server"

// VerifyPDUs checks that every server that must have signed an event did so,
// and answers one error for each event, nil for a good one: of kind
// fault.Forbidden when a signature is missing or wrong, of kind
// fault.Unreachable when that could not be found out. Keys of different
// servers are fetched side by side, and signatures verified on all processors.
//
// Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
func (r *Ring) VerifyPDUs(ctx context.Context, pdus []*event.PDU) []error {
	errs := make([]error, len(pdus))
	if len(pdus) == 1 {
		errs[0] = r.VerifyPDU(ctx, pdus[0])
		return errs
	}
	r.prefetch(ctx, pdus)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(pdus)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(pdus); i = int(next.Add(1)) - 1 {
				errs[i] = r.VerifyPDU(ctx, pdus[i])
			}
		})
	}
	workers.Wait()
	return errs
}

// prefetch gets the missing keys, so that the workers do not wait one after
// another. What fails here fails again where it is needed.
func (r *Ring) prefetch(ctx context.Context, pdus []*event.PDU) {
	latest := map[want]int64{}
	for _, p := range pdus {
		for _, server := range p.SigningServers() {
			for sig := range p.Signatures() {
				if sig.Server == server && usable(sig) {
					w := want{server: server, id: sig.KeyID, use: useOf(p)}
					latest[w] = max(latest[w], p.Timestamp())
				}
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(cap(r.fetches))
	for w, at := range latest {
		w.at = at
		if e, ok := r.known(w.server); ok {
			if key, ok := e.keys[w.id]; ok && key.good(at, w.use) {
				continue
			}
		}
		group.Go(func() error {
			_, err := r.lookup(ctx, w)
			return err
		})
	}
	_ = group.Wait()
}

// VerifyPDU is VerifyPDUs for one event, on the caller's goroutine.
func (r *Ring) VerifyPDU(ctx context.Context, p *event.PDU) error {
	signed := p.SignedBytes()
	for _, server := range p.SigningServers() {
		if err := r.verifyServer(ctx, p, signed, server); err != nil {
			return err
		}
	}
	return nil
}

// verifyServer checks server's signatures on the event: those by unknown or
// expired keys are skipped, all others must be right, and one must be left.
func (r *Ring) verifyServer(ctx context.Context, p *event.PDU, signed []byte, server string) error {
	var failure error
	good := false
	for sig := range p.Signatures() {
		if sig.Server != server || !usable(sig) {
			continue
		}
		key, err := r.lookup(ctx, want{server: server, id: sig.KeyID, at: p.Timestamp(), use: useOf(p)})
		if err != nil {
			failure = err
			continue
		}
		if !sig.Verify(signed, key) {
			return fault.New(fault.Forbidden, "event %s has a wrong signature of %s by %s", p.ID(), server, sig.KeyID)
		}
		good = true
	}
	if good {
		return nil
	}
	return unsigned(failure, "event "+string(p.ID()), server)
}

// VerifyJSON checks that server signed obj, a JSON object of the time at, like
// VerifyPDUs does for an event.
//
// Spec: appendices/#checking-for-a-signature
func (r *Ring) VerifyJSON(ctx context.Context, server string, obj []byte, at time.Time) error {
	var signed struct {
		Signatures map[string]map[id.KeyID]json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(obj, &signed); err != nil {
		return fault.Wrap(err, fault.BadJSON, "the signed object is malformed")
	}
	var failure error
	good := false
	for keyID := range signed.Signatures[server] {
		if !usable(event.Signature{Server: server, KeyID: keyID}) {
			continue
		}
		key, err := r.lookup(ctx, want{server: server, id: keyID, at: at.UnixMilli(), use: forEvent})
		if err != nil {
			failure = err
			continue
		}
		if err := event.VerifyJSON(obj, server, keyID, key); err != nil {
			return fault.Wrap(err, fault.Forbidden, "the object has a wrong signature of %s by %s", server, keyID)
		}
		good = true
	}
	if good {
		return nil
	}
	return unsigned(failure, "the object", server)
}

// unsigned is the error for something without a signature that counts.
func unsigned(failure error, what, server string) error {
	if kind := fault.KindOf(failure); failure != nil && kind != fault.Forbidden {
		return fault.Wrap(failure, kind, "%s: the signature of %s could not be checked", what, server)
	}
	return fault.Wrap(failure, fault.Forbidden, "%s has no valid signature of %s", what, server)
}

func usable(sig event.Signature) bool { return validKeyID(sig.KeyID) && sig.KeyID != policyServerKey }

func useOf(p *event.PDU) use {
	if p.Rules().StrictKeyValidity {
		return forEvent
	}
	return forLenientEvent
}
