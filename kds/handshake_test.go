package kds

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// slowCredentials shake hands for a while, and count how many do.
type slowCredentials struct {
	credentials.TransportCredentials
	takes     time.Duration
	now, most *atomic.Int64
}

func (s slowCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	if n > s.most.Load() {
		s.most.Store(n)
	}
	time.Sleep(s.takes)
	return s.TransportCredentials.ServerHandshake(raw)
}

// TestHandshakesTakeTurns: no more than allowed at once, and who is slow costs the
// others one turn and no more.
func TestHandshakesTakeTurns(t *testing.T) {
	for name, c := range map[string]struct {
		takes     time.Duration // of each of 40, four at a time, in turns of 50 ms
		most      int64
		over, all time.Duration // when the last one begins at the latest, and ends
	}{
		"quick":   {10 * time.Millisecond, 4, 100 * time.Millisecond, 100 * time.Millisecond},
		"stalled": {time.Hour, 40, 500 * time.Millisecond, time.Hour + 500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now, most atomic.Int64
				tr := newTransport(nil, &Limits{Handshakes: 4, HandshakeTurn: 50 * time.Millisecond})
				tr.TransportCredentials = slowCredentials{insecure.NewCredentials(), c.takes, &now, &most}
				begun := time.Now()
				var all sync.WaitGroup
				for range 40 {
					all.Go(func() {
						client, server := net.Pipe()
						defer client.Close()
						defer server.Close()
						if _, _, err := tr.ServerHandshake(server); err != nil {
							t.Errorf("a handshake failed: %v", err)
						}
					})
				}
				time.Sleep(c.over)
				synctest.Wait()
				if most.Load() != c.most {
					t.Errorf("%d shook hands at once, want %d", most.Load(), c.most)
				}
				all.Wait()
				if took := time.Since(begun); took > c.all {
					t.Errorf("all took %s, want at most %s", took, c.all)
				}
				if tr.turns.free != 4 {
					t.Errorf("%d turns are free at the end, want 4", tr.turns.free)
				}
			})
		})
	}
}

// TestTurnLastsUntilAdmission: a connection gives its turn back when it has
// authenticated or is closed.
func TestTurnLastsUntilAdmission(t *testing.T) {
	for name, end := range map[string]func(*connection){
		"authenticated": (*connection).stopGrace,
		"closed":        func(c *connection) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(nil, &Limits{Handshakes: 1, HandshakeTurn: time.Hour, FirstRequest: time.Hour})
			client, server := net.Pipe()
			defer client.Close()
			c := &connection{Conn: server, stats: &counters{}}
			defer c.Close()
			if _, _, err := tr.ServerHandshake(c); err != nil {
				t.Fatal(err)
			}
			if tr.turns.free != 0 {
				t.Error("the turn ended with the handshake")
			}
			end(c)
			if tr.turns.free != 1 {
				t.Error("the turn goes on")
			}
		})
	}
}

// TestTheLastToComeGoesFirst: it is the one that is still there.
func TestTheLastToComeGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, order := newTurns(1), make(chan int, 3)
		turns.take()
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				turns.take()
				order <- i
				turns.give()
			})
			synctest.Wait()
		}
		turns.give()
		all.Wait()
		for want := 2; want >= 0; want-- {
			if got := <-order; got != want {
				t.Errorf("caller %d had its turn, want %d", got, want)
			}
		}
		if turns.free != 1 || len(turns.waiting) != 0 {
			t.Errorf("%d free and %d waiting at the end", turns.free, len(turns.waiting))
		}
	})
}
