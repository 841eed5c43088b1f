// Package keys holds signing keys: our own, which it publishes, and those of
// our peers, which it fetches, keeps, and verifies requests, events and other
// objects with.
//
// Peers' keys come from the peers themselves; a notary is asked only when
// configuration names one. Keys that an agreement pins are the only ones that
// count for their server, and are never fetched.
//
// Spec: server-server-api/#retrieving-server-keys,
// server-server-api/#request-authentication
package keys

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"slices"
	"sync"
	"time"

	"entente/internal/fault"
	"golang.org/x/sync/singleflight"
	"maunium.net/go/mautrix/id"
)

const (
	defaultFetches = 32
	defaultServers = 10_000
	// maxServerKeys bounds what is kept of one server that changes its keys
	// again and again.
	maxServerKeys = 256
	fetchTimeout  = 30 * time.Second
	// refetch is how long after a successful fetch a server is left alone,
	// whatever keys strangers claim it has; firstRetry and lastRetry are the
	// same for one that did not answer.
	refetch    = 10 * time.Second
	firstRetry = time.Second
	lastRetry  = 10 * time.Minute
)

// Store persists peers' keys.
type Store interface {
	// Load returns all keys known of server.
	Load(ctx context.Context, server string) ([]Key, error)
	// Save inserts or replaces keys by server and key ID.
	Save(ctx context.Context, keys []Key) error
}

// Options are what a Ring works with. Own and Fetch are needed.
type Options struct {
	// Own is this server.
	Own *Own
	// Fetch gets server's key document from the server itself.
	// Spec: server-server-api/#get_matrixkeyv2server
	Fetch func(ctx context.Context, server string) ([]byte, error)
	// Store keeps keys over restarts; nothing does when nil.
	Store Store
	// Pinned are the only keys that count for a server; ok is false for a
	// server without pins. A pin counts until it is taken away.
	Pinned func(server string) (keys map[id.KeyID]ed25519.PublicKey, ok bool)
	// Notaries are servers to ask for the keys of a server that does not
	// answer, in order; none by default.
	Notaries []string
	// Query gets documents of server's keys from a notary; needed with Notaries.
	// Spec: server-server-api/#get_matrixkeyv2queryservername
	Query func(ctx context.Context, notary, server string, minValidUntil int64) ([][]byte, error)
	// Log gets failures of the Store; nothing does when nil.
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// MaxFetches bounds concurrent fetches; 32 when zero.
	MaxFetches int
	// MaxServers bounds the servers whose keys are in memory; 10,000 when zero.
	MaxServers int
}

// Ring verifies what peers signed. It is safe for concurrent use.
type Ring struct {
	own      *Own
	fetchDoc func(ctx context.Context, server string) ([]byte, error)
	store    Store
	pinned   func(server string) (map[id.KeyID]ed25519.PublicKey, bool)
	notaries []string
	query    func(ctx context.Context, notary, server string, minValidUntil int64) ([][]byte, error)
	log      *slog.Logger
	now      func() time.Time
	max      int

	fetches chan struct{} // a slot for each running fetch
	flight  singleflight.Group

	mu      sync.RWMutex
	servers map[string]entry // guarded by mu
}

// entry is what is known of a server. Its maps do not change once published.
type entry struct {
	keys     map[id.KeyID]Key
	tryAfter time.Time // no fetch before this
	failures int       // of fetches, in a row
	failure  error     // of the last fetch
}

// New makes a Ring.
func New(o Options) *Ring {
	r := &Ring{
		own: o.Own, fetchDoc: o.Fetch, store: o.Store, pinned: o.Pinned, notaries: o.Notaries, query: o.Query,
		log: o.Log, now: o.Now, max: o.MaxServers, servers: map[string]entry{},
	}
	if r.pinned == nil {
		r.pinned = func(string) (map[id.KeyID]ed25519.PublicKey, bool) { return nil, false }
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.max == 0 {
		r.max = defaultServers
	}
	if o.MaxFetches == 0 {
		o.MaxFetches = defaultFetches
	}
	r.fetches = make(chan struct{}, o.MaxFetches)
	return r
}

// Own is this server.
func (r *Ring) Own() *Own { return r.own }

// want is a key that something claims to be signed with.
type want struct {
	server string
	id     id.KeyID
	at     int64 // milliseconds since 1970
	use    use
}

// lookup finds a key that counts for w: in memory, in the store, or at the
// server. An error of kind fault.Unreachable means that nobody could be
// asked, of kind fault.Forbidden that there is no such key.
func (r *Ring) lookup(ctx context.Context, w want) (ed25519.PublicKey, error) {
	if r.own.Is(w.server) {
		if key, ok := r.own.lookup(w.id); ok && key.good(w.at, w.use) {
			return key.Public, nil
		}
		return nil, fault.New(fault.Forbidden, "%s is no key of this server that is valid for this", w.id)
	}
	if pins, ok := r.pinned(w.server); ok {
		if key, ok := pins[w.id]; ok {
			return key, nil
		}
		return nil, fault.New(fault.Forbidden, "key %s of %s is not among those that its agreement pins", w.id, w.server)
	}
	e, err := r.load(ctx, w.server)
	if err != nil {
		return nil, err
	}
	key, known := e.keys[w.id]
	if known && key.good(w.at, w.use) {
		return key.Public, nil
	}
	if known && key.Expired != 0 || w.at > r.now().Add(maxTrust).UnixMilli() && w.use != forLenientEvent {
		return nil, fault.New(fault.Forbidden, "key %s of %s is not valid at the time of what it signed", w.id, w.server)
	}
	if e, err = r.fetch(ctx, w.server); err != nil {
		return nil, err
	}
	if key, known = e.keys[w.id]; known && key.good(w.at, w.use) {
		return key.Public, nil
	}
	if e.failure != nil {
		return nil, e.failure
	}
	return nil, fault.New(fault.Forbidden, "%s has no key %s that is valid for this", w.server, w.id)
}

func (r *Ring) known(server string) (entry, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.servers[server]
	return e, ok
}

// load is what is known of server without asking it.
func (r *Ring) load(ctx context.Context, server string) (entry, error) {
	if e, ok := r.known(server); ok {
		return e, nil
	}
	return r.share(ctx, "load "+server, func(ctx context.Context) (entry, error) {
		if e, ok := r.known(server); ok {
			return e, nil
		}
		e := entry{keys: map[id.KeyID]Key{}}
		if r.store != nil {
			rows, err := r.store.Load(ctx, server)
			if err != nil {
				return entry{}, fault.Wrap(err, fault.Unavailable, "the keys of %s could not be read", server)
			}
			for i := range rows {
				e.keys[rows[i].ID] = rows[i]
			}
		}
		r.publish(server, e)
		return e, nil
	})
}

// fetch asks server for its keys, unless it was asked lately.
func (r *Ring) fetch(ctx context.Context, server string) (entry, error) {
	return r.share(ctx, "fetch "+server, func(ctx context.Context) (entry, error) {
		e, err := r.load(ctx, server)
		if err != nil || r.now().Before(e.tryAfter) {
			return e, err
		}
		fresh, err := r.ask(ctx, server)
		now := r.now()
		if err != nil {
			e.failure = fault.Wrap(err, fault.Unreachable, "the keys of %s could not be fetched", server)
			e.failures++
			e.tryAfter = now.Add(retryAfter(e.failures))
		} else {
			e = entry{keys: merge(e.keys, fresh), tryAfter: now.Add(refetch)}
		}
		r.publish(server, e)
		r.save(ctx, fresh)
		return e, nil
	})
}

// ask gets server's current keys from the server, or else from a notary.
func (r *Ring) ask(ctx context.Context, server string) ([]Key, error) {
	release, err := r.slot(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := r.fetchDoc(ctx, server)
	release()
	if err == nil {
		var keys []Key
		if keys, err = ParseDocument(raw, server, r.now()); err == nil {
			return keys, nil
		}
	}
	if slices.Contains(r.notaries, server) {
		return nil, err // a notary vouches for others, not others for it
	}
	for _, notary := range r.notaries {
		if keys, notaryErr := r.askNotary(ctx, notary, server); notaryErr == nil {
			return keys, nil
		}
	}
	return nil, err
}

// slot waits for one of the running fetches to end.
func (r *Ring) slot(ctx context.Context) (release func(), err error) {
	select {
	case r.fetches <- struct{}{}:
		return func() { <-r.fetches }, nil
	case <-ctx.Done():
		return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "too many key fetches are going on")
	}
}

func (r *Ring) save(ctx context.Context, fresh []Key) {
	if r.store == nil || len(fresh) == 0 {
		return
	}
	// A key that could not be kept is fetched again after a restart.
	if err := r.store.Save(ctx, fresh); err != nil {
		r.log.Warn("save signing keys", "server", fresh[0].Server, "error", err)
	}
}

func (r *Ring) publish(server string, e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.servers[server]; !ok {
		for other := range r.servers {
			if len(r.servers) < r.max {
				break
			}
			delete(r.servers, other)
		}
	}
	r.servers[server] = e
}

// share runs work once for all who ask for the same at the same time, beyond
// the life of the first one's context.
func (r *Ring) share(ctx context.Context, what string, work func(context.Context) (entry, error)) (entry, error) {
	done := r.flight.DoChan(what, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return work(ctx)
	})
	select {
	case <-ctx.Done():
		return entry{}, fault.Wrap(ctx.Err(), fault.Unavailable, "gave up waiting for signing keys")
	case res := <-done:
		return res.Val.(entry), res.Err
	}
}

// merge adds fresh keys to old ones. A key that left the document is kept: it
// still verifies what it signed while it was current.
func merge(old map[id.KeyID]Key, fresh []Key) map[id.KeyID]Key {
	out := make(map[id.KeyID]Key, len(old)+len(fresh))
	for _, k := range fresh {
		out[k.ID] = k
	}
	for keyID, k := range old {
		if len(out) == maxServerKeys {
			break
		}
		if _, ok := out[keyID]; !ok {
			out[keyID] = k
		}
	}
	return out
}

func retryAfter(failures int) time.Duration {
	wait := firstRetry
	for ; failures > 1 && wait < lastRetry; failures-- {
		wait *= 2
	}
	return min(wait, lastRetry)
}
