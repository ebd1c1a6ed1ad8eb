package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/meridiankds/meridian/federation"
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
	client *tls.Config
	dial   Dial
}

// NewDialer returns a Dialer. client proves who this node is and decides who is a
// peer; a nil dial means TCP.
func NewDialer(client *tls.Config, dial Dial) *Dialer {
	if dial == nil {
		dial = overTCP
	}
	return &Dialer{client: client, dial: dial}
}

// Connect returns a connection of the given protocol with both ends proven.
func (d *Dialer) Connect(ctx context.Context, addr, protocol string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := d.dial(ctx, addr)
	if err != nil {
		return nil, unreachable(addr, err)
	}
	config := d.client.Clone()
	config.NextProtos = []string{protocol}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, unreachable(addr, err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
		conn.Close()
		return nil, unreachable(addr, errors.New("what answers there is not a peer port"))
	}
	return conn, nil
}

// unreachable says in one line why an address is no peer now.
func unreachable(addr string, err error) *federation.Error {
	e := federation.Errorf(federation.Unavailable, "the peer at %s cannot be reached: %s", addr, plainCause(err)).WithCause(err)
	var record tls.RecordHeaderError
	var own *federation.Error
	switch {
	case errors.As(err, &record):
		return e.WithHint("what answers there speaks no TLS, perhaps HTTP: name the port of --peer-addr, 5683 by default")
	case errors.As(err, &own) && own.Hint != "":
		return e.WithHint("%s", own.Hint)
	case strings.Contains(err.Error(), "remote error: tls"):
		return e.WithHint("the peer refuses this node's certificate: both need a node's certificate of the same cluster and CA")
	}
	return e
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
