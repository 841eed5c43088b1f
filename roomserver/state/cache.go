package state

import "sync"

// shardCount spreads the rooms' rows over so many locks.
const shardCount = 32

// rowOverhead is about what a cached row takes beside its bytes: the row, the
// entry, its place in the map.
const rowOverhead = 256

// Cache keeps rows in memory, the latest used ones, up to a number of bytes.
// All rooms of a server share one. Rows never change, so nothing is ever
// invalidated. It is safe for concurrent use; a nil cache keeps nothing.
type Cache struct {
	shards [shardCount]shard
}

// Stats says what a cache holds and how often it helped.
type Stats struct {
	Rows   int
	Bytes  int64
	Hits   uint64
	Misses uint64
}

type shard struct {
	mu     sync.Mutex
	rows   map[cacheKey]*cached // guarded by mu
	ring   cached               // guarded by mu; ring.next is the latest used, ring.prev the oldest
	stats  Stats                // guarded by mu
	budget int64
}

type cacheKey struct {
	room, row int64
}

type cached struct {
	key        cacheKey
	row        *row
	prev, next *cached
}

// NewCache makes a cache of about so many bytes.
func NewCache(bytes int64) *Cache {
	c := &Cache{}
	for i := range c.shards {
		s := &c.shards[i]
		s.rows = map[cacheKey]*cached{}
		s.ring.prev, s.ring.next = &s.ring, &s.ring
		s.budget = bytes / shardCount
	}
	return c
}

// Stats sums up the shards.
func (c *Cache) Stats() Stats {
	var sum Stats
	if c == nil {
		return sum
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum.Rows += s.stats.Rows
		sum.Bytes += s.stats.Bytes
		sum.Hits += s.stats.Hits
		sum.Misses += s.stats.Misses
		s.mu.Unlock()
	}
	return sum
}

func (c *Cache) shard(k cacheKey) *shard {
	h := (uint64(k.room)*0x9e3779b97f4a7c15 ^ uint64(k.row)) * 0xd6e8feb86659fd93
	return &c.shards[h>>59]
}

// get returns a row, or nil if it is not cached.
func (c *Cache) get(room, id int64) *row {
	if c == nil {
		return nil
	}
	k := cacheKey{room, id}
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.rows[k]
	if e == nil {
		s.stats.Misses++
		return nil
	}
	s.stats.Hits++
	if s.ring.next != e {
		e.unlink()
		s.pushLocked(e)
	}
	return e.row
}

// put keeps a row, and drops the oldest ones that no longer fit beside it.
func (c *Cache) put(room int64, r *row) {
	if c == nil {
		return
	}
	k := cacheKey{room, r.id}
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows[k] != nil || r.cost() > s.budget {
		return
	}
	e := &cached{key: k, row: r}
	s.rows[k] = e
	s.pushLocked(e)
	s.stats.Rows++
	s.stats.Bytes += r.cost()
	for s.stats.Bytes > s.budget {
		old := s.ring.prev
		old.unlink()
		delete(s.rows, old.key)
		s.stats.Rows--
		s.stats.Bytes -= old.row.cost()
	}
}

func (s *shard) pushLocked(e *cached) {
	e.prev, e.next = &s.ring, s.ring.next
	e.prev.next, e.next.prev = e, e
}

func (e *cached) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}

// cost is about how much memory a row takes in the cache.
func (r *row) cost() int64 {
	return int64(cap(r.data)+cap(r.nodes)*nodePosSize) + rowOverhead
}
