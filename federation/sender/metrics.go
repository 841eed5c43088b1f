package sender

import "github.com/prometheus/client_golang/prometheus"

// metrics count what is sent.
type metrics struct {
	// transactions by outcome: "ok", "failed".
	transactions *prometheus.CounterVec
	pdus, edus   prometheus.Counter
	// refused are events that the peer answered with an error.
	refused prometheus.Counter
	// skipped events by reason: "policy", an agreement forbids it; "refused",
	// the peer did not take the transaction because of it.
	skipped *prometheus.CounterVec
	// dropped ephemeral data by reason: "full", "stale", "policy".
	dropped      *prometheus.CounterVec
	destinations prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_sender_transactions_total", Help: "Transactions sent to other servers.",
		}, []string{"outcome"}),
		pdus:    prometheus.NewCounter(prometheus.CounterOpts{Name: "entente_sender_pdus_total", Help: "Events sent to other servers."}),
		edus:    prometheus.NewCounter(prometheus.CounterOpts{Name: "entente_sender_edus_total", Help: "Ephemeral data sent to other servers."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "entente_sender_refused_pdus_total", Help: "Events that other servers refused."}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_sender_skipped_pdus_total", Help: "Events that a server was not sent, and will not be.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_sender_dropped_edus_total", Help: "Ephemeral data that was not sent.",
		}, []string{"reason"}),
		destinations: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "entente_sender_destinations", Help: "Servers that something is or was just being sent to.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.transactions, m.pdus, m.edus, m.refused, m.skipped, m.dropped, m.destinations)
	}
	return m
}
