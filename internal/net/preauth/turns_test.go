package preauth

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/test/selfsigned"
)

// oneTurn has one place for everybody.
func oneTurn() turns {
	q := NewQueue(1, 100)
	return turns{q, q, maxTurn}
}

func (q *Queue) isFree() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.free == q.places
}

// TestWhatStrangersSendTakesTurns: at most as many goroutines as there are places work on
// what strangers have sent, whatever they do with it.
func TestWhatStrangersSendTakesTurns(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := New(Config{Deadline: patience})
	b.turns = oneTurn()
	b.turns.most = patience // however busy the machine is
	l := b.Listen(raw, "test", false)
	const callers, pieces = 8, 20
	contended := make(chan struct{}) // the first works until another one waits
	var now, most atomic.Int64
	var serving, calling sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				one := make([]byte, 1)
				for {
					if _, err := conn.Read(one); err != nil {
						return
					}
					most.Store(max(most.Load(), now.Add(1)))
					<-contended
					now.Add(-1)
				}
			})
		}
	})
	for range callers {
		calling.Go(func() {
			conn, err := net.Dial("tcp", raw.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, strings.Repeat("x", pieces))
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	eventually(t, "somebody to wait for a turn", func() bool { return b.Totals().TurnWaits > 0 })
	close(contended)
	calling.Wait()
	_ = l.Close()
	serving.Wait()
	if most.Load() != 1 {
		t.Errorf("%d goroutines worked at once", most.Load())
	}
	if b.Totals().TurnWaits == 0 {
		t.Error("none had to wait: the test proves nothing")
	}
	if !b.turns.strangers.isFree() {
		t.Error("a place was not given back")
	}
}

// TestHandlersHoldNoPlace: a handler may wait for whatever it likes, before it reads the
// body and in the middle of it, over HTTP/1 and HTTP/2.
func TestHandlersHoldNoPlace(t *testing.T) {
	b := New(Config{Deadline: patience})
	b.turns = oneTurn()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	server := &http.Server{TLSConfig: b.TLS(selfsigned.Server(t)), ConnContext: ConnContext, Handler: b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			_, _ = io.CopyN(io.Discard, r.Body, 10_000) // and not all: net/http reads on after the last byte
		}
		inside <- struct{}{}
		<-leave
	}), refuse)}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(b.Listen(raw, "test", true), "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(leave)
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, path := range []string{"/", "/read"} {
			config := selfsigned.Caller()
			config.NextProtos = []string{protocol}
			transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocol == "h2", DisableKeepAlives: true}
			asking.Go(func() {
				resp, err := (&http.Client{Transport: transport, Timeout: patience}).Post("https://"+raw.Addr().String()+path, "text/plain", strings.NewReader(strings.Repeat("body", 50_000)))
				if err != nil {
					t.Errorf("%s %s: %v", protocol, path, err)
					return
				}
				resp.Body.Close()
			})
			select {
			case <-inside:
			case <-time.After(patience):
				t.Fatalf("%s %s: another handler has the place", protocol, path)
			}
			eventually(t, "the place to be free", b.turns.strangers.isFree)
		}
	}
}

// TestKnownAddressesDoNotWaitForStrangers: strangers that have all places keep nobody
// waiting whose address has lately proved itself.
func TestKnownAddressesDoNotWaitForStrangers(t *testing.T) {
	b := New(Config{Deadline: patience})
	b.turns = newTurns(1)
	address := serve(t, b, nil)
	leave, err := b.turns.strangers.Enter(t.Context(), Key{})
	if err != nil {
		t.Fatal(err)
	}
	known, _ := sourceOfAddr(netip.MustParseAddr("127.0.0.1"))
	b.mu.Lock()
	b.ledger.prove(known, time.Now())
	b.mu.Unlock()
	stranger, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _, _ = ask(stranger, "Who: me\r\n")
	}()
	if status, _, err := ask(dial(t, address), "Who: me\r\n"); status != 200 {
		t.Errorf("a known address is not served: %v", err)
	}
	eventually(t, "the stranger to wait", func() bool { return b.turns.strangers.Waits() > 0 })
	select {
	case <-answered:
		t.Error("the stranger had no place: the test proves nothing")
	default:
	}
	leave()
	<-answered
}

// TestATurnEnds: net/http reads a byte ahead while a handler works, and waits before it closes
// after headers that are too large. Neither keeps a place from others.
func TestATurnEnds(t *testing.T) {
	b := New(Config{Deadline: 2 * patience})
	b.turns = oneTurn()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	server := &http.Server{ConnContext: ConnContext, MaxHeaderBytes: 4 << 10, Handler: b.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-leave
	}), refuse)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(b.Listen(raw, "test", false)) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	defer close(leave)

	ahead := dial(t, raw.Addr().String())
	_, _ = io.WriteString(ahead, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-inside
	other, err := b.turns.strangers.Enter(t.Context(), Key{})
	if err != nil {
		t.Fatal(err)
	}
	waited := b.turns.Waits()
	_, _ = io.WriteString(ahead, "G")
	eventually(t, "the byte ahead to wait for its turn", func() bool { return b.turns.Waits() > waited })
	other() // it has the place now
	eventually(t, "the place to be free while the handler waits", b.turns.strangers.isFree)

	large := dial(t, raw.Addr().String())
	_, _ = io.WriteString(large, "GET / HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("a", 16<<10))
	if resp, err := http.ReadResponse(bufio.NewReader(large), nil); err != nil || resp.StatusCode != 431 {
		t.Fatalf("%v %v", resp, err)
	}
	if !b.turns.strangers.isFree() {
		t.Error("who was answered keeps the place")
	}
}
