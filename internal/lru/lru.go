// Package lru holds a cache that is bounded by the cost of what it keeps.
package lru

import (
	"container/list"
	"sync"
)

// Cache keeps the values used last, up to a total cost. It is safe for
// concurrent use.
type Cache[K comparable, V any] struct {
	cost   func(V) int
	budget int

	mu    sync.Mutex
	items map[K]*list.Element // guarded by mu
	order *list.List          // of item[K, V], the latest used first; guarded by mu
	spent int                 // guarded by mu
}

type item[K comparable, V any] struct {
	key   K
	value V
	cost  int
}

// New makes a cache that keeps values of at most budget in all; cost is what
// one value takes.
func New[K comparable, V any](budget int, cost func(V) int) *Cache[K, V] {
	return &Cache[K, V]{cost: cost, budget: budget, items: map[K]*list.Element{}, order: list.New()}
}

// Get finds a value and marks it used.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item[K, V]).value, true
}

// Put keeps a value, and drops those used longest ago that no longer fit.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(key)
	it := &item[K, V]{key, value, c.cost(value)}
	c.items[key] = c.order.PushFront(it)
	c.spent += it.cost
	for c.spent > c.budget && c.order.Len() > 1 {
		c.removeLocked(c.order.Back().Value.(*item[K, V]).key)
	}
}

// Remove drops a value.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(key)
}

// Spent is the cost of what is kept.
func (c *Cache[K, V]) Spent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent
}

func (c *Cache[K, V]) removeLocked(key K) {
	e, ok := c.items[key]
	if !ok {
		return
	}
	c.spent -= e.Value.(*item[K, V]).cost
	c.order.Remove(e)
	delete(c.items, key)
}
