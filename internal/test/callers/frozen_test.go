package callers

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// strait passes connections on to a zone, until it freezes: then it takes what comes, as the
// system does for a program that was stopped, and nothing comes back.
type strait struct {
	net.Listener
	mu   sync.RWMutex // held for writing while it is frozen
	open sync.WaitGroup
}

// startStrait listens until the test ends.
func startStrait(t *testing.T, to string) *strait {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &strait{Listener: l}
	var all []net.Conn
	var mu sync.Mutex
	s.open.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			mu.Lock()
			all = append(all, a, b)
			mu.Unlock()
			s.open.Go(func() { s.pass(a, b) })
			s.open.Go(func() { s.pass(b, a) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range all {
			c.Close()
		}
		mu.Unlock()
		s.open.Wait()
	})
	return s
}

// pass hands on what one side says.
func (s *strait) pass(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		s.mu.RLock()
		s.mu.RUnlock() //nolint:staticcheck // it waits for the thaw
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestEnvoyNoticesAFrozenZone: a zone that says nothing any more, on connections that stay open, is
// found out by the pings of the bootstrap; meanwhile the proxy goes on, and once the zone is back it
// has what changed.
func TestEnvoyNoticesAFrozenZone(t *testing.T) {
	inBothModes(t, func(t *testing.T, delta bool) {
		var s *strait
		base := func(r *rig) []string {
			return []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), r.static("c1", "one", "")}
		}
		r := startRigWith(t, delta, base, func(z *zone, bootstrap string) string {
			s = startStrait(t, z.address)
			_, zonePort, _ := net.SplitHostPort(z.address)
			_, port, _ := net.SplitHostPort(s.Addr().String())
			for _, edit := range [][2]string{
				{"portValue: " + zonePort, "portValue: " + port},
				{"interval: 30s", "interval: 1s"}, {"timeout: 10s", "timeout: 1s"}, // a test has less time
			} {
				if strings.Count(bootstrap, edit[0]) != 1 {
					t.Fatalf("the bootstrap has %q %d times", edit[0], strings.Count(bootstrap, edit[0]))
				}
				bootstrap = strings.Replace(bootstrap, edit[0], edit[1], 1)
			}
			return bootstrap
		})
		connected := func() string {
			resp, err := r.admin.Get("http://envoy/stats?filter=^control_plane.connected_state$")
			if err != nil {
				return fmt.Sprint(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return strings.TrimSpace(strings.TrimPrefix(string(text), "control_plane.connected_state: "))
		}
		r.await("the stream", func() bool { return connected() == "1" })
		s.mu.Lock()
		thaw := sync.OnceFunc(s.mu.Unlock)
		defer thaw()
		r.write(r.listener("r1", "a", never, ""), routes("r1", "c2"), r.static("c1", "one", ""), r.static("c2", "two", ""))
		r.await("the end of the stream", func() bool { return connected() == "0" })
		r.reaches("one")
		thaw()
		r.reaches("two")
		r.await("the stream", func() bool { return connected() == "1" })
	})
}
