package cluster

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// Relay passes TCP connections on to a target, so that a test can take the
// network away between two nodes that stay up.
type Relay struct {
	listener net.Listener
	wait     sync.WaitGroup

	mu      sync.Mutex
	passing *sync.Cond // bytes flow; broadcast at each change
	target  string
	stalled bool
	closed  bool
	open    map[net.Conn]struct{}
	heard   []byte // every byte of both directions
}

// NewRelay starts a relay to the target, which ends with the test.
func NewRelay(t testing.TB, target string) *Relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("starting a relay: %v", err)
	}
	r := &Relay{listener: listener, target: target, open: map[net.Conn]struct{}{}}
	r.passing = sync.NewCond(&r.mu)
	r.wait.Add(1)
	go r.accept()
	t.Cleanup(r.close)
	return r
}

// Addr is where to connect instead of the target.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Stall holds every byte back; connections stay open and new ones are taken.
func (r *Relay) Stall() { r.set(func() { r.stalled = true }) }

// Resume lets bytes flow again.
func (r *Relay) Resume() { r.set(func() { r.stalled = false }) }

// Retarget cuts every connection and passes new ones on to another address.
func (r *Relay) Retarget(target string) {
	r.set(func() { r.target = target })
	r.Cut()
}

// Heard returns a copy of every byte that was passed on, in either direction.
func (r *Relay) Heard() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.heard)
}

// Cut closes every connection.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		c.Close()
	}
	r.passing.Broadcast()
}

func (r *Relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.passing.Broadcast()
}

func (r *Relay) close() {
	r.listener.Close()
	r.set(func() { r.closed, r.stalled = true, false })
	r.Cut()
	r.wait.Wait()
}

func (r *Relay) accept() {
	defer r.wait.Done()
	for {
		from, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		target := r.target
		r.mu.Unlock()
		to, err := net.Dial("tcp", target)
		if err != nil {
			from.Close()
			continue
		}
		r.wait.Add(2)
		r.track(from, to)
		go r.pump(from, to)
		go r.pump(to, from)
	}
}

func (r *Relay) track(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		r.open[c] = struct{}{}
	}
	if r.closed {
		for _, c := range conns {
			c.Close()
		}
	}
}

// pump copies one direction and closes both ends where it ends.
func (r *Relay) pump(from, to net.Conn) {
	defer r.wait.Done()
	defer func() {
		from.Close()
		to.Close()
		r.mu.Lock()
		delete(r.open, from)
		r.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		for r.stalled && !r.closed {
			r.passing.Wait()
		}
		r.heard = append(r.heard, buffer[:n]...)
		r.mu.Unlock()
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
