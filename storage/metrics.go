package storage

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the database; no labels hold identifiers.
type metrics struct {
	commits   *prometheus.CounterVec // outcome: written, lost, failed
	groupSize prometheus.Histogram
	groupTime prometheus.Histogram
	rowsRead  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_storage_commits_total", Help: "Commits by outcome: written, lost (a precondition no longer held) or failed.",
		}, []string{"outcome"}),
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "entente_storage_group_commits", Help: "Commits in one transaction.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
		}),
		groupTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "entente_storage_group_seconds", Help: "Time to write one transaction, fsync included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	m.rowsRead = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "entente_storage_rows_read_total", Help: "Rows that were read, by anything but the committer.",
	})
	if reg != nil {
		reg.MustRegister(m.commits, m.groupSize, m.groupTime, m.rowsRead)
	}
	return m
}

func (m *metrics) group(group []*Ticket, took time.Duration) {
	var written, lost, failed float64
	for _, t := range group {
		switch {
		case t.err == nil:
			written++
		case isLost(t.err):
			lost++
		default:
			failed++
		}
	}
	m.commits.WithLabelValues("written").Add(written)
	m.commits.WithLabelValues("lost").Add(lost)
	m.commits.WithLabelValues("failed").Add(failed)
	m.groupSize.Observe(float64(len(group)))
	m.groupTime.Observe(took.Seconds())
}
