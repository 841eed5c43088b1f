package accounts

import (
	"sync"
	"sync/atomic"
)

// maxRules bounds the push rules that are kept in memory, by user.
const maxRules = 10_000

// ruleCache keeps push rules by the number of their user until the log says
// that something about the user changed.
type ruleCache struct {
	// changes counts what forget was told: a reading from before a change
	// must not be kept after it.
	changes atomic.Uint64

	mu     sync.RWMutex
	byUser map[int64]*PushRules // guarded by mu
}

func newRuleCache() *ruleCache { return &ruleCache{byUser: map[int64]*PushRules{}} }

func (c *ruleCache) get(user int64) *PushRules {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byUser[user]
}

// put keeps rules that were read when changes stood at before.
func (c *ruleCache) put(user int64, rules *PushRules, before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.Load() != before {
		return
	}
	if len(c.byUser) >= maxRules {
		for other := range c.byUser { // any one: the next reader reads it again
			delete(c.byUser, other)
			break
		}
	}
	c.byUser[user] = rules
}

func (c *ruleCache) forget(user int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	delete(c.byUser, user)
}
