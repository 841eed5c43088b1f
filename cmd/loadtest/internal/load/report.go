package load

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Result is what one run of a scenario came to.
type Result struct {
	Scenario string         `json:"scenario"`
	Params   map[string]any `json:"params"`
	Started  time.Time      `json:"started"`
	Seconds  float64        `json:"seconds"`
	// Operation names what is counted: send, delivery, join, sync.
	Operation  string  `json:"operation"`
	Operations int     `json:"operations"`
	Throughput float64 `json:"throughput"` // operations a second
	// Latency is of the requests: sends, joins, syncs.
	Latency *Summary `json:"latency,omitempty"`
	// Delivery is from a send to the answer of a sync that has the message.
	Delivery *Deliveries `json:"delivery,omitempty"`
	Servers  []ServerUse `json:"servers"`
	Baseline Baseline    `json:"baseline"`
	// ToolCPUMicros is what this tool itself used for one operation: where it
	// comes near the server's, the two compete for the same cores.
	ToolCPUMicros float64 `json:"tool_cpu_us_per_op"`
	// Figures are what only one scenario has, by name with unit.
	Figures map[string]float64 `json:"figures,omitempty"`
}

// Deliveries says whether every message reached everyone, and how fast.
type Deliveries struct {
	Expected   int      `json:"expected"`
	Delivered  int      `json:"delivered"`
	Duplicates int      `json:"duplicates"`
	Delay      *Summary `json:"delay,omitempty"`
}

// ServerUse is what one homeserver used for the run.
type ServerUse struct {
	Base       string  `json:"base"`
	PIDs       []int   `json:"pids,omitempty"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// CPUMicros is CPU time for one operation, and CPUSignatures the same in
	// ed25519 signatures of this machine.
	CPUMicros     float64 `json:"cpu_us_per_op"`
	CPUSignatures float64 `json:"cpu_signatures_per_op"`
	RSSBefore     int64   `json:"rss_before_bytes"`
	RSSAfter      int64   `json:"rss_after_bytes"`
	RSSPeak       int64   `json:"rss_peak_bytes"`
	DiskGrowth    int64   `json:"disk_growth_bytes"`
	DiskPerOp     float64 `json:"disk_bytes_per_op"`

	// Counters is by how much the server's own counters grew.
	Counters map[string]float64 `json:"counters,omitempty"`

	measuresDisk bool
}

func use(t Target, before, after snapshot) ServerUse {
	grown := make(map[string]float64, len(t.Counters))
	for _, name := range t.Counters {
		grown[name] = after.counters[name] - before.counters[name]
	}
	return ServerUse{
		Counters: grown, Base: t.Base, PIDs: t.PIDs,
		CPUSeconds: (after.usage.cpu - before.usage.cpu).Seconds(),
		RSSBefore:  before.usage.rss, RSSAfter: after.usage.rss, RSSPeak: after.usage.peak,
		DiskGrowth: after.disk - before.disk, measuresDisk: t.DataDir != "",
	}
}

// finish derives what follows from the counts.
func (r *Result) finish() {
	if r.Operations == 0 {
		return
	}
	n := float64(r.Operations)
	if r.Seconds > 0 {
		r.Throughput = n / r.Seconds
	}
	for i := range r.Servers {
		s := &r.Servers[i]
		s.CPUMicros = s.CPUSeconds * 1e6 / n
		if r.Baseline.SignMicros > 0 {
			s.CPUSignatures = s.CPUMicros / r.Baseline.SignMicros
		}
		s.DiskPerOp = float64(s.DiskGrowth) / n
	}
}

// Check returns an error when a message did not reach everyone exactly once.
func (r *Result) Check() error {
	if d := r.Delivery; d != nil && (d.Delivered != d.Expected || d.Duplicates != 0) {
		return fmt.Errorf("%s: %d of %d deliveries came, %d came twice", r.Scenario, d.Delivered, d.Expected, d.Duplicates)
	}
	return nil
}

// WriteJSON writes the result as one JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the result as a table for people.
func (r *Result) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("scenario", "%s", r.Scenario)
	for _, key := range slices.Sorted(maps.Keys(r.Params)) {
		line("  "+key, "%v", r.Params[key])
	}
	line("throughput", "%.1f %s/s (%d in %.2f s)", r.Throughput, r.Operation, r.Operations, r.Seconds)
	writeSummary(line, "latency", r.Latency)
	if d := r.Delivery; d != nil {
		line("deliveries", "%d of %d, %d twice", d.Delivered, d.Expected, d.Duplicates)
		writeSummary(line, "delivery delay", d.Delay)
	}
	for _, s := range r.Servers {
		if len(s.PIDs) > 0 {
			line("CPU of "+s.Base, "%.1f us/%s = %.2f signatures (%.2f s)", s.CPUMicros, r.Operation, s.CPUSignatures, s.CPUSeconds)
			line("memory of "+s.Base, "%.1f MiB before, %.1f after, %.1f at most since its start", mib(s.RSSBefore), mib(s.RSSAfter), mib(s.RSSPeak))
		}
		if s.measuresDisk {
			line("disk of "+s.Base, "%+.2f MiB, %.0f bytes/%s", mib(s.DiskGrowth), s.DiskPerOp, r.Operation)
		}
		for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
			line("counter "+name, "%+.0f, %.3f/%s", s.Counters[name], s.Counters[name]/float64(max(1, r.Operations)), r.Operation)
		}
	}
	line("CPU of this tool", "%.1f us/%s", r.ToolCPUMicros, r.Operation)
	for _, key := range slices.Sorted(maps.Keys(r.Figures)) {
		line(key, "%.2f", r.Figures[key])
	}
	writeBaseline(line, r.Baseline)
	return t.Flush()
}

func writeSummary(line func(string, string, ...any), name string, s *Summary) {
	if s != nil {
		line(name, "p50 %.2f ms, p90 %.2f, p99 %.2f, max %.2f, mean %.2f (%d)", s.P50MS, s.P90MS, s.P99MS, s.MaxMS, s.MeanMS, s.Count)
	}
}

func writeBaseline(line func(string, string, ...any), b Baseline) {
	line("one signature", "%.2f us to make, %.2f us to verify", b.SignMicros, b.VerifyMicros)
	line("one fsync", "%.3f ms in %s", b.FsyncMS, b.FsyncDir)
}

// WriteText writes the baseline alone, as a table.
func (b Baseline) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	writeBaseline(func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}, b)
	return t.Flush()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
