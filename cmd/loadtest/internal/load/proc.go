package load

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what a set of processes has used so far.
type usage struct {
	cpu  time.Duration
	rss  int64 // bytes, now
	peak int64 // bytes, the most since each process started
}

// tick is the unit of /proc/<pid>/stat: Linux shows user space 100 a second
// on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// usageOf adds up the processes below root, which is /proc.
func usageOf(root string, pids []int) (usage, error) {
	var sum usage
	for _, pid := range pids {
		dir := filepath.Join(root, strconv.Itoa(pid))
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			return sum, fmt.Errorf("process %d: %w", pid, err)
		}
		cpu, err := parseStat(stat)
		if err != nil {
			return sum, fmt.Errorf("process %d: %w", pid, err)
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return sum, fmt.Errorf("process %d: %w", pid, err)
		}
		sum.cpu += cpu
		sum.rss += parseStatus(status, "VmRSS")
		sum.peak += parseStatus(status, "VmHWM")
	}
	return sum, nil
}

// parseStat reads utime and stime, fields 14 and 15. The second field is the
// program's name in parentheses, which may hold spaces and parentheses.
func parseStat(raw []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return 0, errors.New("stat has no program name")
	}
	fields := strings.Fields(string(raw[end+1:]))
	const utime, stime = 14 - 3, 15 - 3 // the first here is field 3
	if len(fields) <= stime {
		return 0, errors.New("stat is too short")
	}
	user, err1 := strconv.ParseInt(fields[utime], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * tick, nil
}

// parseStatus reads a size in kB; zero when the key is not there.
func parseStatus(raw []byte, key string) int64 {
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); name == key && len(fields) > 0 {
			kb, err := strconv.ParseInt(fields[0], 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}

// diskUse adds up what the files below dir occupy. Files that vanish while
// it looks do not count.
func diskUse(dir string) (int64, error) {
	if dir == "" {
		return 0, nil
	}
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += st.Blocks * 512
		} else {
			sum += info.Size()
		}
		return nil
	})
	return sum, err
}
