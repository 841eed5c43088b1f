package accounts

import (
	"sync"
	"sync/atomic"

	"maunium.net/go/mautrix/id"
)

// maxRules bounds how many users' push rules are kept in memory, some 15 KiB
// each.
const maxRules = 5_000

// ruleCache keeps push rules by their user until the log says that something
// about the user changed.
type ruleCache struct {
	// changes counts what forget was told: a reading from before a change
	// must not be kept after it.
	changes atomic.Uint64

	mu     sync.RWMutex
	byUser map[id.UserID]*PushRules // guarded by mu
	owners map[int64]id.UserID      // by number of the user; guarded by mu
}

func newRuleCache() *ruleCache {
	return &ruleCache{byUser: map[id.UserID]*PushRules{}, owners: map[int64]id.UserID{}}
}

func (c *ruleCache) get(user id.UserID) *PushRules {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byUser[user]
}

// put keeps rules that were read when changes stood at before.
func (c *ruleCache) put(user id.UserID, owner int64, rules *PushRules, before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.Load() != before {
		return
	}
	if len(c.byUser) >= maxRules {
		for other := range c.owners { // any one: the next reader reads it again
			c.dropLocked(other)
			break
		}
	}
	c.byUser[user], c.owners[owner] = rules, user
}

func (c *ruleCache) forget(owner int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	c.dropLocked(owner)
}

func (c *ruleCache) dropLocked(owner int64) {
	delete(c.byUser, c.owners[owner])
	delete(c.owners, owner)
}
