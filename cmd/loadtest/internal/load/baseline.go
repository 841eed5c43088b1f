package load

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

// Baseline is what the machine's own speed is, measured in the same run as
// the server, so that results from different machines compare.
type Baseline struct {
	// SignMicros is the CPU time of one ed25519.Sign of 500 bytes.
	SignMicros float64 `json:"sign_us"`
	// VerifyMicros is the CPU time of one ed25519.Verify of them.
	VerifyMicros float64 `json:"verify_us"`
	// FsyncMS is the median of a write of 4 KiB and its fsync.
	FsyncMS float64 `json:"fsync_ms"`
	// FsyncDir is where that was measured.
	FsyncDir string `json:"fsync_dir"`
}

// MeasureBaseline takes about half a second of CPU time; dir is where files
// are synced, the system's folder for temporary files when it is empty.
func MeasureBaseline(dir string) (Baseline, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	b := Baseline{FsyncDir: dir}
	message := make([]byte, 500)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	signature := ed25519.Sign(key, message)
	b.SignMicros = cpuMicros(func() { ed25519.Sign(key, message) })
	b.VerifyMicros = cpuMicros(func() { ed25519.Verify(public, message, signature) })
	var err error
	b.FsyncMS, err = fsyncMillis(dir)
	return b, err
}

// cpuMicros is what one call of f takes when nothing interrupts it: the median
// of many batches, each much shorter than a time slice of the scheduler, so
// that other load on the machine touches few of them. (A thread's own CPU
// clock would be the obvious measure; where the kernel counts it in ticks of
// milliseconds it is the worse one.)
func cpuMicros(f func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const batches, batch = 501, 10
	times := make([]time.Duration, batches)
	for i := range times {
		start := time.Now()
		for range batch {
			f()
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return micros(times[batches/2]) / batch
}

func fsyncMillis(dir string) (float64, error) {
	f, err := os.CreateTemp(dir, ".loadtest-fsync-*")
	if err != nil {
		return 0, fmt.Errorf("fsync baseline: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	times := make([]time.Duration, 51)
	for i := range times {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return millis(times[len(times)/2]), nil
}
