package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Network lets globals find each other under names that outlive a restart, and does to
// what passes between two of them what real networks do: it takes connections away,
// delays bytes, and holds one direction up while the other one flows. A stream has no
// messages that could be dropped or doubled alone: that is what messages_test.go does.
type Network struct {
	mu      sync.Mutex
	changed *sync.Cond        // broadcast at each change of what is below
	at      map[string]string // where a name is now
	cut     map[string]bool
	lanes   map[[2]string]Lane
	conns   map[*netConn]struct{}
}

// Lane is one direction between two nodes.
type Lane struct {
	// Delay is how much later bytes arrive, with up to Jitter more.
	Delay, Jitter time.Duration
	// Stalled holds all bytes back; connections stay.
	Stalled bool
}

// NewNetwork returns a network without nodes.
func NewNetwork() *Network {
	n := &Network{at: map[string]string{}, cut: map[string]bool{}, lanes: map[[2]string]Lane{}, conns: map[*netConn]struct{}{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// Place says where the node of a name listens now.
func (n *Network) Place(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[name] = addr
}

// Cut separates a node from the others, or connects it again.
func (n *Network) Cut(name string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[name] = cut
	if cut {
		n.reset(func(c *netConn) bool { return c.from == name || c.to == name })
	}
}

// Reset loses every connection between two nodes, and what was under way on it.
func (n *Network) Reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reset(func(c *netConn) bool { return c.from == a && c.to == b || c.from == b && c.to == a })
}

// Shape says how one direction between two nodes is from now on. The zero Lane is a good
// network.
func (n *Network) Shape(from, to string, l Lane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lanes[[2]string{from, to}] = l
	n.changed.Broadcast()
}

// Heal ends all that Cut and Shape did.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.lanes)
	n.changed.Broadcast()
}

// reset closes connections. The caller holds mu.
func (n *Network) reset(which func(*netConn) bool) {
	for c := range n.conns {
		if which(c) {
			c.close()
			delete(n.conns, c)
		}
	}
	n.changed.Broadcast()
}

// Dialer is the way out of the node of that name.
func (n *Network) Dialer(from string) func(ctx context.Context, to string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		addr, known := n.at[to]
		blocked := n.blocked(from, to)
		n.mu.Unlock()
		if !known || blocked {
			return nil, fmt.Errorf("no route from %s to %s", from, to)
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.blocked(from, to) {
			conn.Close()
			return nil, fmt.Errorf("no route from %s to %s", from, to)
		}
		near, inside := net.Pipe()
		c := &netConn{net: n, from: from, to: to, inside: inside, far: conn}
		n.conns[c] = struct{}{}
		go c.carry(inside, conn, [2]string{from, to})
		go c.carry(conn, inside, [2]string{to, from})
		return near, nil
	}
}

func (n *Network) blocked(from, to string) bool { return from != to && (n.cut[from] || n.cut[to]) }

// netConn is a connection between two nodes: the dialling one has the other end of a pipe.
type netConn struct {
	net      *Network
	from, to string
	inside   net.Conn // our end of the pipe
	far      net.Conn
	closed   bool // guarded by net.mu
}

// close ends both sides. The caller holds net.mu.
func (c *netConn) close() {
	c.closed = true
	c.inside.Close()
	c.far.Close()
}

// end closes the connection when one side of it has ended.
func (c *netConn) end() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.close()
	delete(c.net.conns, c)
	c.net.changed.Broadcast()
}

// chunk are bytes and when they may arrive.
type chunk struct {
	data []byte
	at   time.Time
}

// inFlight bounds how many chunks a direction holds.
const inFlight = 256

// carry passes one direction on, until either side ends.
func (c *netConn) carry(from, to net.Conn, lane [2]string) {
	under := make(chan chunk, inFlight)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		for ch := range under {
			if !c.await(lane, ch.at) {
				continue // to its end, so that the reader is not held up
			}
			if _, err := to.Write(ch.data); err != nil {
				c.end()
			}
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		k, err := from.Read(buffer)
		if k > 0 {
			under <- chunk{append([]byte(nil), buffer[:k]...), c.arrival(lane)}
		}
		if err != nil {
			break
		}
	}
	close(under)
	<-delivered
	c.end()
}

// arrival is when bytes that are sent now may arrive.
func (c *netConn) arrival(lane [2]string) time.Time {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	l := c.net.lanes[lane]
	if l.Jitter > 0 {
		l.Delay += rand.N(l.Jitter)
	}
	return time.Now().Add(l.Delay)
}

// await waits until bytes may arrive, and reports whether they can.
func (c *netConn) await(lane [2]string, at time.Time) bool {
	if wait := time.Until(at); wait > 0 {
		time.Sleep(wait) // this is the delay itself
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for c.net.lanes[lane].Stalled && !c.closed {
		c.net.changed.Wait()
	}
	return !c.closed
}
