package keys

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"entente/internal/fault"
	"entente/roomserver/event"
	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"
)

const (
	maxQueryServers = 100
	maxQueryFetches = 8
)

// Criteria say how fresh a key must be that a notary is asked for.
type Criteria struct {
	// MinimumValidUntil is in milliseconds since 1970; now when zero.
	MinimumValidUntil int64 `json:"minimum_valid_until_ts"`
}

// Query asks a notary for keys, by server and key ID. No key IDs means all
// keys.
//
// Spec: server-server-api/#post_matrixkeyv2query
type Query struct {
	Servers map[string]map[id.KeyID]Criteria `json:"server_keys"`
	// MinimumValidUntil counts for servers without key IDs, as in the GET
	// form of the query.
	MinimumValidUntil int64 `json:"-"`
}

// Answer is a notary's answer: key documents signed by their server and by
// us.
type Answer struct {
	ServerKeys []json.RawMessage `json:"server_keys"`
}

// Notarize answers a query from what is known, asking the servers where that
// is not fresh enough. A server that does not answer is answered for with its
// last document, or left out.
//
// Spec: server-server-api/#querying-keys-through-another-server
func (r *Ring) Notarize(ctx context.Context, q Query) (Answer, error) {
	if len(q.Servers) > maxQueryServers {
		return Answer{}, fault.New(fault.TooLarge, "at most %d servers may be asked for at once", maxQueryServers)
	}
	servers := slices.Sorted(maps.Keys(q.Servers))
	answers := make([][]json.RawMessage, len(servers))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxQueryFetches)
	for i, server := range servers {
		if !event.ValidServerName(server) {
			return Answer{}, fault.New(fault.InvalidParam, "%q is not a server name", server)
		}
		group.Go(func() (err error) {
			answers[i], err = r.notarizeServer(groupCtx, server, q.Servers[server], q.MinimumValidUntil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Answer{}, err
	}
	out := Answer{ServerKeys: []json.RawMessage{}}
	for _, documents := range answers {
		out.ServerKeys = append(out.ServerKeys, documents...)
	}
	return out, nil
}

func (r *Ring) notarizeServer(ctx context.Context, server string, wanted map[id.KeyID]Criteria, atLeast int64) ([]json.RawMessage, error) {
	if r.own.Is(server) {
		doc, err := r.own.Document()
		return []json.RawMessage{doc}, err
	}
	e, err := r.load(ctx, server)
	if err != nil {
		return nil, err
	}
	if !r.fresh(e, wanted, atLeast) {
		if e, err = r.fetch(ctx, server); err != nil {
			return nil, err
		}
	}
	var out []json.RawMessage
	seen := map[string]bool{}
	for _, keyID := range slices.Sorted(maps.Keys(e.keys)) {
		key := e.keys[keyID]
		if _, ok := wanted[keyID]; !ok && len(wanted) > 0 || len(key.Document) == 0 || seen[string(key.Document)] {
			continue
		}
		seen[string(key.Document)] = true
		signed, err := event.SignJSON(key.Document, r.own.Signer())
		if err != nil {
			return nil, err
		}
		out = append(out, signed)
	}
	return out, nil
}

// fresh reports whether what is known of a server satisfies the query. An
// expired key cannot become any fresher.
func (r *Ring) fresh(e entry, wanted map[id.KeyID]Criteria, atLeast int64) bool {
	now := r.now().UnixMilli()
	if len(wanted) > 0 {
		for keyID, c := range wanted {
			key, ok := e.keys[keyID]
			if !ok || key.Expired == 0 && key.ValidUntil < orNow(c.MinimumValidUntil, now) {
				return false
			}
		}
		return true
	}
	for _, key := range e.keys {
		if key.Expired == 0 && key.ValidUntil >= orNow(atLeast, now) {
			return true
		}
	}
	return false
}

func orNow(at, now int64) int64 {
	if at == 0 {
		return now
	}
	return at
}

// askNotary gets server's keys from a notary, which must have signed them as
// well as the server.
func (r *Ring) askNotary(ctx context.Context, notary, server string) ([]Key, error) {
	now := r.now()
	release, err := r.slot(ctx)
	if err != nil {
		return nil, err
	}
	documents, err := r.query(ctx, notary, server, now.UnixMilli())
	release()
	if err != nil {
		return nil, err
	}
	var out []Key
	for _, raw := range documents {
		keys, parseErr := ParseDocument(raw, server, now)
		if parseErr == nil {
			parseErr = r.VerifyJSON(ctx, notary, raw, now)
		}
		if parseErr != nil {
			err = parseErr
			continue
		}
		out = append(out, keys...)
	}
	if len(out) == 0 {
		return nil, fault.Wrap(err, fault.Unreachable, "the notary %s has no keys of %s", notary, server)
	}
	return out, nil
}
