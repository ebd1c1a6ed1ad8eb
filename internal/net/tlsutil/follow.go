package tlsutil

import (
	"crypto/x509"
	"net"
	"sync"

	"github.com/meridiankds/meridian/federation"
)

// Follow returns a listener whose connections a [Source] can end later. It stands
// below TLS; what stands between them has a method NetConn.
func Follow(l net.Listener) net.Listener { return following{l} }

type following struct{ net.Listener }

// Accept implements net.Listener.
func (l following) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &followed{Conn: conn}, nil
}

// followed is a connection that tells its end.
type followed struct {
	net.Conn

	mu     sync.Mutex
	closed bool
	ended  func() // nil: nobody asked
}

// Close implements net.Conn.
func (f *followed) Close() error {
	f.mu.Lock()
	ended := f.ended
	f.closed, f.ended = true, nil
	f.mu.Unlock()
	if ended != nil {
		ended()
	}
	return f.Conn.Close()
}

// atClose has ended called at the end of the connection, at once where that was.
func (f *followed) atClose(ended func()) {
	f.mu.Lock()
	closed := f.closed
	if !closed {
		f.ended = ended
	}
	f.mu.Unlock()
	if closed {
		ended()
	}
}

// followedBelow finds the connection that [Follow] made below others; nil: there is
// none.
func followedBelow(conn net.Conn) *followed {
	for {
		switch c := conn.(type) {
		case *followed:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// Refuse has f judge every certificate that is shown from now on, at the handshake and
// again at each [Source.Review], beside the CAs: what was expelled is refused on every
// port. f must not block.
func (s *Source) Refuse(f func(cert *x509.Certificate) error) { s.refuse.Store(&f) }

// Refused returns the error of who was expelled.
func (s *Source) Refused(cert *x509.Certificate) error {
	if f := s.refuse.Load(); f != nil {
		return (*f)(cert)
	}
	return nil
}

// takes judges what was shown in a handshake, and follows the connection.
func (s *Source) takes(conn net.Conn, chain []*x509.Certificate) error {
	f := followedBelow(conn)
	if f == nil {
		return federation.Errorf(federation.Internal, "this connection could not be ended if its certificate were no longer good")
	}
	// Before it is judged: a review of a moment later must find it.
	s.openMu.Lock()
	s.open[f] = chain
	s.openMu.Unlock()
	f.atClose(func() {
		s.openMu.Lock()
		delete(s.open, f)
		s.openMu.Unlock()
	})
	return s.good(chain)
}

// good judges a chain by the CAs of this moment and by who was expelled.
func (s *Source) good(chain []*x509.Certificate) error {
	if err := s.verify(chain, x509.ExtKeyUsageAny); err != nil {
		return federation.Errorf(federation.Unauthenticated, "the certificate is of no CA that is trusted here: %w", err).WithReason("bad_certificate")
	}
	return s.Refused(chain[0])
}

// Review ends the connections whose certificates are not good any more. It is called
// when the material was replaced; call it when somebody was expelled.
func (s *Source) Review() {
	s.openMu.Lock()
	var ended []*followed
	for f, chain := range s.open {
		if err := s.good(chain); err != nil {
			ended = append(ended, f)
			s.options.Logger.Warn("a connection was ended: its certificate is not good any more",
				"subject", SubjectOf(chain[0]), "remote", f.RemoteAddr().String(), "cause", err)
		}
	}
	s.openMu.Unlock()
	for _, f := range ended {
		_ = f.Close() // nothing more is to be said on it
	}
}
