package client

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count calls.
type metrics struct {
	// calls by call (the endpoint: "send", "make_join", ...) and outcome:
	// "ok"; "error", the peer answered with one; "unreachable", it gave no
	// usable answer; "refused", policy or the caller ended the call.
	calls *prometheus.CounterVec
	// seconds by call.
	seconds *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_federation_calls_total", Help: "Calls to other servers.",
		}, []string{"call", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "entente_federation_call_seconds", Help: "Time that calls to other servers took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"call"}),
	}
	if reg != nil {
		reg.MustRegister(m.calls, m.seconds)
	}
	return m
}

func (m *metrics) count(q call, took time.Duration, err error) {
	var e *Error
	outcome := "refused"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.As(err, &e) && e.Status != 0:
		outcome = "error"
	case e != nil:
		outcome = "unreachable"
	}
	name := endpoint(q.uri)
	m.calls.WithLabelValues(name, outcome).Inc()
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

// endpoint is the part of a path that names what is called:
// "/_matrix/federation/v1/ENDPOINT/...".
func endpoint(uri string) string {
	for range 4 {
		_, uri, _ = strings.Cut(uri, "/")
	}
	if end := strings.IndexAny(uri, "/?"); end >= 0 {
		uri = uri[:end]
	}
	return uri
}
