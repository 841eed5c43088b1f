package web

import (
	"sync"
	"time"
)

// Class is what a call is charged to. Limits are set for a class and counted
// for each caller in it.
type Class uint8

// The classes. RateNone is never limited.
const (
	RateNone Class = iota
	RateLogin
	RateRegister
	RateRead
	RateWrite
	RateMessage
	RateCreate
	RateJoin
	RateInvite
	RateDirectory
	RateMedia
	RateFederation
	classes // how many there are
)

var classNames = [classes]string{
	"none", "login", "register", "read", "write", "message", "create", "join",
	"invite", "directory", "media", "federation",
}

// String is the class's name, as metrics and settings have it.
func (c Class) String() string {
	if c < classes {
		return classNames[c]
	}
	return "unknown"
}

// Rate allows Burst calls at once and PerSecond on average. The zero Rate is
// no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limits gives classes their rates; a class that is absent is not limited.
type Limits map[Class]Rate

// shards spreads callers over locks; a power of two.
const shards = 16

// defaultSubjects is how many callers a Limiter remembers unless told.
const defaultSubjects = 1 << 16

// Limiter counts calls by class and caller. Of each caller it keeps one
// instant: when its bucket will be full again. A caller whose instant has
// passed is as good as unknown, so forgetting it costs nothing, and memory
// stays bounded however many callers there are.
type Limiter struct {
	step  [classes]time.Duration // between two calls at the average rate
	slack [classes]time.Duration // how far ahead of the average a burst may run
	max   int                    // subjects in a shard
	epoch time.Time
	shard [shards]limiterShard
}

type limiterKey struct {
	class   Class
	subject string
}

type limiterShard struct {
	mu    sync.Mutex
	full  map[limiterKey]time.Duration // when the bucket is full again, since epoch; guarded by mu
	swept time.Duration                // last sweep, since epoch; guarded by mu
}

// NewLimiter makes a Limiter that remembers at most subjects callers (zero is
// a sound default). The epoch is any instant not after the first call.
func NewLimiter(limits Limits, subjects int, epoch time.Time) *Limiter {
	if subjects <= 0 {
		subjects = defaultSubjects
	}
	l := &Limiter{max: max(subjects/shards, 1), epoch: epoch}
	for class, rate := range limits {
		if class == RateNone || class >= classes || rate.PerSecond <= 0 {
			continue
		}
		step := time.Duration(float64(time.Second) / rate.PerSecond)
		l.step[class] = step
		l.slack[class] = step * time.Duration(max(rate.Burst, 1)-1)
	}
	for i := range l.shard {
		l.shard[i].full = map[limiterKey]time.Duration{}
	}
	return l
}

// limits reports whether a class has a limit at all.
func (l *Limiter) limits(class Class) bool { return class < classes && l.step[class] != 0 }

// Take charges one call to subject. It answers zero if the call may go on,
// else how long the caller should wait; a refused call is not charged.
func (l *Limiter) Take(class Class, subject string, at time.Time) time.Duration {
	if l == nil || !l.limits(class) {
		return 0
	}
	now := at.Sub(l.epoch)
	s := &l.shard[shardOf(subject)]
	s.mu.Lock()
	defer s.mu.Unlock()
	key := limiterKey{class, subject}
	full, known := s.full[key]
	full = max(full, now)
	if wait := full - now - l.slack[class]; wait > 0 {
		return wait
	}
	if !known && len(s.full) >= l.max {
		s.makeRoomLocked(now)
	}
	s.full[key] = full + l.step[class]
	return 0
}

// sweepEvery bounds how often a full shard is searched for callers to forget.
const sweepEvery = time.Second

// makeRoomLocked forgets the callers whose buckets are full, or, if that was
// done only just now, any one caller.
func (s *limiterShard) makeRoomLocked(now time.Duration) {
	if now-s.swept >= sweepEvery || s.swept == 0 {
		s.swept = max(now, 1)
		before := len(s.full)
		for key, full := range s.full {
			if full <= now {
				delete(s.full, key)
			}
		}
		if len(s.full) < before {
			return
		}
	}
	for key := range s.full {
		delete(s.full, key)
		return
	}
}

// size is how many callers are remembered.
func (l *Limiter) size() int {
	n := 0
	for i := range l.shard {
		l.shard[i].mu.Lock()
		n += len(l.shard[i].full)
		l.shard[i].mu.Unlock()
	}
	return n
}

// shardOf is an FNV-1a hash of the subject, folded to a shard.
func shardOf(subject string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(subject); i++ {
		h = (h ^ uint32(subject[i])) * 16777619
	}
	return (h ^ h>>16) & (shards - 1)
}
