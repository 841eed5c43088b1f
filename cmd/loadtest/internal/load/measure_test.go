package load

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramAgreesWithSortedValues(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	values := make([]time.Duration, 5000)
	for i := range values {
		values[i] = time.Duration(math.Exp(rnd.NormFloat64()*2+8)) * time.Microsecond
		h.Add(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[int(math.Ceil(q*float64(len(values))))-1]
		if got := h.Quantile(q); math.Abs(float64(got-want)) > 0.016*float64(want)+float64(time.Microsecond) {
			t.Errorf("quantile %g: %v, want about %v", q, got, want)
		}
	}
	s := h.Summary()
	if s.Count != 5000 || s.MaxMS != millis(values[4999]) || s.P50MS > s.P90MS || s.P90MS > s.P99MS || s.P99MS > s.MaxMS {
		t.Errorf("summary %+v", s)
	}
}

func TestHistogramAtItsEdges(t *testing.T) {
	var h Histogram
	if h.Summary() != nil || h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has values")
	}
	for _, d := range []time.Duration{-time.Second, 0, 63 * time.Microsecond, 64 * time.Microsecond, math.MaxInt64} {
		h.Add(d)
	}
	if h.Quantile(0.01) != 0 || h.Quantile(0.6) != 63*time.Microsecond || h.Quantile(1) <= time.Hour {
		t.Errorf("%v %v %v", h.Quantile(0.01), h.Quantile(0.6), h.Quantile(1))
	}
	for v := uint64(1); v != 0; v <<= 1 {
		if b := bucketOf(v); b < 0 || b >= buckets {
			t.Errorf("%d is in bucket %d of %d", v, b, buckets)
		}
	}
}

func TestProcessesAreAddedUp(t *testing.T) {
	root := t.TempDir()
	write := func(pid, stat, status string) {
		t.Helper()
		dir := filepath.Join(root, pid)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"stat": stat, "status": status} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("7", "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 99 99 20 0 1 0 5 6 7", "Name:\ta\nVmHWM:\t   4096 kB\nVmRSS:\t   2048 kB\n")
	write("8", "8 (x) R 1 7 7 0 -1 4194560 1 2 3 4 1 2 0 0 20 0 1 0 5 6 7", "Name:\tx\nVmRSS:\t 1024 kB\n")
	write("9", "9 (x) R 1", "")
	write("10", "10 no name", "")
	got, err := usageOf(root, []int{7, 8})
	if want := (usage{cpu: 2030 * time.Millisecond, rss: 3 << 20, peak: 4 << 20}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, pid := range []int{9, 10, 11} {
		if _, err := usageOf(root, []int{pid}); err == nil {
			t.Errorf("process %d was read", pid)
		}
	}
	if own, err := usageOf("/proc", []int{os.Getpid()}); err != nil || own.rss == 0 {
		t.Errorf("this process: %+v, %v", own, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 99"))
	f.Add([]byte(")"))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_, _ = parseStat(raw)
		_ = parseStatus(raw, "VmRSS")
		_ = parseCounters(raw, []string{"a"})
	})
}

func TestDiskUseCountsBlocksOfAllFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	before, err := diskUse(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "b", "c"), make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	after, err := diskUse(dir)
	if err != nil || after-before < 90_000 || after-before > 300_000 {
		t.Errorf("%d bytes more, %v", after-before, err)
	}
	if n, err := diskUse(""); n != 0 || err != nil {
		t.Errorf("no folder: %d, %v", n, err)
	}
}

func TestCountersAreSummedOverTheirLabels(t *testing.T) {
	text := "# HELP a b\n# TYPE a counter\na{x=\"1 }\",y=\"{\"} 2\na{x=\"2\"} 3.5 1712\nab 7\nb 1e3\n"
	got := parseCounters([]byte(text), []string{"a", "b", "c"})
	if len(got) != 2 || got["a"] != 5.5 || got["b"] != 1000 {
		t.Errorf("got %v", got)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()
	s, err := Connect(Target{Base: server.URL, Metrics: server.URL, Counters: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	if shot, err := s.look(t.Context()); err != nil || shot.counters["b"] != 1000 {
		t.Errorf("%+v, %v", shot, err)
	}
	s.target.Counters = []string{"absent"}
	if _, err := s.look(t.Context()); err == nil {
		t.Error("an absent counter was found")
	}
}

func TestResultDerivesCostsPerOperation(t *testing.T) {
	target := Target{Base: "http://h", PIDs: []int{1}, DataDir: "/d", Counters: []string{"commits"}}
	r := &Result{
		Scenario: "send-room", Operation: "send", Operations: 1000, Seconds: 2, Params: map[string]any{"clients": 16, "rooms": Realism{State: 50, Members: 10}},
		Baseline: Baseline{SignMicros: 25, VerifyMicros: 50, FsyncMS: 0.5, FsyncDir: "/d"},
		Delivery: &Deliveries{Expected: 3, Delivered: 3, Delay: &Summary{Count: 3, P50MS: 1.5}},
		Figures:  map[string]float64{"extra": 7}, ToolCPUMicros: 41,
	}
	r.Servers = []ServerUse{use(target, snapshot{usage: usage{cpu: time.Second}, disk: 1 << 20, counters: map[string]float64{"commits": 5}},
		snapshot{usage: usage{cpu: 1300 * time.Millisecond, rss: 64 << 20}, disk: 3 << 20, counters: map[string]float64{"commits": 205}})}
	r.finish()
	if s := r.Servers[0]; r.Throughput != 500 || math.Abs(s.CPUMicros-300) > 1e-6 || math.Abs(s.CPUSignatures-12) > 1e-6 || s.DiskPerOp != 2097.152 || s.Counters["commits"] != 200 {
		t.Errorf("%+v", r)
	}
	var text, raw bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"500.0 send/s", "12.00 signatures", "64.0 after", "3 of 3, 0 twice", "p50 1.50 ms", "+200, 0.200/send", "+2.00 MiB", "25.00 us to make", "extra", "50 state events, 10 members", "41.0 us/send"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, text.String())
		}
	}
	if err := r.WriteJSON(&raw); err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(raw.Bytes(), &back); err != nil || back.Servers[0].CPUMicros != r.Servers[0].CPUMicros {
		t.Errorf("%v: %s", err, raw.String())
	}
	r.Delivery.Duplicates = 1
	if r.Check() == nil {
		t.Error("a duplicate passed the check")
	}
}

func TestBaselineIsMeasured(t *testing.T) {
	dir := t.TempDir()
	b, err := MeasureBaseline(dir)
	if err != nil || b.SignMicros <= 0 || b.VerifyMicros <= 0 || b.FsyncMS <= 0 || b.FsyncDir != dir {
		t.Errorf("%+v, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files were left behind: %v, %v", left, err)
	}
	if _, err := MeasureBaseline(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent folder was measured")
	}
}
