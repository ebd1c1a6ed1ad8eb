package server

import (
	"encoding/binary"
	"net"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// watched is a connection above TLS of which is counted what gRPC keeps of messages that
// are not complete: of each stream up to a whole message, which no window bounds. It counts
// against the zone, like the bodies of requests.
type watched struct {
	net.Conn
	under  *preauth.Conn
	frames frames
	told   int64
}

// watch returns conn, counted where it is of a budget's listener.
func watch(conn net.Conn, under *preauth.Conn) net.Conn {
	if under == nil {
		return conn
	}
	return &watched{Conn: conn, under: under, frames: frames{preface: len(clientPreface), open: map[uint32]*message{}}}
}

// Read implements net.Conn. An error says that the zone has as much under way as it may.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.frames.take(p[:n])
	if len(w.frames.open) > maxOpen {
		return 0, federation.Errorf(federation.TooLarge, "more than %d incomplete messages on a connection", maxOpen)
	}
	if w.frames.kept != w.told {
		if over := w.under.Keep(w.frames.kept); over != nil {
			return 0, over
		}
		w.told = w.frames.kept
	}
	return n, err
}

// What is looked at of HTTP/2 (RFC 9113, sections 3.4, 4.1, 6.1, 6.2 and 6.4) and of gRPC's
// messages, which have five bytes before each: a flag and the length.
const (
	clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHead     = 9
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	flagEndStream = 0x1
	flagPadded    = 0x8
	messageHead   = 5
	// costMessage is what a message occupies besides its bytes.
	costMessage = 256
	// maxOpen is far more than the streams that a connection may have: gRPC passes over data
	// of streams that were never opened, and of those that it ended.
	maxOpen = 1024
)

// frames follows what a client sends, and knows how much of it are incomplete messages.
type frames struct {
	preface int // bytes of it that are still to come
	head    [frameHead]byte
	have    int  // of head
	left    int  // of the payload
	data    int  // of left, what belongs to messages
	padded  bool // how much that is is still to come
	open    map[uint32]*message
	kept    int64
}

// message is what has come of a message that is not complete.
type message struct {
	head [messageHead]byte
	have int   // of head
	left int64 // of its content
	kept int64
}

// take takes in what was read.
func (f *frames) take(p []byte) {
	n := min(f.preface, len(p))
	f.preface -= n
	for p = p[n:]; len(p) > 0; {
		if f.have < frameHead {
			n := copy(f.head[f.have:], p)
			f.have += n
			p = p[n:]
			if f.have < frameHead {
				return
			}
			f.begin()
		}
		n := min(f.left, len(p))
		f.payload(p[:n])
		p = p[n:]
		if f.left -= n; f.left == 0 {
			f.end()
		}
	}
}

func (f *frames) kind() byte { return f.head[3] }

func (f *frames) has(flag byte) bool { return f.head[4]&flag != 0 }

func (f *frames) stream() uint32 { return binary.BigEndian.Uint32(f.head[5:]) &^ (1 << 31) }

func (f *frames) begin() {
	f.left = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
	f.padded = f.has(flagPadded)
	f.data = f.left
	if f.kind() != frameData {
		f.data, f.padded = 0, false
	}
}

func (f *frames) payload(p []byte) {
	if f.padded && len(p) > 0 {
		f.padded = false
		f.data -= 1 + int(p[0])
		p = p[1:]
	}
	if n := min(f.data, len(p)); n > 0 {
		f.data -= n
		f.content(p[:n])
	}
}

// end closes a frame, and with it a stream of which nothing more comes.
func (f *frames) end() {
	f.have = 0
	switch {
	case f.kind() == frameReset, f.has(flagEndStream) && (f.kind() == frameData || f.kind() == frameHeaders):
		f.forget(f.stream())
	}
}

// content takes in what belongs to the messages of a stream.
func (f *frames) content(p []byte) {
	id := f.stream()
	m := f.open[id]
	if m == nil {
		m = &message{}
		f.open[id] = m
		f.kept += costMessage
	}
	for len(p) > 0 {
		if m.have < messageHead {
			n := copy(m.head[m.have:], p)
			m.have += n
			p = p[n:]
			if m.have < messageHead {
				return
			}
			m.left = int64(binary.BigEndian.Uint32(m.head[1:]))
		}
		n := min(m.left, int64(len(p)))
		m.left -= n
		m.kept += n
		f.kept += n
		p = p[n:]
		if m.left == 0 { // gRPC hands it on
			f.kept -= m.kept
			m.have, m.kept = 0, 0
		}
	}
	if m.have == 0 {
		f.forget(id)
	}
}

func (f *frames) forget(id uint32) {
	if m := f.open[id]; m != nil {
		f.kept -= m.kept + costMessage
		delete(f.open, id)
	}
}
