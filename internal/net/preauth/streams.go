package preauth

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// What HTTP/2 has of requests besides its handlers is known to nobody but itself: those
// that wait for their handler, those that it answers without one, because their headers are
// too large or wrong, and answers that their callers do not take once the handlers are done.
// A hundred streams of each connection would be charged nothing. So the frames are looked at.
const (
	// costUnseen is a stream whose request no handler has seen: its headers may have been
	// a byte on the wire.
	costUnseen = 64 << 10
	// costUntaken is one whose handler is done, and whose answer its caller does not take.
	costUntaken = 24 << 10
	// mostQueued is how many requests of a connection may be on their way to their handlers,
	// and queuedFor how long the server waits for these.
	mostQueued = 8
	queuedFor  = 50 * time.Millisecond
)

// streams are those of a connection of HTTP/2 that neither end has ended.
type streams struct {
	open int
	// unseen of them no handler has seen; some of these may have ended meanwhile.
	unseen int
	// queued are on their way to a handler, ended or not.
	queued int
	moved  chan struct{} // closed when one has arrived; nil: nobody waits
	told   int64         // what is charged while nobody has proved who they are
}

// cost is what those occupy that no handler has, of which so many have some.
func (s *streams) cost(handled int) int64 {
	done := max(0, s.open-s.unseen-handled)
	return int64(s.unseen)*costUnseen + int64(done)*costUntaken
}

// opens notes a stream that its caller has opened.
func (s *streams) opens() {
	s.open++
	s.unseen++
	s.queued++
}

// ends notes that a stream is no more.
func (s *streams) ends() {
	s.open--
	s.unseen = min(s.unseen, s.open)
}

// arrives notes that a handler has a request.
func (s *streams) arrives() {
	s.unseen, s.queued = max(0, s.unseen-1), max(0, s.queued-1)
	s.wake()
}

func (s *streams) wake() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// Watch returns a connection of HTTP/2 above TLS, whose streams are charged to whose
// connection it is.
func Watch(conn *tls.Conn) net.Conn {
	under := Of(conn)
	if under == nil {
		return conn
	}
	return &watched{Conn: conn, under: under, in: frames{preface: len(clientPreface)}, open: map[uint32]struct{}{}}
}

type watched struct {
	*tls.Conn
	under *Conn
	in    frames
	last  uint32 // the newest stream

	mu   sync.Mutex
	out  frames
	open map[uint32]struct{}
}

// Read implements net.Conn.
func (w *watched) Read(p []byte) (int, error) {
	w.under.awaitHandlers()
	n, err := w.Conn.Read(p)
	var over error
	w.in.take(p[:n], func(kind, flags byte, stream uint32) {
		switch {
		case kind == frameHeaders && stream > w.last:
			w.last = stream
			w.mu.Lock()
			w.open[stream] = struct{}{}
			w.mu.Unlock()
			over = w.under.pends(func(p *pending) { p.streams.opens() })
		case kind == frameReset:
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ended(stream)
		}
	})
	if over != nil {
		return 0, over
	}
	return n, err
}

// Write implements net.Conn.
func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out.take(p[:n], func(kind, flags byte, stream uint32) {
		if kind == frameReset || kind <= frameHeaders && flags&flagEndStream != 0 {
			w.ended(stream)
		}
	})
	return n, err
}

// ended notes that a stream is no more. The lock is held.
func (w *watched) ended(stream uint32) {
	if _, ok := w.open[stream]; ok {
		delete(w.open, stream)
		_ = w.under.pends(func(p *pending) { p.streams.ends() }) // giving back never fails
	}
}

// awaitHandlers waits for a moment until handlers have what has come. Whoever opens streams
// and ends them at once would have hundreds wait for handlers on each connection.
func (c *Conn) awaitHandlers() {
	s := &c.pending.streams
	for timeout := (*time.Timer)(nil); ; {
		c.pending.mu.Lock()
		if s.queued < mostQueued {
			c.pending.mu.Unlock()
			return
		}
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		c.pending.mu.Unlock()
		c.rest()
		if timeout == nil {
			timeout = time.NewTimer(queuedFor)
			defer timeout.Stop()
		}
		select {
		case <-moved:
		case <-timeout.C: // they need none, or the processor is busy
			c.pending.mu.Lock()
			s.queued = 0
			c.pending.mu.Unlock()
			return
		case <-c.ctx.Done():
			return
		}
	}
}

// What is looked at of HTTP/2 (RFC 9113, sections 3.4, 4.1, 6.1, 6.2 and 6.4).
const (
	clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHead     = 9
	frameHeaders  = 1 // 0 is data
	frameReset    = 3
	flagEndStream = 0x1
)

// frames follows what one end sends.
type frames struct {
	preface int // bytes of it that are still to come
	head    [frameHead]byte
	have    int // of head
	left    int // of the payload
}

// take takes in what was sent, and tells of each frame that begins.
func (f *frames) take(p []byte, begins func(kind, flags byte, stream uint32)) {
	n := min(f.preface, len(p))
	f.preface -= n
	for p = p[n:]; len(p) > 0; {
		n := min(f.left, len(p))
		f.left -= n
		p = p[n:]
		n = copy(f.head[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have == frameHead {
			f.have = 0
			f.left = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
			begins(f.head[3], f.head[4], binary.BigEndian.Uint32(f.head[5:])&^(1<<31))
		}
	}
}
