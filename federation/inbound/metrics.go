package inbound

import "github.com/prometheus/client_golang/prometheus"

// metrics count what peers send.
type metrics struct {
	// pdus by outcome: "processed"; "refused", with an error for the peer;
	// "staged"; "dropped", staged and given up.
	pdus *prometheus.CounterVec
	// edus by outcome: "taken"; "ignored", unknown or not the peer's to send;
	// "refused", by policy.
	edus *prometheus.CounterVec
	// repeated are transactions that were answered before.
	repeated prometheus.Counter
	// limited are transactions that were put off, since too much waits.
	limited prometheus.Counter
	// denied are requests and events that a room's access control list denied.
	denied prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		pdus: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_inbound_pdus_total", Help: "Events that other servers sent.",
		}, []string{"outcome"}),
		edus: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_inbound_edus_total", Help: "Ephemeral data that other servers sent.",
		}, []string{"outcome"}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{Name: "entente_inbound_repeated_total", Help: "Transactions that came again."}),
		limited:  prometheus.NewCounter(prometheus.CounterOpts{Name: "entente_inbound_limited_total", Help: "Transactions that were put off."}),
		denied:   prometheus.NewCounter(prometheus.CounterOpts{Name: "entente_inbound_denied_total", Help: "What access control lists of rooms denied."}),
	}
	if reg != nil {
		reg.MustRegister(m.pdus, m.edus, m.repeated, m.limited, m.denied)
	}
	return m
}
