package load

import (
	"math/bits"
	"sync"
	"time"
)

// Histogram counts durations in buckets whose width grows with the value, so
// that any quantile is within 1.6 % and memory stays fixed. It is safe for
// concurrent use.
type Histogram struct {
	mu     sync.Mutex
	counts [buckets]uint64 // guarded by mu
	n      uint64          // guarded by mu
	sum    time.Duration   // guarded by mu
	max    time.Duration   // guarded by mu
}

// Values are counted in microseconds: exactly below 64, then 64 buckets for
// each doubling.
const (
	subBits = 6
	sub     = 1 << subBits
	buckets = (64 - subBits + 1) * sub
)

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[bucketOf(uint64(max(d, 0)/time.Microsecond))]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

func bucketOf(v uint64) int {
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)*sub + int(v>>shift) - sub
}

// middle is the value in the middle of a bucket.
func middle(bucket int) time.Duration {
	if bucket < sub {
		return time.Duration(bucket) * time.Microsecond
	}
	shift := bucket/sub - 1
	low := uint64(bucket%sub+sub) << shift
	return time.Duration(low+uint64(1)<<shift/2) * time.Microsecond
}

// Quantile returns the value that a share q of the durations do not exceed;
// zero when there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.quantileLocked(q)
}

func (h *Histogram) quantileLocked(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	if float64(rank) < q*float64(h.n) || rank == 0 {
		rank++ // the nearest rank, counted from one
	}
	for b, seen := 0, uint64(0); b < buckets; b++ {
		if seen += h.counts[b]; seen >= rank {
			return min(middle(b), h.max)
		}
	}
	return h.max
}

// Summary is what a histogram comes to, in milliseconds.
type Summary struct {
	Count  uint64  `json:"count"`
	MeanMS float64 `json:"mean_ms"`
	P50MS  float64 `json:"p50_ms"`
	P90MS  float64 `json:"p90_ms"`
	P99MS  float64 `json:"p99_ms"`
	MaxMS  float64 `json:"max_ms"`
}

// Summary reads the histogram; nil when it is empty.
func (h *Histogram) Summary() *Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == 0 {
		return nil
	}
	return &Summary{
		Count:  h.n,
		MeanMS: millis(h.sum / time.Duration(h.n)),
		P50MS:  millis(h.quantileLocked(0.50)),
		P90MS:  millis(h.quantileLocked(0.90)),
		P99MS:  millis(h.quantileLocked(0.99)),
		MaxMS:  millis(h.max),
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
