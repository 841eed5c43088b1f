package state

import "sync"

// shardCount spreads the rooms' rows over so many locks.
const shardCount = 32

// rowOverhead is about what a cached row takes beside its bytes: the row, the
// entry, its place in the map.
const rowOverhead = 256

// Cache keeps rows in memory, up to a number of bytes: a ring that gives a
// second chance to what was used, since a hit then writes one flag only.
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
	ring   cached               // guarded by mu; ring.next came last, ring.prev goes first
	stats  Stats                // guarded by mu
	budget int64
}

type cacheKey struct {
	room, row int64
}

type cached struct {
	key        cacheKey
	row        *row
	used       bool // since it came, or last went round
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
	e.used = true
	return e.row
}

// put keeps a row, and drops old ones that no longer fit beside it.
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
	s.makeRoomLocked(r.cost())
	e := &cached{key: k, row: r}
	s.rows[k] = e
	s.pushLocked(e)
	s.stats.Rows++
	s.stats.Bytes += r.cost()
}

// makeRoomLocked drops old rows until so many bytes fit in.
func (s *shard) makeRoomLocked(bytes int64) {
	for s.stats.Bytes+bytes > s.budget {
		old := s.ring.prev
		old.unlink()
		if old.used { // once more round
			old.used = false
			s.pushLocked(old)
			continue
		}
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
	n := int64(cap(r.data)) + rowOverhead
	if len(r.nodes) > len(r.few) {
		n += int64(cap(r.nodes) * nodePosSize)
	}
	return n
}
