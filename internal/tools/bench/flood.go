package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// Budgets of a flood.
const (
	floodMemory = 128e6 // above idle, by the kernel's own peak
	floodFactor = 3     // of what valid callers get beside an equal load of the processor
)

// floodShape is one way to attack every port. attack runs once for each caller, again and
// again, and returns when its connection ended.
type floodShape struct {
	name   string
	attack func(ctx context.Context, p floodPort)
}

func floodShapes() []floodShape {
	return []floodShape{
		{"silent", floodSilent}, {"nearly", floodNearly}, {"expensive", floodExpensive}, {"handshakes", floodHandshakes},
	}
}

// floodPort is one port under attack, and from which address.
type floodPort struct {
	address, from string
	tls           bool
	paths         []string // of requests that are large; none: the port takes no HTTP
}

// flood attacks every port of a global and a zone at once, one shape after the other,
// then one shape with few descriptors, and with attackers at the valid callers' address.
func flood(ctx context.Context, s *scope) error {
	if err := s.floodOnce(ctx, "", 0, "127.0.0.2", floodShapes()); err != nil {
		return err
	}
	for _, limit := range []int{1024, 4096} {
		if err := s.floodOnce(ctx, "/"+strconv.Itoa(limit), limit, "127.0.0.2", floodShapes()[:1]); err != nil {
			return err
		}
	}
	return s.floodOnce(ctx, "/one-address", 0, "127.0.0.1", floodShapes()[:1])
}

// floodOnce starts a global and a zone and attacks them.
func (s *scope) floodOnce(ctx context.Context, suffix string, descriptors int, from string, shapes []floodShape) error {
	return s.apart("flood"+strings.ReplaceAll(suffix, "/", "-"), func(s *scope) error {
		s.descriptors = descriptors
		c, err := s.startCluster(ctx, 1)
		if err != nil {
			return err
		}
		z, err := c.startZone(ctx, "west")
		if err != nil {
			return err
		}
		question, err := c.egressQuestion(ctx)
		if err != nil {
			return err
		}
		if err := z.accepts(ctx, question); err != nil {
			return err
		}
		ports, err := floodPorts(c, z, from)
		if err != nil {
			return err
		}
		span := time.Duration(s.pick(120, 3)) * time.Second
		for _, shape := range shapes {
			if err := s.floodShape(ctx, shape, suffix, span, ports, c, z, question); err != nil {
				return err
			}
		}
		return nil
	})
}

func floodPorts(c *cluster, z *zone, from string) ([]floodPort, error) {
	m := c.members[0]
	zone, err := endpoints.Read(z.dir)
	if err != nil {
		return nil, err
	}
	host := func(url string) string { return strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://") }
	api := []string{"/v1/revocations/bulk"}
	ports := []floodPort{
		{host(zone.DP), from, true, []string{"/bootstrap", "/v1/authenticate/batch", "/envoy.service.auth.v3.Authorization/Check",
			"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"}},
		{host(m.ends.APITLS), from, true, api}, {host(m.ends.API), from, false, api},
		{m.ends.KDS, from, true, []string{"/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck"}},
		{m.ends.Peer, from, true, nil}, {host(m.ends.Diagnostics), from, false, []string{"/ready"}},
		{host(zone.API), from, false, []string{"/tokens/dataplane"}}, {host(zone.Diagnostics), from, false, []string{"/ready"}},
	}
	return slices.DeleteFunc(ports, func(p floodPort) bool { return p.address == "" }), nil
}

// floodShape runs one shape, and the same time beside a load that is not ours.
func (s *scope) floodShape(ctx context.Context, shape floodShape, suffix string, span time.Duration, ports []floodPort, c *cluster, z *zone, q apitypes.AuthenticateRequest) error {
	procs := map[string]int{"global": c.members[0].pid(), "zone": z.pid()}
	idle := map[string]float64{}
	for name, pid := range procs {
		// The kernel forgets its peak; where it may not, the peak is that of the start too.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
		rss, err := statusField(pid, "VmRSS:")
		if err != nil {
			return err
		}
		idle[name] = rss
	}
	load, stop := context.WithTimeout(ctx, span)
	defer stop()
	var attackers sync.WaitGroup
	for _, p := range ports {
		for range s.pick(200, 40) {
			attackers.Go(func() {
				for load.Err() == nil {
					shape.attack(load, p)
				}
			})
		}
	}
	under, err := s.floodCallers(load, z, q)
	stop()
	attackers.Wait()
	if err != nil {
		return fmt.Errorf("valid callers under %s: %w", shape.name, err)
	}
	name := "flood" + suffix + "/" + shape.name
	for _, program := range []string{"global", "zone"} {
		peak, err := statusField(procs[program], "VmHWM:")
		if err != nil {
			return err
		}
		if err := s.report.add(measured(name+"/"+program+"-memory", max(0, peak-idle[program])/1e6, "MB above idle").within(floodMemory / 1e6)); err != nil {
			return err
		}
	}
	beside, rest := context.WithTimeout(ctx, span/2)
	defer rest()
	var busy sync.WaitGroup
	for range runtime.NumCPU() {
		busy.Go(func() {
			for n := 0; beside.Err() == nil; n++ {
			}
		})
	}
	alone, err := s.floodCallers(beside, z, q)
	rest()
	busy.Wait()
	if err != nil {
		return err
	}
	m := measured(name+"/valid-p99", under.Seconds()*1000, "ms").beside(alone.Seconds() * 1000)
	if !s.quick {
		m = m.times(floodFactor)
	}
	return s.report.add(m)
}

// floodCallers has a valid caller connect anew and ask, again and again until ctx ends,
// and returns the 99th percentile. A caller that is not served fails the row.
func (s *scope) floodCallers(ctx context.Context, z *zone, q apitypes.AuthenticateRequest) (time.Duration, error) {
	ends, err := endpoints.Read(z.dir)
	if err != nil {
		return 0, err
	}
	roots, err := tlsutil.LoadPool(ends.CAFile)
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: tlsutil.Client(roots), DisableKeepAlives: true}}
	url := "https://" + strings.TrimPrefix(ends.DP, "https://") + "/v1/authenticate"
	var took []time.Duration
	for ctx.Err() == nil {
		begun := time.Now()
		resp, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			return 0, fmt.Errorf("a valid caller was not served after %s: %w", time.Since(begun), err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("a valid caller was answered %s", resp.Status)
		}
		took = append(took, time.Since(begun))
		wait(ctx, 20*time.Millisecond)
	}
	if len(took) == 0 {
		return 0, errors.New("no valid caller was measured")
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}

// dial opens a connection from the attackers' address.
func (p floodPort) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.from)}, Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", p.address)
}

// untilClosed holds a connection until the server or ctx ends it.
func untilClosed(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, _ = io.Copy(io.Discard, conn)
}

func floodSilent(ctx context.Context, p floodPort) {
	if conn, err := p.dial(ctx); err == nil {
		defer conn.Close()
		untilClosed(ctx, conn)
	}
}

func floodHandshakes(ctx context.Context, p floodPort) {
	conn, err := p.dial(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	if p.tls {
		_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).HandshakeContext(ctx)
	}
}

// floodNearly sends requests that lack one byte.
func floodNearly(ctx context.Context, p floodPort) {
	p.post(ctx, func(path string) (io.Reader, int64) {
		const size = 1<<20 - 64
		head := []byte(nil)
		if strings.Contains(path, ".") { // gRPC: a flag and the length
			head = []byte{0, 0, byte(size >> 16), byte(size >> 8 & 0xff), byte(size & 0xff)}
		}
		return io.MultiReader(strings.NewReader(string(head)), io.LimitReader(letters{}, size-1), stalled{ctx}), -1
	})
}

// floodExpensive sends what is small on the wire and costly to read.
func floodExpensive(ctx context.Context, p floodPort) {
	p.post(ctx, func(path string) (io.Reader, int64) {
		var body string
		switch path {
		case "/bootstrap":
			body = "dynamicMetadata:\n"
			var lines strings.Builder
			for i := range 90_000 {
				fmt.Fprintf(&lines, "  k%d: v\n", i)
			}
			body += lines.String()
		default:
			body = `{"requests":[` + strings.Repeat("{},", 300_000) + `{}]}`
		}
		return strings.NewReader(body), int64(len(body))
	})
}

// post sends requests to every path of the port at once over one HTTP/2 connection, or
// one that is plain.
func (p floodPort) post(ctx context.Context, body func(path string) (io.Reader, int64)) {
	if len(p.paths) == 0 {
		floodSilent(ctx, p)
		return
	}
	scheme := "http://"
	transport := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	if p.tls {
		scheme = "https://"
	}
	var calls sync.WaitGroup
	for _, path := range p.paths {
		calls.Go(func() {
			content, size := body(path)
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+p.address+path, content)
			if err != nil {
				return
			}
			if size >= 0 {
				r.ContentLength = size
			}
			if strings.Contains(path, ".") {
				r.Header.Set("Content-Type", "application/grpc")
				r.Header.Set("TE", "trailers")
			}
			if resp, err := transport.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	calls.Wait()
}

// letters is endless text.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// stalled never has anything to read.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, io.EOF
}
