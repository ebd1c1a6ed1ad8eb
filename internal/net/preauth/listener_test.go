package preauth

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/selfsigned"

	"github.com/meridiankds/meridian/internal/test/loopback"
)

// patience is for machines that pause anything for seconds.
const patience = time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) { // between two looks
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// serve runs an HTTP server on a budget until the test ends. A request with a header
// "Who" has proved that it is that user.
func serve(t *testing.T, b *Budget, config *tls.Config) (address string) {
	t.Helper()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Stream") != "" {
			RequestFrom(r.Context()).Stream()
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if who := r.Header.Get("Who"); who != "" {
			if err := Proved(r.Context(), Identity{Kind: User, Name: who}); err != nil {
				w.Header().Set("Connection", "close")
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = io.WriteString(w, r.RemoteAddr)
	})
	server := &http.Server{Handler: b.Handler(handler, refuse), TLSConfig: b.TLS(config), ConnContext: ConnContext, ReadHeaderTimeout: patience, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	l := b.Listen(raw, "test", config != nil)
	go func() {
		if config != nil {
			done <- server.ServeTLS(l, "", "")
			return
		}
		done <- server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return raw.Addr().String()
}

func refuse(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// ask sends a request and returns the status and body of its answer.
func ask(conn net.Conn, headers string) (int, string, error) {
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n"); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return resp.StatusCode, string(text), err
}

// TestTheDeadline: who proves nothing is cut off, who does is not, and a complete
// public request begins the time anew.
func TestTheDeadline(t *testing.T) {
	for _, config := range []*tls.Config{nil, selfsigned.Server(t)} {
		b := New(Config{Deadline: 200 * time.Millisecond})
		address := serve(t, b, config)
		open := func() net.Conn {
			if config == nil {
				return dial(t, address)
			}
			return tls.Client(dial(t, address), selfsigned.Caller())
		}
		var good net.Conn
		eventually(t, "somebody to prove who they are in time", func() bool { // which a busy machine may take a few attempts for
			good = open()
			status, _, err := ask(good, "Who: me\r\n")
			return status == 200 && err == nil
		})
		silent, half, public := dial(t, address), open(), open()
		_, _ = io.WriteString(half, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
		_, _, _ = ask(public, "")
		for name, conn := range map[string]net.Conn{"silent": silent, "half a request": half, "public": public} {
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection stays open", name)
			}
		}
		if status, _, err := ask(good, "Who: me\r\n"); status != 200 || err != nil {
			t.Errorf("who has proved who they are was cut off: %d %v", status, err)
		}
		eventually(t, "the budget to be free", func() bool { s := b.Stats()["test"]; return s.Connections == 0 && s.Bytes == 0 && s.Late >= 3 })
	}
}

// TestAFloodIsBounded: whatever a flood sends, what is held of it stays within the
// budget, and who comes to prove themselves is served.
func TestAFloodIsBounded(t *testing.T) {
	const bytes = 4 << 20
	for name, send := range map[string]string{
		"silent":          "",
		"half a header":   "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 8<<10),
		"nearly complete": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\n\r\n" + strings.Repeat("b", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			b := New(Config{Bytes: bytes, Deadline: patience})
			address := serve(t, b, nil)
			kept := dial(t, address)
			if status, _, err := ask(kept, "Who: me\r\n"); status != 200 {
				t.Fatal(err)
			}
			var most int64
			for range 300 {
				conn := dial(t, address)
				_, _ = io.WriteString(conn, send)
				if held := b.Stats()["test"].Bytes; held > most {
					most = held
				}
			}
			if most > bytes {
				t.Errorf("%d bytes were held, the budget is %d", most, bytes)
			}
			eventually(t, "somebody to be evicted", func() bool { return b.Stats()["test"].Evicted > 0 })
			cost := int64(len(send)) + costConnection
			read := costConnection + headerFactor*int64(len(send)) // what a connection is charged once all is read
			if head, body, complete := strings.Cut(send, "\r\n\r\n"); complete {
				cost += costRequest
				read = costConnection + int64(len(head)) + bodyFactor*int64(len(body))
			}
			last := dial(t, address)
			_, _, _ = ask(last, "") // whatever becomes of it: those before it have been let in by then
			last.Close()
			eventually(t, "what is held to fit, once all that was sent is read", func() bool {
				s := b.Stats()["test"]
				return s.Connections*cost <= bytes && s.Bytes >= s.Connections*read
			})
			if status, _, err := ask(kept, "Who: me\r\n"); status != 200 {
				t.Errorf("who was connected is not served any more: %v", err)
			}
			if status, _, err := ask(dial(t, address), "Who: me\r\n"); status != 200 {
				t.Errorf("who comes to prove themselves is not served: %v", err)
			}
		})
	}
}

// TestHandshakesTakeTurns: at most as many as there are places have the processor, in each
// of their flights, and all of them come through.
func TestHandshakesTakeTurns(t *testing.T) {
	for name, change := range map[string]func(server, client *tls.Config){
		"one hello": func(_, _ *tls.Config) {},
		// The server takes a group of which the client has sent no share.
		"a second hello": func(server, _ *tls.Config) { server.CurvePreferences = []tls.CurveID{tls.CurveP256} },
		"certificates of clients": func(server, client *tls.Config) {
			server.ClientAuth, client.Certificates = tls.RequireAnyClientCert, selfsigned.Server(t).Certificates
		},
		"TLS 1.2": func(server, client *tls.Config) {
			server.ClientAuth, client.Certificates = tls.RequireAnyClientCert, selfsigned.Server(t).Certificates
			client.MaxVersion = tls.VersionTLS12
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			now, most := 0, 0
			work := func() {
				mu.Lock()
				if now++; now > most {
					most = now
				}
				mu.Unlock()
				time.Sleep(time.Millisecond) // as a handshake takes time; nothing waits for it
				mu.Lock()
				now--
				mu.Unlock()
			}
			config := selfsigned.Server(t)
			shown := config.Certificates[0]
			config.Certificates = nil
			config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { work(); return &shown, nil }
			config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { work(); return nil }
			client := selfsigned.Caller()
			change(config, client)
			b := New(Config{Deadline: time.Minute}) // which is not what is tried
			b.turns = oneTurn()
			address := serve(t, b, config)
			var clients sync.WaitGroup
			for range 20 {
				clients.Go(func() {
					conn, err := tls.Dial("tcp", address, client)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					if status, _, err := ask(conn, "Who: me\r\n"); status != 200 {
						t.Error(err)
					}
				})
			}
			clients.Wait()
			if most != 1 {
				t.Errorf("%d handshakes at once had the processor", most)
			}
			if b.Totals().TurnWaits == 0 {
				t.Error("none had to wait: the test proves nothing")
			}
			eventually(t, "the place to be free", b.turns.strangers.isFree)
		})
	}
}

// TestEverybodyAtOnce: many more callers than there is room for come at the same time, as
// zones do when a member is back, of one address and of many. Whoever is turned away comes
// again, and all are served: hardly any handshake is cut that has cost processor time.
func TestEverybodyAtOnce(t *testing.T) {
	const callers, room = 150, 25
	for name, from := range map[string]func(i int) net.IP{
		"one address":    func(int) net.IP { return net.IPv4(127, 0, 0, 1) },
		"many addresses": func(i int) net.IP { return net.IPv4(127, 0, byte(i>>6), byte(1+i&63)) },
	} {
		t.Run(name, func(t *testing.T) {
			config := selfsigned.Server(t)
			shown := config.Certificates[0]
			config.Certificates = nil
			var handshakes atomic.Int64
			config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { handshakes.Add(1); return &shown, nil }
			// On a clock that stands still whoever was answered was answered just now,
			// however busy this machine is.
			now := time.Now()
			b := New(Config{Bytes: room * (costConnection + 4<<10), Descriptors: 1 << 20, Deadline: 2 * patience, Now: func() time.Time { return now }})
			address := serve(t, b, config)
			come := func(i int) bool {
				dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from(i)}}
				raw, err := dialer.Dial("tcp", address)
				if err != nil {
					return false
				}
				defer raw.Close()
				_ = raw.SetDeadline(time.Now().Add(patience))
				conn := tls.Client(raw, selfsigned.Caller())
				status, _, err := ask(conn, fmt.Sprintf("Who: zone %d\r\n", i))
				return err == nil && status == 200
			}
			var clients sync.WaitGroup
			for i := range callers {
				clients.Go(func() {
					for end := time.Now().Add(patience); !come(i); time.Sleep(20 * time.Millisecond) { // as a client waits before it comes again
						if time.Now().After(end) {
							t.Errorf("caller %d is never served", i)
							return
						}
					}
				})
			}
			clients.Wait()
			s := b.Stats()["test"]
			t.Logf("%d handshakes for %d callers: %+v", handshakes.Load(), callers, s)
			if cut := handshakes.Load() - callers; cut > callers/2 {
				t.Errorf("%d handshakes were cut", cut)
			}
			if s.Evicted+s.Refused+s.Waits == 0 {
				t.Error("there was room for all: the test proves nothing")
			}
		})
	}
}

// TestNoPlaceWhileTheCallerWaits: who leaves a handshake half done has no place.
func TestNoPlaceWhileTheCallerWaits(t *testing.T) {
	b := New(Config{Deadline: time.Hour})
	b.turns = oneTurn()
	config := selfsigned.Server(t)
	config.CurvePreferences = []tls.CurveID{tls.CurveP256}
	address := serve(t, b, config)
	var halves sync.WaitGroup
	t.Cleanup(halves.Wait)                // after the connections are closed, which ends them
	for _, bytes := range []int{1, 100} { // of what follows the first hello
		conn := dial(t, address)
		stop := &stopping{Conn: conn, after: bytes}
		halves.Go(func() { _ = tls.Client(stop, selfsigned.Caller()).Handshake() })
		eventually(t, "the handshake to be half done", func() bool { return stop.stopped.Load() })
	}
	conn, err := tls.Dial("tcp", address, selfsigned.Caller())
	if err != nil {
		t.Fatalf("another handshake: %v", err)
	}
	defer conn.Close()
	if status, _, err := ask(conn, "Who: me\r\n"); status != 200 {
		t.Error(err)
	}
}

// stopping sends the first flight, and of the rest so many bytes.
type stopping struct {
	net.Conn
	flights, after int
	stopped        atomic.Bool
}

func (s *stopping) Write(p []byte) (int, error) {
	if s.flights++; s.flights > 1 {
		n := min(s.after, len(p))
		s.after -= n
		_, err := s.Conn.Write(p[:n])
		s.stopped.Store(true)
		return len(p), err
	}
	return s.Conn.Write(p)
}

// TestProxyProtocol: a named balancer is believed, nobody else is, and a named one that
// says nothing is not taken for its caller.
func TestProxyProtocol(t *testing.T) {
	header := func(version byte) string {
		h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.ParseIP("203.0.113.7"), Port: 4711}, &net.TCPAddr{IP: net.ParseIP("127.0.0.1"), Port: 1})
		text, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	named, others := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, tc := range map[string]struct {
		from   []netip.Prefix
		header string
		remote string // "": cut off
	}{
		"version 1":           {named, header(1), "203.0.113.7:4711"},
		"version 2":           {named, header(2), "203.0.113.7:4711"},
		"none from a named":   {named, "", ""},
		"endless":             {named, "PROXY TCP4 " + strings.Repeat("1", 1000), ""},
		"from nobody's":       {others, header(1), ""},
		"nobody's, none sent": {others, "", "127.0.0.1:"},
	} {
		b := New(Config{Proxies: tc.from})
		conn := dial(t, serve(t, b, nil))
		_, _ = io.WriteString(conn, tc.header)
		status, text, err := ask(conn, "Who: me\r\n")
		if tc.remote == "" && (status == 200 || err == nil && status != 400) || tc.remote != "" && !strings.HasPrefix(text, tc.remote) {
			t.Errorf("%s: %d %q %v", name, status, text, err)
		}
		if lately := b.ledger.lately(netip.MustParsePrefix("203.0.113.7/32"), time.Now()); lately != (tc.remote == "203.0.113.7:4711") {
			t.Errorf("%s: the caller behind it has proved itself: %v", name, lately)
		}
	}
}

// TestClosingWaitsForNobody: a listener that closes takes with it who was silent.
func TestClosingWaitsForNobody(t *testing.T) {
	b := New(Config{Deadline: time.Hour})
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := b.Listen(raw, "test", false)
	silent := dial(t, raw.Addr().String())
	if _, err := loopback.AcceptFrom(l, silent.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the silent connection: %v", err)
	}
	eventually(t, "the budget to be free", func() bool { s := b.Stats()["test"]; return s.Connections == 0 && s.Bytes == 0 })
}

// heldListener has connections that write nothing before they may.
type heldListener struct {
	net.Listener
	writes chan struct{} // one for each write that began
	may    chan struct{}
}

func (l *heldListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &heldConn{conn, l}, err
}

type heldConn struct {
	net.Conn
	of *heldListener
}

func (c *heldConn) Write(p []byte) (int, error) {
	c.of.writes <- struct{}{}
	<-c.of.may
	return c.Conn.Write(p)
}

// TestClosingCutsNoAnswer: a request is over for the budget before its answer is written.
// A listener that closes in between leaves the connection to the server.
func TestClosingCutsNoAnswer(t *testing.T) {
	b := New(Config{})
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := &heldListener{Listener: raw, writes: make(chan struct{}, 1), may: make(chan struct{})}
	l := b.Listen(held, "test", false)
	server := &http.Server{
		Handler:     b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") }), refuse),
		ConnContext: ConnContext, ReadHeaderTimeout: patience,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn := dial(t, raw.Addr().String())
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-held.writes // the handler has returned
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b.closeUnasked(b.port("test")) // what Close does a moment later
	close(held.may)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the answer was cut off: %v", err)
	}
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "done" {
		t.Errorf("answered %q, %v", text, err)
	}
	resp.Body.Close()
	_ = server.Close()
	<-served
}

// TestQuotas: an identity holds as many connections as it may, by any address; what a
// policy of none admits is shared by address.
func TestQuotas(t *testing.T) {
	b := New(Config{})
	address := serve(t, b, nil)
	for i := range quotas[User].connections {
		if status, _, err := ask(dial(t, address), "Who: me\r\n"); status != 200 {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if status, text, _ := ask(dial(t, address), "Who: me\r\n"); status != 503 || !strings.Contains(text, "as many as it may") {
		t.Errorf("one more: %d %s", status, text)
	}
	if status, _, err := ask(dial(t, address), "Who: another\r\n"); status != 200 {
		t.Errorf("another user: %v", err)
	}
	if b.Totals().OverQuota == 0 || b.Totals().Authenticated != quotas[User].connections+1 {
		t.Errorf("%+v", b.Totals())
	}

	h := newHoldings(10_000)
	none := Identity{Kind: Zone, Name: "west", Unproven: true}
	join := func(addr string) (evicted *Conn, err error) {
		s := from(t, addr)
		_, evicted, err = h.join(none, &Conn{source: s}, s)
		return evicted, err
	}
	for range quotas[Zone].connections {
		if _, err := join("192.0.2.66"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := join("192.0.2.66"); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("one more of the address that has all: %v", err)
	}
	for i := range quotas[Zone].connections/2 - 1 {
		if evicted, err := join("192.0.2.1"); err != nil || evicted == nil || evicted.source != from(t, "192.0.2.66") {
			t.Fatalf("connection %d of another address: %v, evicted %v", i, err, evicted)
		}
	}
}

// TestWhoseTurnItIs: callers who are known wait in turn by name, wherever they come from;
// others by address.
func TestWhoseTurnItIs(t *testing.T) {
	b := New(Config{})
	at := from(t, "192.0.2.1")
	key := func(id Identity) Key {
		o, _, err := b.held.join(id, &Conn{}, at)
		if err != nil {
			t.Fatal(err)
		}
		return (&Conn{budget: b, source: at, holder: o}).Key()
	}
	nobody := (&Conn{budget: b, source: at}).Key()
	one, another := key(Identity{Kind: Proxy, Name: "a"}), key(Identity{Kind: Proxy, Name: "b"})
	said := key(Identity{Kind: Proxy, Name: "a", Shared: "token 1"})
	more := key(Identity{Kind: Proxy, Name: "c", Shared: "token 1"})
	if nobody != KeyOf(at) || key(Identity{Kind: Proxy, Name: "none", Unproven: true}) != nobody {
		t.Errorf("who is nobody waits as %v", nobody)
	}
	if one == nobody || one.Wide == another.Wide || said == one || said.Wide != more.Wide || said.Unit == more.Unit {
		t.Errorf("%v, %v, %v, %v", one, another, said, more)
	}
}

// TestLargeBodies: what is kept of a caller's bodies is bounded, and what is passed on as
// it comes counts against nothing.
func TestLargeBodies(t *testing.T) {
	b := New(Config{})
	address := serve(t, b, nil)
	for stream, want := range map[string]int{"": 503, "Stream: yes\r\n": 200} {
		conn := dial(t, address)
		if status, _, err := ask(conn, "Who: me\r\n"); status != 200 {
			t.Fatal(err)
		}
		size := quotas[User].bytes + 1<<20
		go func() { // the server may cut it off
			_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n", size, stream)
			_, _ = io.CopyN(conn, endless{}, size)
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %v, %v, want %d", stream, resp, err, want)
		}
	}
	eventually(t, "everything to be given back", func() bool {
		b.held.mu.Lock()
		defer b.held.mu.Unlock()
		for _, o := range b.held.holders {
			if o.bytes != 0 {
				return false
			}
		}
		return true
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestBytesOfAnIdentity(t *testing.T) {
	h := newHoldings(10)
	o, _, err := h.join(Identity{Kind: Proxy, Name: "a"}, &Conn{}, Source{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.grow(o, quotas[Proxy].bytes); err != nil {
		t.Fatal(err)
	}
	if err := h.grow(o, 1); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("one byte more: %v", err)
	}
	_ = h.grow(o, -quotas[Proxy].bytes)
	if err := h.grow(o, 1); err != nil {
		t.Error(err)
	}
	for i := range 20 {
		_, _, err := h.join(Identity{Kind: Proxy, Name: fmt.Sprint(i)}, &Conn{}, Source{})
		if (err != nil) != (i >= 9) {
			t.Errorf("connection %d of the process: %v", i, err)
		}
	}
	if _, _, err := h.join(Identity{Kind: Node, Name: "n2"}, &Conn{}, Source{}); err != nil {
		t.Errorf("a member of the cluster: %v", err)
	}
}

// TestATokenThatNamesNobody: who says another one's name takes nothing of that one's
// quota, and saying many names gets nobody more than the token's.
func TestATokenThatNamesNobody(t *testing.T) {
	const most = 1000
	h := newHoldings(most)
	named := Identity{Kind: Proxy, Name: "dataplane default/a"}
	joined := 0
	for i := range most {
		said := Identity{Kind: Proxy, Name: fmt.Sprintf("dataplane default/%d by token 1", i/100), Shared: "token 1"}
		o, _, err := h.join(said, &Conn{}, Source{})
		if err != nil {
			continue
		}
		joined++
		if err := h.grow(o, quotas[Token].bytes/most); err != nil {
			t.Fatal(err)
		}
	}
	if joined != most-most/4 {
		t.Errorf("one token holds %d of %d connections", joined, most)
	}
	for i := range quotas[Proxy].connections {
		if _, _, err := h.join(named, &Conn{}, Source{}); (err != nil) != (i >= most/4) {
			t.Fatalf("connection %d of who is named: %v", i, err)
		}
	}

	h = newHoldings(most)
	var all []*holder
	for i := range quotas[Token].bytes/quotas[Proxy].bytes + 1 {
		o, _, err := h.join(Identity{Kind: Proxy, Name: fmt.Sprint(i), Shared: "token 1"}, &Conn{}, Source{})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.grow(o, quotas[Proxy].bytes); (err != nil) != (i == quotas[Token].bytes/quotas[Proxy].bytes) {
			t.Errorf("the bytes of name %d: %v", i, err)
		}
		all = append(all, o)
	}
	for _, o := range all {
		_ = h.grow(o, -o.bytes)
		for c := range o.conns {
			h.leave(o, c)
		}
	}
	if len(h.holders) != 0 || h.total != 0 {
		t.Errorf("%d holders are left, %d connections", len(h.holders), h.total)
	}
}

func TestFit(t *testing.T) {
	for limit, want := range map[int]Fit{
		1024:    {Unauthenticated: 208, Waiting: 104, Authenticated: 520, Reserved: 192},
		4096:    {Unauthenticated: 976, Waiting: 488, Authenticated: 2440, Reserved: 192},
		1 << 20: {Unauthenticated: 4096, Waiting: 2048, Authenticated: 1<<20 - 192 - 4096 - 2048, Reserved: 192},
		64:      {Unauthenticated: 8, Waiting: 4, Authenticated: 20, Reserved: 32},
	} {
		if got := fitTo(limit); got != want {
			t.Errorf("%d: %+v, want %+v", limit, got, want)
		}
	}
}

func TestParseProxies(t *testing.T) {
	got, err := ParseProxies("--x", []string{"192.0.2.1/24", "192.0.2.7", "2001:db8::1"})
	if err != nil || fmt.Sprint(got) != "[192.0.2.0/24 192.0.2.7/32 2001:db8::1/128]" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "host", "192.0.2.0/33", "192.0.2.1:80"} {
		if _, err := ParseProxies("--x", []string{bad}); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestRequestsThatProveAtOnce: the first requests of one connection may prove whose it is
// at the same time. It counts once, and its place is free when it is closed.
func TestRequestsThatProveAtOnce(t *testing.T) {
	b := New(Config{})
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := b.Listen(raw, "proxies", false)
	defer l.Close()
	for range 1000 {
		out, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in, err := loopback.AcceptFrom(l, out.LocalAddr())
		if err != nil {
			t.Fatal(err)
		}
		var requests sync.WaitGroup
		for range 4 {
			requests.Go(func() {
				if err := Of(in).Proved(Identity{Kind: Proxy, Name: "dataplane default/backend-1"}); err != nil {
					t.Error(err)
				}
			})
		}
		requests.Wait()
		if n := b.Totals().Authenticated; n != 1 {
			t.Fatalf("one connection counts %d times", n)
		}
		in.Close()
		out.Close()
	}
	if n := b.Totals().Authenticated; n != 0 {
		t.Errorf("%d connections are counted when all are closed", n)
	}
}

// TestASilentBalancer: a connection from a balancer that never sends its header ends with
// the deadline, also while somebody asks for the caller's address.
func TestASilentBalancer(t *testing.T) {
	b := New(Config{Deadline: 50 * time.Millisecond, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := b.Listen(raw, "proxies", false)
	defer l.Close()
	out, err := net.Dial("tcp", raw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := loopback.AcceptFrom(l, out.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_ = in.RemoteAddr()
	}()
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Error("the balancer was sent something")
	}
	<-asked
}
