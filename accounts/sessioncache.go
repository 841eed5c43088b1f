package accounts

import (
	"sync"
	"sync/atomic"

	"entente/storage"
)

// maxSessions bounds the sessions that are kept in memory.
const maxSessions = 100_000

// live is a session in use on this node.
type live struct {
	hash    [32]byte
	session *storage.Session
	seen    atomic.Int64 // last use that was noted, in milliseconds
}

// sessionCache keeps sessions by the hash of their access token until the log
// says that something about their user's sessions changed.
type sessionCache struct {
	// changes counts what forget was told: a reading from before a change
	// must not be kept after it.
	changes atomic.Uint64

	mu      sync.RWMutex
	byHash  map[[32]byte]*live // guarded by mu
	byOwner map[int64][]*live  // by number of the user; guarded by mu
}

func newSessionCache() *sessionCache {
	return &sessionCache{byHash: map[[32]byte]*live{}, byOwner: map[int64][]*live{}}
}

func (c *sessionCache) get(hash [32]byte) *live {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byHash[hash]
}

// put keeps a session that was read when changes stood at before.
func (c *sessionCache) put(l *live, before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.Load() != before || c.byHash[l.hash] != nil {
		return
	}
	if len(c.byHash) >= maxSessions {
		for owner := range c.byOwner { // any one: the next request reads it again
			c.dropLocked(owner)
			break
		}
	}
	c.byHash[l.hash] = l
	owner := l.session.Subject.ID
	c.byOwner[owner] = append(c.byOwner[owner], l)
}

// forget drops a user's sessions.
func (c *sessionCache) forget(owner int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	c.dropLocked(owner)
}

func (c *sessionCache) dropLocked(owner int64) {
	for _, l := range c.byOwner[owner] {
		delete(c.byHash, l.hash)
	}
	delete(c.byOwner, owner)
}
