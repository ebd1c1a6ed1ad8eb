package kds_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
)

// fault is what happens once to the first message of GlobalToZoneSync in a direction that
// contains a text: it arrives twice or, with copies 0, never; behind: after the next one.
type fault struct {
	toZone bool
	text   string
	copies int
}

// behind is how often a message arrives that the next one overtakes.
const behind = -1

// between stands between a zone and a member.
type between struct {
	member string
	fault  fault

	mu   sync.Mutex
	done bool
	seen []byte // of what the member sent
}

// sent reports whether the member sent a text, whatever became of it.
func (b *between) sent(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.seen, []byte(text))
}

// happened reports whether the fault has happened.
func (b *between) happened() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

// copies is how often a message arrives.
func (b *between) copies(toZone bool, m []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if toZone {
		b.seen = append(b.seen, m...)
	}
	if b.done || toZone != b.fault.toZone || !bytes.Contains(m, []byte(b.fault.text)) {
		return 1
	}
	b.done = true
	return b.fault.copies
}

type bytesCodec struct{}

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (bytesCodec) Name() string { return "proto" }

// stand starts one and returns where the zone connects.
func stand(t testing.TB, member string, f fault) (*between, string) {
	t.Helper()
	b := &between{member: member, fault: f}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	global := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(b.pass))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = global.Serve(l) // until it is stopped
	}()
	t.Cleanup(func() {
		global.Stop()
		<-done
	})
	return b, l.Addr().String()
}

// pass carries one call on a connection of its own.
func (b *between) pass(_ any, down grpc.ServerStream) error {
	conn, err := grpc.NewClient("passthrough:///"+b.member, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	if err != nil {
		return err
	}
	defer conn.Close()
	md, _ := metadata.FromIncomingContext(down.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(down.Context(), md.Copy()))
	defer cancel()
	method, _ := grpc.MethodFromServerStream(down)
	up, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	faulty := method == kds.RPCGlobalToZone
	go func() { // ends with the call
		_ = b.carry(faulty, false, down.RecvMsg, up.SendMsg)
		_ = up.CloseSend()
	}()
	if header, err := up.Header(); err == nil {
		if err := down.SendHeader(header); err != nil {
			return err
		}
	}
	err = b.carry(faulty, true, up.RecvMsg, down.SendMsg)
	down.SetTrailer(up.Trailer())
	return err
}

func (b *between) carry(faulty, toZone bool, receive, send func(any) error) error {
	var late *[]byte
	for {
		m := new([]byte)
		if err := receive(m); err != nil {
			return err
		}
		n := 1
		if faulty {
			n = b.copies(toZone, *m)
		}
		if n == behind {
			late = m
			continue
		}
		for range n {
			if err := send(m); err != nil {
				return err
			}
		}
		if late != nil && n > 0 {
			if err := send(late); err != nil {
				return err
			}
			late = nil
		}
	}
}

// TestMessagesThatAreLostOrDoubled: what no connection does, but a proxy that is broken
// could. The zone notices a gap by the next set, or the member by the acknowledgement that
// does not come, and the zone resumes; what arrives twice, or too late, changes nothing.
func TestMessagesThatAreLostOrDoubled(t *testing.T) {
	const toZone, toMember = true, false
	big := make([]string, 40_000) // in four parts
	for i := range big {
		big[i] = fmt.Sprintf("%s-%d", strings.Repeat("x", 40), i)
	}
	hold := timeToHold(t, big)
	set := func(index int) string { return kdstest.Revision(1, index).String() + "#" } // its nonces
	for name, f := range map[string]fault{
		"the subscription is lost":           {toMember, "*", 0},
		"the full state is lost":             {toZone, "first", 0},
		"a change is lost":                   {toZone, "second", 0},
		"a first part is lost":               {toZone, set(3) + "0", 0},
		"a part is lost":                     {toZone, set(3) + "1", 0},
		"a last part is lost":                {toZone, set(3) + "3", 0},
		"the last change is lost":            {toZone, "last", 0},
		"an acknowledgement is lost":         {toMember, set(2), 0},
		"the last acknowledgement is lost":   {toMember, set(5), 0},
		"two changes change places":          {toZone, "second", behind},
		"two parts change places":            {toZone, set(3) + "1", behind},
		"two acknowledgements change places": {toMember, set(2), behind},
		"the subscription arrives twice":     {toMember, "*", 2},
		"the full state arrives twice":       {toZone, "first", 2},
		"a change arrives twice":             {toZone, "second", 2},
		"a part arrives twice":               {toZone, set(3) + "1", 2},
		"the last change arrives twice":      {toZone, "last", 2},
		"an acknowledgement arrives twice":   {toMember, set(2), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *server.Config) {
				c.Limits.Ack, c.Limits.FirstRequest = hold, hold
			})
			b, addr := stand(t, m.addr, f)
			z := join(t, "west", nil, addr)
			var head federation.Revision
			kdstest.Eventually(t, "the full state to be sent", func() bool { return b.sent("first") })
			for i, ids := range [][]string{{"second"}, big, {"third"}, {"last"}} {
				head = m.source.Add(ids...)
				kdstest.Eventually(t, "a set to be sent", func() bool { return b.sent(set(i+2)) || b.sent(set(5)) })
				if !f.toZone && f.text == set(i+2) { // a zone that is slow acknowledges the next set with it
					kdstest.Eventually(t, "the set to be acknowledged", b.happened)
				}
			}
			kdstest.Eventually(t, "the zone to hold and acknowledge everything", func() bool {
				s := m.Sessions()
				return len(s) == 1 && s[0].Full && s[0].Acked == head && z.sink.Holds(head)
			})
			if !b.happened() {
				t.Error("the fault did not happen: the test proves nothing")
			}
			for _, id := range append([]string{"first", "second", "third", "last"}, big...) {
				if !z.sink.Has(id) {
					t.Fatalf("%s is missing", id)
				}
			}
			var at federation.Revision
			for i, p := range z.sink.Applied() {
				if i > 0 && !p.To.Covers(at) {
					t.Errorf("the zone went from %s to %s", at, p.To)
				}
				at = p.To
			}
		})
	}
}

// timeToHold is how long a member waits for an acknowledgement before it takes it for
// lost: many times what the largest set of a test takes on this machine as it is loaded
// now. A member that gives up on a zone that is only slow never gets the set across.
func timeToHold(t *testing.T, ids []string) time.Duration {
	t.Helper()
	m := start(t, nil)
	z := join(t, "west", nil, m.addr)
	begun := time.Now()
	head := m.source.Add(ids...)
	kdstest.Eventually(t, "the zone to hold and acknowledge the set", func() bool {
		s := m.Sessions()
		return len(s) == 1 && s[0].Full && s[0].Acked == head && z.sink.Holds(head)
	})
	return min(max(300*time.Millisecond, 20*time.Since(begun)), 20*time.Second)
}

// TestOlderHistoryRefused: a member that offers an older history changes nothing
// at the zone, which says why and goes on trying.
func TestOlderHistoryRefused(t *testing.T) {
	// The zone knows history 5; this member claims 5 when it subscribes, so that
	// it is not found ahead, and then sends 4.
	m := start(t, nil)
	liar := &lyingSource{Source: m.source}
	m.stop()
	m = start(t, func(c *server.Config) { c.Source = liar })
	sink := kdstest.NewSink()
	sink.Cluster, sink.Rev = kdstest.Cluster, kdstest.Revision(5, 10)
	z := join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "the refusal", func() bool { return strings.Contains(z.Status().LastError, "older history") })
	kdstest.Eventually(t, "the refusal at the global", func() bool {
		s := m.Sessions()
		return len(s) == 1 && strings.Contains(s[0].Nack, "older history")
	})
	if !sink.Holds(kdstest.Revision(5, 10)) || len(sink.Applied()) != 0 {
		t.Error("the zone went back")
	}
}

// lyingSource says one head and sends another.
type lyingSource struct{ *kdstest.Source }

func (s *lyingSource) Head() (string, federation.Revision) {
	return kdstest.Cluster, kdstest.Revision(5, 11)
}

func (s *lyingSource) Place(context.Context, string, []byte) (cptoken.Standing, federation.Revision) {
	return cptoken.InPast, kdstest.Revision(5, 10)
}

func (s *lyingSource) Since(federation.Revision) (cptoken.Delta, error) {
	return cptoken.Delta{Cluster: kdstest.Cluster, From: kdstest.Revision(4, 10), To: kdstest.Revision(4, 11),
		Changes: func(func(cptoken.Change) bool) {}}, nil
}
