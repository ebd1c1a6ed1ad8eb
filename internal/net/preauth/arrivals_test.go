package preauth

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// gate is a listener of a budget and what a test does to it.
type gate struct {
	t *testing.T
	b *Budget
	net.Listener
	address string
}

func newGate(t *testing.T, cfg Config) *gate {
	t.Helper()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Deadline = patience
	b := New(cfg)
	g := &gate{t, b, b.Listen(raw, "test", false), raw.Addr().String()}
	t.Cleanup(func() { _ = g.Close() })
	g.dial("127.0.0.1")
	g.accept() // from now on connections are gathered
	return g
}

// dial connects from an address.
func (g *gate) dial(from string) net.Conn {
	g.t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// accept is the remote address of whom the listener lets in next.
func (g *gate) accept() netip.AddrPort {
	g.t.Helper()
	conn, err := g.Accept()
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort()
}

// serve lets in until the test ends whom the listener lets in, and tells each of them to the
// functions. It returns who was let in of those who connected.
func (g *gate) serve(each ...func(*Conn)) (in func(caller net.Conn) *Conn) {
	var mu sync.Mutex
	all := map[string]*Conn{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := g.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			for _, f := range each {
				f(conn.(*Conn))
			}
			mu.Lock()
			all[conn.RemoteAddr().String()] = conn.(*Conn)
			mu.Unlock()
		}
	}()
	g.t.Cleanup(func() { _ = g.Close(); <-done })
	return func(caller net.Conn) *Conn {
		mu.Lock()
		defer mu.Unlock()
		return all[caller.LocalAddr().String()]
	}
}

func (g *gate) waiting() int {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	return g.b.waiting
}

func (g *gate) proved(addr string) {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	g.b.ledger.prove(from(g.t, addr), time.Now())
}

// TestArrivalsAreLetInInTurn: who connected before keeps another address waiting for one
// turn, and one that has lately proved itself not even for that, whatever is in the
// system's queue before them.
func TestArrivalsAreLetInInTurn(t *testing.T) {
	g := newGate(t, Config{Descriptors: 1 << 20})
	g.proved("127.0.0.4")
	const flood = 50
	for range flood {
		g.dial("127.0.0.2")
	}
	g.dial("127.0.0.3")
	g.dial("127.0.0.4")
	eventually(t, "all to be in line", func() bool { return g.waiting() == flood+2 })
	first := map[string]int{}
	for range 4 {
		first[g.accept().Addr().String()]++
	}
	if first["127.0.0.3"] != 1 || first["127.0.0.4"] != 1 {
		t.Errorf("the first four are %v", first)
	}
	for range flood - 2 {
		if from := g.accept().Addr().String(); from != "127.0.0.2" {
			t.Errorf("and then %s", from)
		}
	}
}

// TestTheNewestOfAnAddressIsFirst: of those who share an address, who has just come does not
// wait for all who came before.
func TestTheNewestOfAnAddressIsFirst(t *testing.T) {
	g := newGate(t, Config{Descriptors: 1 << 20})
	for range 20 {
		g.dial("127.0.0.2")
	}
	last := g.dial("127.0.0.2").LocalAddr().(*net.TCPAddr).AddrPort()
	eventually(t, "all to be in line", func() bool { return g.waiting() == 21 })
	if next := g.accept(); next != last {
		t.Errorf("%v was let in before %v", next, last)
	}
}

// TestWhoCameBeforeTakesNoPlace: whoever came after a flood from its own address is let in
// before it, and stays while all who came before are let in.
func TestWhoCameBeforeTakesNoPlace(t *testing.T) {
	const room, flood = 8, 60
	g := newGate(t, Config{Descriptors: 1 << 20, Bytes: room * costConnection})
	for range flood {
		g.dial("127.0.0.1")
	}
	last := g.dial("127.0.0.1")
	eventually(t, "all to be in line", func() bool { return g.waiting() == flood+1 })
	in := g.serve()
	eventually(t, "the rest to be let in", func() bool { return g.waiting() == 0 && g.b.Stats()["test"].Evicted == flood+2-room })
	if conn := in(last); conn == nil || conn.ctx.Err() != nil {
		t.Error("who came last is out")
	}
}

// TestArrivalsAreBounded: what waits fits the descriptors. Whoever has most waiting gives
// way, and nobody else; a network that is alone is left in the system's queue.
func TestArrivalsAreBounded(t *testing.T) {
	const descriptors, flood = 64, 40
	most := fitTo(descriptors).Waiting
	for name, others := range map[string]bool{"alone": false, "beside others": true} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, Config{Descriptors: descriptors})
			from := "127.0.0.1" // as who is let in already
			var quiet net.Conn
			if others {
				from = "127.0.0.2"
				quiet = g.dial("127.0.0.3")
			}
			for range flood {
				g.dial(from)
				if n := g.waiting(); n > most {
					t.Fatalf("%d wait, at most %d may", n, most)
				}
			}
			eventually(t, "all places to be taken", func() bool { return g.waiting() == most })
			if !others {
				for range flood {
					g.accept()
				}
				if s := g.b.Stats()["test"]; s.Refused > 0 || s.Waits == 0 {
					t.Errorf("%+v", s)
				}
				return
			}
			eventually(t, "the rest to be refused", func() bool { return g.b.Stats()["test"].Refused == uint64(flood+1-most) })
			for seen := false; !seen; {
				seen = g.accept() == quiet.LocalAddr().(*net.TCPAddr).AddrPort()
			}
		})
	}
}

// TestWhoIsKnownGivesWayLast: where strangers wait, nobody whose address has lately proved
// itself gives way.
func TestWhoIsKnownGivesWayLast(t *testing.T) {
	const descriptors = 64
	most := fitTo(descriptors).Waiting
	g := newGate(t, Config{Descriptors: descriptors})
	g.proved("127.0.0.4")
	for range most - 1 {
		g.dial("127.0.0.4")
	}
	g.dial("127.0.0.2")
	eventually(t, "all places to be taken", func() bool { return g.waiting() == most })
	for i := range 10 {
		g.dial("127.0.0.3")
		eventually(t, "one to be refused", func() bool { return g.b.Stats()["test"].Refused == uint64(i+1) })
	}
	known := 0
	for range most {
		if g.accept().Addr().String() == "127.0.0.4" {
			known++
		}
	}
	if known != most-1 {
		t.Errorf("%d of %d are left whose address has lately proved itself", known, most-1)
	}
}

// TestAllWhoAreRefusedLeave at once, however many they are: nobody may come after them who
// would have the listener look again.
func TestAllWhoAreRefusedLeave(t *testing.T) {
	now := time.Now()
	g := newGate(t, Config{Descriptors: 1 << 20, Bytes: 8 * costConnection, Now: func() time.Time { return now }})
	g.b.mu.Lock()
	g.b.ledger.prove(from(t, "192.0.2.1"), now) // so that the flood is not alone
	g.b.mu.Unlock()
	g.serve(func(c *Conn) {
		g.b.mu.Lock()
		defer g.b.mu.Unlock()
		c.entry.working = true // nobody takes its place
	})
	const flood = 60
	g.b.mu.Lock() // until all are in the system's queue
	for range flood {
		g.dial("127.0.0.2")
	}
	g.b.mu.Unlock()
	eventually(t, "each to be let in or refused", func() bool {
		s := g.b.Stats()["test"]
		return g.waiting() == 0 && s.Refused > 0 && s.Connections+int64(s.Refused)+int64(s.Evicted) == flood+1
	})
}

// TestClosingDropsWhoWaits: a port that is closed leaves nobody in line.
func TestClosingDropsWhoWaits(t *testing.T) {
	g := newGate(t, Config{})
	waits := g.dial("127.0.0.2")
	eventually(t, "it to be in line", func() bool { return g.waiting() == 1 })
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, waits); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("it stays open")
	}
	if _, err := g.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that is closed: %v", err)
	}
	if g.waiting() != 0 {
		t.Errorf("%d wait", g.waiting())
	}
}
