package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// Dial connects to an address over TCP; tests put a network of their own there.
type Dial func(ctx context.Context, addr string) (net.Conn, error)

// overTCP is what everybody else uses.
func overTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// Dialer connects to peers.
type Dialer struct {
	client func(protocol string) tlsutil.PeerEnd
	dial   Dial
	gate   *Gate
}

// NewDialer returns a Dialer. client returns the TLS end of one connection, which shows
// who this node is and decides who is a peer; a nil dial means TCP.
func NewDialer(client func(protocol string) tlsutil.PeerEnd, gate *Gate, dial Dial) *Dialer {
	if dial == nil {
		dial = overTCP
	}
	return &Dialer{client: client, gate: gate, dial: dial}
}

// Connect returns a connection of the given protocol on which both ends have proved the
// seal key. node is the id of the node that is meant, "" for whoever answers there.
func (d *Dialer) Connect(ctx context.Context, node, addr, protocol string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := d.dial(ctx, addr)
	if err != nil {
		return nil, unreachable(addr, err)
	}
	conn, err := d.handshake(ctx, raw, node, protocol)
	if err != nil {
		raw.Close()
		return nil, unreachable(addr, err)
	}
	return conn, nil
}

func (d *Dialer) handshake(ctx context.Context, raw net.Conn, node, protocol string) (*Conn, error) {
	end := d.client(protocol)
	conn := tls.Client(raw, end.Config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol != protocol {
		return nil, errors.New("what answers there is not a peer port")
	}
	var proof Proof
	err := within(ctx, raw, func() (err error) {
		proof, err = d.gate.prove(conn, end.Shown(), node)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d.gate.keep(conn, proof)
}

// within ends the reads and writes of f when ctx ends.
func within(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// unreachable says in one line why an address is no peer now.
func unreachable(addr string, err error) *federation.Error {
	e := federation.Errorf(federation.Unavailable, "the peer at %s cannot be reached: %s", addr, plainCause(err)).WithCause(err)
	var record tls.RecordHeaderError
	var own *federation.Error
	if errors.As(err, &own) {
		e = e.WithReason(own.Reason)
	}
	switch {
	case errors.As(err, &record):
		return e.WithHint("what answers there speaks no TLS, perhaps HTTP: name the port of --peer-addr, 5683 by default")
	case errors.As(err, &own) && own.Hint != "":
		return e.WithHint("%s", own.Hint)
	case strings.Contains(err.Error(), "no application protocol"):
		return e.WithHint("it runs a version whose members do not prove the seal key: stop all members, then start all of them with this version (docs/upgrade.md)")
	case strings.Contains(err.Error(), "remote error: tls"):
		return e.WithHint("the peer refuses this node's certificate: both need a node's certificate of the same cluster and CA")
	}
	return e.WithReason("peer_unreachable") // it may be back, or another one lead, in a moment
}

// plainCause is what an operator needs of a network error.
func plainCause(err error) string {
	var own *federation.Error
	var sys *os.SyscallError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &own):
		return own.Error()
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &sys):
		return sys.Err.Error()
	}
	return err.Error()
}
