package xds

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/meridiankds/meridian/federation"
)

// gate stands before the body of a call. gRPC's server for HTTP handlers reads a
// body as fast as it comes, whether anybody takes the messages or not, and would
// keep all of it: so the gate lets no more than ahead messages through that were
// not taken, and HTTP/2 makes the caller wait.
type gate struct {
	body io.ReadCloser

	mu     sync.Mutex
	moved  *sync.Cond
	closed bool
	begun  int // messages of which anything was let through
	took   int // messages that were taken

	most int     // bytes of a message
	head [5]byte // of the message that comes: a flag and its length
	have int     // of head
	rest uint32  // of the message, behind its head
}

// ahead is one message to be served and one to come.
const ahead = 2

func newGate(body io.ReadCloser, most int) *gate {
	g := &gate{body: body, most: most}
	g.moved = sync.NewCond(&g.mu)
	return g
}

// Read implements io.Reader.
func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	for !g.closed && g.begun-g.took >= ahead && g.have == 0 {
		g.moved.Wait()
	}
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return 0, io.ErrUnexpectedEOF
	}
	// Never beyond the end of a message: what follows is for the next Read.
	n, err := g.body.Read(p[:min(len(p), g.want())])
	g.count(p[:n])
	if int64(g.rest) > int64(g.most) {
		return 0, federation.Errorf(federation.TooLarge, "the message has %d bytes, at most %d are taken", g.rest, g.most)
	}
	return n, err
}

// want is how many bytes may be read without going beyond the message.
func (g *gate) want() int {
	if g.have < len(g.head) {
		return len(g.head) - g.have
	}
	return int(g.rest)
}

// count follows the framing of gRPC: a flag, four bytes of length, the message.
func (g *gate) count(p []byte) {
	if len(p) == 0 {
		return
	}
	if g.have < len(g.head) {
		if g.have == 0 {
			g.mu.Lock()
			g.begun++
			g.mu.Unlock()
		}
		g.have += copy(g.head[g.have:], p)
		if g.have < len(g.head) {
			return
		}
		g.rest = binary.BigEndian.Uint32(g.head[1:])
		p = nil
	}
	g.rest -= uint32(len(p))
	if g.rest == 0 {
		g.have = 0
	}
}

// taken tells that a message was taken.
func (g *gate) taken() {
	g.mu.Lock()
	g.took++
	g.mu.Unlock()
	g.moved.Broadcast()
}

// Close implements io.Closer. It ends a Read that waits.
func (g *gate) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.moved.Broadcast()
	return g.body.Close()
}
