package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestSet(t *testing.T) {
	s := New()
	n := 1
	s.Gauge("zones", "Zones by state.", []string{"state"}, func() []Sample { n++; return ByLabel(map[string]int{"online": n}) })
	s.Total("acks_total", "Acknowledgements.", nil, func() []Sample { return One(uint64(7)) })
	s.Gauge("sealed", "Sealed.", nil, func() []Sample { return Bool(true) })
	s.Gauge("wrong", "Too few labels.", []string{"a"}, func() []Sample { return One(1) })
	c := s.Counter("issued_total", "Issued.", "kind")
	c.Add("zone")
	c.Add("zone")
	s.Histogram("propagation_seconds", "Propagation.").Observe(0.003)
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("next")) })
	h := s.Handler(next, false)
	text := get(h, "/metrics").Body.String()
	for _, want := range []string{
		`meridian_zones{state="online"} 2`, "meridian_acks_total 7", "meridian_sealed 1", `meridian_issued_total{kind="zone"} 2`,
		"meridian_propagation_seconds_count 1", `meridian_propagation_seconds_bucket{le="0.004"} 1`, "go_goroutines", "process_start_time_seconds",
	} {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, want+" ") {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if !strings.Contains(get(h, "/metrics").Body.String(), `meridian_zones{state="online"} 3`) {
		t.Error("a second scrape does not ask again")
	}
	if got := get(h, "/ready").Body.String(); got != "next" {
		t.Errorf("other paths: %q", got)
	}
	if got := get(h, "/debug/pprof/").Body.String(); got != "next" {
		t.Errorf("profiles that nobody asked for: %.100q", got)
	}
	if got := get(s.Handler(next, true), "/debug/pprof/").Body.String(); !strings.Contains(got, "goroutine") {
		t.Errorf("profiles: %.100q", got)
	}
}
