package tlsutil

import (
	"crypto/tls"
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

// held is a connection whose other end showed certificates.
type held struct {
	chain  []*x509.Certificate
	remote string
	// called says that this end made the connection.
	called bool
	end    func(why error)
}

// hold follows a connection until release.
func (s *Source) hold(h *held) (release func()) {
	s.openMu.Lock()
	s.open[h] = struct{}{}
	s.openMu.Unlock()
	return func() {
		s.openMu.Lock()
		delete(s.open, h)
		s.openMu.Unlock()
	}
}

// takes judges what was shown in a handshake, and follows the connection.
func (s *Source) takes(conn net.Conn, chain []*x509.Certificate) error {
	f := followedBelow(conn)
	if f == nil {
		return federation.Errorf(federation.Internal, "this connection could not be ended if its certificate were no longer good")
	}
	h := &held{chain: chain, remote: f.RemoteAddr().String(), end: func(error) { _ = f.Close() }}
	// Before it is judged: a review of a moment later must find it.
	f.atClose(s.hold(h))
	return s.judge(h)
}

// ClientFollowed is [Source.Client] for a caller that keeps its connections: end is called
// once the certificates of the other end are good no longer, because its CA is trusted no
// more or because they were expelled. A session that is resumed is judged like any other.
// done forgets the connections; call it when they are over.
func (s *Source) ClientFollowed(end func(why error)) (config *tls.Config, done func()) {
	var mu sync.Mutex
	var releases []func()
	config = s.Client()
	judge := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		// Before it is judged: a review of a moment later must find it.
		release := s.hold(&held{chain: state.PeerCertificates, remote: state.ServerName, called: true, end: end})
		mu.Lock()
		releases = append(releases, release)
		mu.Unlock()
		return judge(state)
	}
	return config, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, release := range releases {
			release()
		}
		releases = nil
	}
}

// judge holds what was shown against the CAs of this moment and against who was expelled.
func (s *Source) judge(h *held) error {
	if h.called {
		return s.goodServer(h.chain)
	}
	if err := s.verify(h.chain, x509.ExtKeyUsageAny); err != nil {
		return badChain(err)
	}
	return s.Refused(h.chain[0])
}

// goodServer judges whom this end called. Without CAs of its own those of the system count.
func (s *Source) goodServer(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return federation.Errorf(federation.Unauthenticated, "the other end showed no certificate").WithReason("bad_certificate")
	}
	if err := verifyBy(s.Current().Pool, chain, x509.ExtKeyUsageServerAuth, s.options.Now()); err != nil {
		return badChain(err)
	}
	return s.Refused(chain[0])
}

func badChain(err error) error {
	return federation.Errorf(federation.Unauthenticated, "the certificate is of no CA that is trusted here: %w", err).WithReason("bad_certificate")
}

// Review ends the connections whose certificates are not good any more. It is called
// when the material was replaced; call it when somebody was expelled.
func (s *Source) Review() {
	type ending struct {
		*held
		why error
	}
	s.openMu.Lock()
	var ended []ending
	for h := range s.open {
		if err := s.judge(h); err != nil {
			ended = append(ended, ending{h, err})
			s.options.Logger.Warn("a connection was ended: its certificate is not good any more",
				"subject", SubjectOf(h.chain[0]), "remote", h.remote, "cause", err)
		}
	}
	s.openMu.Unlock()
	for _, e := range ended {
		e.end(e.why) // nothing more is to be said on it
	}
}
