package callers

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/internal/yamldoc"
	"github.com/meridiankds/meridian/internal/zone/bootstrap"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// strait passes connections on to a zone, until it freezes: then it takes what comes, as the
// system does for a program that was stopped, and nothing comes back.
type strait struct {
	net.Listener
	mu   sync.RWMutex // held for writing while it is frozen
	open sync.WaitGroup
	// heard counts what proxies said.
	heard atomic.Int64
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
			s.open.Go(func() { s.pass(a, b, new(atomic.Int64)) })
			s.open.Go(func() { s.pass(b, a, &s.heard) })
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

// pass hands on what one side says, and counts it.
func (s *strait) pass(to, from net.Conn, heard *atomic.Int64) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		heard.Add(1)
		s.mu.RLock()
		//lint:ignore SA2001 it waits for the thaw
		s.mu.RUnlock()
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
		freezes(t, delta, func(z *zone, at, text string) string {
			_, zonePort, _ := net.SplitHostPort(z.address)
			_, port, _ := net.SplitHostPort(at)
			return replaceOnce(t, text, "portValue: "+zonePort, "portValue: "+port, "interval: 30s", "interval: 1s", "timeout: 10s", "timeout: 1s")
		})
	})
}

// TestEnvoyWithATokenFileNoticesAFrozenZone: the same with the gRPC library that reads the token's
// file, which sends no pings unless it is told to.
func TestEnvoyWithATokenFileNoticesAFrozenZone(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: runs a real Envoy for some seconds")
	}
	t.Parallel()
	freezes(t, true, func(z *zone, at, text string) string {
		_, port, _ := net.SplitHostPort(at)
		ca, err := os.ReadFile(z.ca)
		if err != nil {
			t.Fatal(err)
		}
		token := filepath.Join(t.TempDir(), "token")
		putFile(t, token, sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1"}))
		var from struct {
			Admin struct {
				Address struct{ Pipe struct{ Path string } }
			}
		}
		if err := yaml.Unmarshal([]byte(text), &from); err != nil {
			t.Fatal(err)
		}
		r, err := resource.ParseFile([]byte(fmt.Sprintf(agentResource, freePort(t), "1")))
		if err != nil {
			t.Fatal(err)
		}
		version, err := yamldoc.Parse([]byte(`{"kumaDp":{"version":"2.14.3"}}`), 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		made, err := bootstrap.Make(bootstrap.Input{
			Request: &bootstrap.Request{DataplaneTokenPath: token, CACert: string(ca), Features: []string{"feature-delta-grpc"},
				Workdir: filepath.Dir(from.Admin.Address.Pipe.Path), Version: version},
			Resource: r, JSON: r.JSON(), Address: "localhost:" + port, TokenPath: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(replaceOnce(t, string(made), `intValue: "30000"`, `intValue: "1000"`), `intValue: "10000"`, `intValue: "1000"`)
	})
}

// replaceOnce replaces each first text by the second, which must be there once: a test has less
// time than a proxy.
func replaceOnce(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			t.Fatalf("the bootstrap has %q %d times", pairs[i], n)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// freezes freezes the way to a zone under an Envoy, whose bootstrap leads there.
func freezes(t *testing.T, delta bool, through func(z *zone, at, bootstrap string) string) {
	var s *strait
	base := func(r *rig) []string {
		return []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), r.static("c1", "one", "")}
	}
	r := startRigWith(t, delta, base, func(z *zone, bootstrap string) string {
		s = startStrait(t, z.address)
		return through(z, s.Addr().String(), bootstrap)
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
	// A stream on which nothing is said: pings go on, not only the first ones.
	before := s.heard.Load()
	r.await("pings", func() bool { return s.heard.Load() > before+5 })
	s.mu.Lock()
	thaw := sync.OnceFunc(s.mu.Unlock)
	defer thaw()
	r.write(r.listener("r1", "a", never, ""), routes("r1", "c2"), r.static("c1", "one", ""), r.static("c2", "two", ""))
	r.await("the end of the stream", func() bool { return connected() == "0" })
	r.reaches("one")
	thaw()
	r.reaches("two")
	r.await("the stream", func() bool { return connected() == "1" })
}
