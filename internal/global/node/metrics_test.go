package node

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/metrics"
	kdsserver "github.com/meridiankds/meridian/kds/server"
)

func TestPropagation(t *testing.T) {
	set := metrics.New()
	p := propagation{applied: map[federation.Revision]time.Time{}, acked: map[sessionKey]federation.Revision{}, seconds: set.Histogram("x_seconds", "X.")}
	at := func(n int) federation.Revision { return federation.Revision{Index: uint64(n)} }
	now := time.Unix(1_800_000_000, 0)
	later := func(d time.Duration) time.Time { return now.Add(d) }
	session := func(zone string, n int) kdsserver.Session { return kdsserver.Session{Zone: zone, Acked: at(n)} }
	p.head(at(5), now)
	p.sessions([]kdsserver.Session{session("new", 0), session("west", 5)}, now)
	p.sessions([]kdsserver.Session{session("new", 5), session("west", 5)}, later(time.Hour)) // full state, of any age
	p.head(at(6), later(time.Hour))
	p.head(at(6), later(2*time.Hour)) // no news
	p.sessions([]kdsserver.Session{session("new", 6), session("west", 6)}, later(time.Hour+time.Second))
	p.sessions([]kdsserver.Session{session("new", 6), session("west", 6)}, later(time.Hour+time.Minute))
	// Who was away and resumes takes what is old.
	back := func(n int) kdsserver.Session {
		s := session("back", n)
		s.Connected = later(3 * time.Hour)
		return s
	}
	p.sessions([]kdsserver.Session{back(5)}, later(3*time.Hour))
	p.sessions([]kdsserver.Session{back(6)}, later(3*time.Hour+time.Second))
	for i := range maxApplied + 10 {
		p.head(at(100+i), now)
	}
	if len(p.applied) != maxApplied || len(p.order) != maxApplied {
		t.Errorf("%d revisions are remembered", len(p.applied))
	}
	w := httptest.NewRecorder()
	set.Handler(http.NotFoundHandler(), false).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if text := w.Body.String(); !strings.Contains(text, "meridian_x_seconds_count 2\n") || !strings.Contains(text, "meridian_x_seconds_sum 2\n") {
		t.Errorf("want two acknowledgements of a second each:\n%s", text)
	}
}
