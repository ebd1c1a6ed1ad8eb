package tlsutil

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/meridiankds/meridian/federation"
)

// Protocols told apart by ALPN (RFC 7301).
const (
	ALPNHTTP2 = "h2"
	ALPNHTTP1 = "http/1.1"

	// Between members, behind the proof of the seal key; see internal/global/peer.
	ALPNRaft      = "meridian-raft/2"
	ALPNPeerHTTP2 = "meridian-h2/2"
)

// LoadPool reads a PEM file of CA certificates.
func LoadPool(caFile string) (*x509.CertPool, error) {
	s, err := OpenSource(Files{CA: caFile}, Options{})
	if err != nil {
		return nil, err
	}
	return s.Current().Pool, nil
}

// Server returns the configuration of a port that authenticates its callers by
// tokens: TLS 1.2 or newer. A client certificate is not asked for.
func (s *Source) Server(protocols ...string) *tls.Config {
	return s.server(protocols, func(*tls.ClientHelloInfo, *Material, *tls.Config) {})
}

// ServerOptionalClient is [Source.Server] for a port where a client certificate
// may stand in for a token: one that is presented must be of a CA of the source. The
// port's listener is one of [Follow], so that a connection whose certificate is good no
// longer is ended; on another one no certificate is taken.
func (s *Source) ServerOptionalClient(protocols ...string) *tls.Config {
	return s.server(protocols, func(hello *tls.ClientHelloInfo, m *Material, c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, m.Pool
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			return s.takes(hello.Conn, state.PeerCertificates)
		}
	})
}

// server makes the configuration anew for each connection, from the material of the
// moment. A session is resumed only with the material that it began with.
func (s *Source) server(protocols []string, more func(*tls.ClientHelloInfo, *Material, *tls.Config)) *tls.Config {
	base := func() *tls.Config {
		return &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
			NextProtos:     protocols,
		}
	}
	c := base()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		m, now := s.Current(), base()
		now.SetSessionTicketKeys([][32]byte{m.tickets})
		more(hello, m, now)
		return now, nil
	}
	return c
}

// Client returns the configuration of a caller that trusts the pool; nil means
// the system's own. The server's name is taken from the address that is dialled.
func Client(roots *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

// Client returns the configuration of a caller with the CAs and the certificate,
// if any, of this moment: ask for it before each connection. A method that looks
// at the CAs at each handshake would have to compare host names itself. Who is called
// again is called with the session of before (RFC 8446, section 2.2), which takes no
// signature from either end and goes on being held against the CAs. Whoever answers is
// refused too where it was expelled; set VerifyConnection only to a function that calls
// the one that is there.
func (s *Source) Client() *tls.Config {
	m := s.Current()
	c := Client(m.Pool)
	c.ClientSessionCache = m.sessions
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if state.DidResume || s.Current() != m { // else the library has just held the chain against the same CAs
			return s.goodServer(state.PeerCertificates)
		}
		return s.Refused(state.PeerCertificates[0])
	}
	if m.Certificate != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.Certificate, nil }
	}
	return c
}

// certificate is the one to show at this moment.
func (s *Source) certificate() (*tls.Certificate, error) {
	if cert := s.Current().Certificate; cert != nil {
		return cert, nil
	}
	return nil, federation.Errorf(federation.Internal, "this port has no TLS certificate")
}
