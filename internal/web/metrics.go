package web

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count requests. Routers that serve different listeners share one.
type Metrics struct {
	// requests by method (of the route), route (its pattern, or "unmatched")
	// and code ("1xx" to "5xx").
	requests *prometheus.CounterVec
	// seconds by method and route.
	seconds *prometheus.HistogramVec
	// limited by class (Class.String).
	limited  *prometheus.CounterVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	received prometheus.Counter
	sent     prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_http_requests_total", Help: "HTTP requests answered.",
		}, []string{"method", "route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "entente_http_request_seconds", Help: "Time from the request's header to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"method", "route"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_http_limited_total", Help: "HTTP requests refused by a rate limit.",
		}, []string{"class"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "entente_http_in_flight", Help: "HTTP requests being served.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "entente_http_panics_total", Help: "Handlers that panicked.",
		}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "entente_http_received_bytes_total", Help: "Bytes of request bodies read.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "entente_http_sent_bytes_total", Help: "Bytes of answers' bodies written.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.limited, m.inFlight, m.panics, m.received, m.sent)
	}
	return m
}

// series are the time series of one route, looked up on first use so that
// routes which nobody calls cost nothing.
type series struct {
	codes   [6]atomic.Pointer[prometheus.Counter]
	seconds atomic.Pointer[prometheus.Observer]
}

func (m *Metrics) observe(e *endpoint, status int, took time.Duration) {
	code := min(max(status/100, 1), 5)
	counter := e.series.codes[code].Load()
	if counter == nil {
		made := m.requests.WithLabelValues(e.Method, e.Path, string('0'+byte(code))+"xx")
		counter = &made
		e.series.codes[code].Store(counter)
	}
	(*counter).Inc()
	observer := e.series.seconds.Load()
	if observer == nil {
		made := m.seconds.WithLabelValues(e.Method, e.Path)
		observer = &made
		e.series.seconds.Store(observer)
	}
	(*observer).Observe(took.Seconds())
}
