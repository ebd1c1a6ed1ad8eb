// Package metrics is what both binaries show at /metrics of their diagnostics
// port, in the format of Prometheus. It is the one place that knows its library:
// the others hand in functions that are asked at each scrape, and count into
// [Counter] and [Histogram].
//
// Names begin with "meridian_"; times are Unix seconds, durations seconds. No
// label holds what a stranger can choose freely.
package metrics

import (
	"net/http"
	"net/http/pprof"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "meridian"

// Set is the metrics of one process.
type Set struct{ registry *prometheus.Registry }

// New returns a set with the metrics of the process and of Go's runtime.
func New() *Set {
	s := &Set{prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Sample is one value with the values of its labels.
type Sample struct {
	Labels []string
	Value  float64
}

// One is the only sample of a metric without labels.
func One[T ~int | ~int64 | ~uint64 | ~float64](v T) []Sample { return []Sample{{Value: float64(v)}} }

// Bool is One with 1 for true.
func Bool(v bool) []Sample {
	if v {
		return One(1)
	}
	return One(0)
}

// ByLabel makes samples of a map from the value of the one label.
func ByLabel[T ~int | ~int64 | ~uint64](values map[string]T) []Sample {
	samples := make([]Sample, 0, len(values))
	for label, v := range values {
		samples = append(samples, Sample{[]string{label}, float64(v)})
	}
	return samples
}

// Gauge adds a value that goes up and down; read is called at each scrape, from
// any goroutine. Names are fixed at build time: a bad one panics.
func (s *Set) Gauge(name, help string, labels []string, read func() []Sample) {
	s.registry.MustRegister(&asked{prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil), prometheus.GaugeValue, read})
}

// Total adds a value that only grows while the process lives; name ends in
// "_total".
func (s *Set) Total(name, help string, labels []string, read func() []Sample) {
	s.registry.MustRegister(&asked{prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil), prometheus.CounterValue, read})
}

// Build adds meridian_build_info, which is 1 and has the program's version as labels, as
// Prometheus' own exporters have it.
func (s *Set) Build(version string) {
	s.Gauge("build_info", "1, with the version of this program.", []string{"version", "goversion"}, func() []Sample {
		return []Sample{{Labels: []string{version, runtime.Version()}, Value: 1}}
	})
}

// asked is a metric whose values are asked for at each scrape.
type asked struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func() []Sample
}

// Describe implements prometheus.Collector.
func (a *asked) Describe(out chan<- *prometheus.Desc) { out <- a.desc }

// Collect implements prometheus.Collector.
func (a *asked) Collect(out chan<- prometheus.Metric) {
	for _, sample := range a.read() {
		m, err := prometheus.NewConstMetric(a.desc, a.kind, sample.Value, sample.Labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(a.desc, err)
		}
		out <- m
	}
}

// Counter counts events by the values of its labels.
type Counter struct{ vec *prometheus.CounterVec }

// Counter adds a counter; name ends in "_total".
func (s *Set) Counter(name, help string, labels ...string) Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	s.registry.MustRegister(vec)
	return Counter{vec}
}

// Add counts one event.
func (c Counter) Add(labels ...string) { c.vec.WithLabelValues(labels...).Inc() }

// Histogram sorts durations into buckets.
type Histogram struct{ h prometheus.Histogram }

// Histogram adds a histogram of durations from half a millisecond to a minute.
func (s *Set) Histogram(name, help string) Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18),
	})
	s.registry.MustRegister(h)
	return Histogram{h}
}

// Observe adds a duration in seconds.
func (h Histogram) Observe(seconds float64) { h.h.Observe(seconds) }

// Gathered answers with the values of the moment, in the format of Prometheus.
func (s *Set) Gathered() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: gatherings, ErrorHandling: promhttp.ContinueOnError})
}

// Handler serves the set at /metrics, Go's profiles under /debug/pprof/ where they
// are asked for, and the rest from next.
func (s *Set) Handler(next http.Handler, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", fromMemory(s.Gathered()))
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.Handle("/", next)
	return mux
}
