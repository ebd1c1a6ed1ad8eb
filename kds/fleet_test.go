package kds_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/kds/wire"
)

// TestManyZones sends one revocation to 200 zones: it is encoded once.
func TestManyZones(t *testing.T) {
	const n = 200
	m := start(t, nil)
	zones := make([]*zone, n)
	for i := range zones {
		zones[i] = join(t, fmt.Sprintf("zone-%d", i), nil, m.addr)
	}
	all := func() bool {
		_, head := m.source.Head()
		for _, z := range zones {
			if !z.sink.Holds(head) {
				return false
			}
		}
		return true
	}
	acknowledged := func() bool {
		_, head := m.source.Head()
		for _, s := range m.Sessions() {
			if s.Acked != head || !s.Full {
				return false
			}
		}
		return len(m.Sessions()) == n
	}
	kdstest.Eventually(t, "everybody has full state", all)
	kdstest.Eventually(t, "everybody has acknowledged", acknowledged) // what was sent is counted by then
	before, calls := m.Stats(), m.source.SinceCalls()
	if before.Batches > 3 {
		t.Errorf("%d sets were marshalled for %d zones with the same state", before.Batches, n)
	}
	m.source.Add("one more")
	kdstest.Eventually(t, "everybody has the delta", all)
	kdstest.Eventually(t, "everybody has acknowledged", acknowledged)
	after := m.Stats()
	if after.Batches != before.Batches+1 || m.source.SinceCalls() != calls+1 {
		t.Errorf("one change was marshalled %d times, the source asked %d times", after.Batches-before.Batches, m.source.SinceCalls()-calls)
	}
	if per := (after.SentBytes - before.SentBytes) / n; after.Sent-before.Sent != n || per > 300 {
		t.Errorf("one change took %d messages of %d bytes", after.Sent-before.Sent, per)
	}
}

// TestChangesGather: a zone that is busy applying is not sent every change on its
// own, but what gathered meanwhile.
func TestChangesGather(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	entered, release := make(chan struct{}, 1000), make(chan struct{})
	join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return sink.Holds(kdstest.Revision(1, 1)) })
	kdstest.Eventually(t, "its acknowledgement", func() bool { return m.session(t, "west").Full })
	sink.SetHook(func(cptoken.Part) error { entered <- struct{}{}; <-release; return nil })
	m.source.Add("the first")
	<-entered
	for i := range 100 {
		m.source.Add(fmt.Sprint("burst-", i))
	}
	close(release)
	kdstest.Eventually(t, "all of it", func() bool { return sink.Holds(kdstest.Revision(1, 102)) })
	if n := len(sink.Applied()); n > 10 {
		t.Errorf("102 changes came in %d sets", n)
	}
}

// TestSlowZoneIsDisconnected: a zone that does not read loses its connection, and
// nobody else notices.
func TestSlowZoneIsDisconnected(t *testing.T) {
	m := start(t, func(c *server.Config) { c.Limits.Send = time.Second })
	for i := range 60 {
		m.source.Add(strings.Repeat(fmt.Sprint(i%10), 100))
	}
	big := make([]string, kds.MaxRun)
	for i := range big {
		big[i] = fmt.Sprintf("%0100d", i)
	}
	for range 10 { // 2 MB of full state, far more than buffers and windows take
		m.source.Add(big...)
	}
	slow := stall(t, m.addr)
	other := join(t, "east", nil, m.addr)
	kdstest.Eventually(t, "the other zone has it all", func() bool { _, head := m.source.Head(); return other.sink.Holds(head) })
	kdstest.Eventually(t, "the slow one is cut off", func() bool {
		gone := func(s server.Session) bool { return s.Zone == "west" && !s.Online() }
		return m.Stats().Slow > 0 && slices.ContainsFunc(m.Sessions(), gone)
	})
	if _, err := io.Copy(io.Discard, slow); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("its connection ends with %v", err)
	}
	head := m.source.Add("after")
	kdstest.Eventually(t, "the other zone goes on", func() bool { return other.sink.Holds(head) })
}

// stall joins as west through a proxy that stops carrying what the server sends.
func stall(t *testing.T, addr string) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	var up net.Conn
	r := dialRaw(t, l.Addr().String())
	go r.Connect()
	down := <-accepted
	t.Cleanup(func() { down.Close() })
	if up, err = net.Dial("tcp", addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	if err := up.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	go io.Copy(up, down) //nolint:errcheck // ends with the connections
	// Carry the handshake and the first bytes back, then no more.
	go io.CopyN(down, up, 1<<10) //nolint:errcheck // as above
	s := openRaw(t, r, kds.RPCGlobalToZone, as("west")...)
	s.send(subscription("west", kds.ChangesType, ""))
	return up
}

// TestUnacknowledgedZoneIsDisconnected: reading without ever acknowledging is no
// better.
func TestUnacknowledgedZoneIsDisconnected(t *testing.T) {
	m := start(t, func(c *server.Config) { c.Limits.Ack = 50 * time.Millisecond })
	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
	r.send(subscription("west", kds.ChangesType, ""))
	r.must()
	if _, err := r.recv(); status.Code(err) != codes.Unavailable || wire.ErrorOf(err).Reason != kds.ReasonSlow {
		t.Errorf("got %v", err)
	}
}

// TestDeafZoneDoesNotKeepAMemberFromStopping, nor from disconnecting it.
func TestDeafZoneDoesNotKeepAMemberFromStopping(t *testing.T) {
	m := start(t, func(c *server.Config) {
		c.Limits.Linger = 20 * time.Millisecond
		c.Limits.Idle = time.Second // should it be told between two parts after all
	})
	big := make([]string, kds.MaxRun)
	for i := range big {
		big[i] = fmt.Sprintf("%0100d", i)
	}
	for range 10 {
		m.source.Add(big...)
	}
	deaf := stall(t, m.addr)
	kdstest.Eventually(t, "the member sends to it", func() bool { return m.Stats().Sent == 1 })
	m.Disconnect("west", "test")
	if _, err := io.Copy(io.Discard, deaf); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("its connection ends with %v", err)
	}
	stall(t, m.addr)
	kdstest.Eventually(t, "the member sends to it", func() bool { return m.Stats().Sent == 2 })
	m.stop()
	if s := m.session(t, "west"); s.Online() {
		t.Error("a stopped member has an open session")
	}
}

func TestSessionsChanged(t *testing.T) {
	m := start(t, nil)
	wait := func(what string, ok func([]server.Session) bool) {
		t.Helper()
		deadline := time.After(kdstest.Patience)
		for {
			changed := m.SessionsChanged()
			if ok(m.Sessions()) {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("never told: %s", what)
			}
		}
	}
	z := join(t, "west", nil, m.addr)
	wait("begins", func(s []server.Session) bool { return len(s) == 1 })
	wait("acknowledges", func(s []server.Session) bool { return s[0].Full })
	head := m.source.Add("more")
	wait("acknowledges more", func(s []server.Session) bool { return s[0].Acked == head })
	z.sink.SetHook(func(cptoken.Part) error { return kdstest.ErrTest })
	m.source.Add("unwanted")
	wait("refuses", func(s []server.Session) bool { return s[0].Nack != "" })
	z.stop()
	wait("ends", func(s []server.Session) bool { return !s[0].Online() && s[0].Nack != "" && s[0].Acked == head })
}

func TestRunEndsWithItsListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{Source: kdstest.NewSource(), Authenticator: &kdstest.Auth{}, Logger: slog.New(slog.DiscardHandler), Member: "m"})
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background(), l) }()
	l.Close()
	if err := <-done; federation.CodeOf(err) != federation.Internal {
		t.Errorf("Run returned %v", err)
	}
}
