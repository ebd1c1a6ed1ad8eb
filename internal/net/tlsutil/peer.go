package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// PeerEnd is one end of one connection between members.
type PeerEnd struct {
	// Config is for this connection alone.
	Config *tls.Config
	// Shown is the certificate that this end showed, once the handshake is done: the
	// source may have another one by then.
	Shown func() *x509.Certificate
}

// PeerServer returns the accepting end of a connection between members: TLS 1.3, both
// sides prove that they are nodes of the cluster. Host names are not compared: the
// identity is the URI SAN, and nodes move between addresses. Sessions are not resumed,
// so that each connection is judged by the certificates of its own handshake.
func (s *Source) PeerServer(cluster string, protocols ...string) PeerEnd {
	var shown *tls.Certificate
	return PeerEnd{
		Config: &tls.Config{
			MinVersion: tls.VersionTLS13,
			GetCertificate: func(*tls.ClientHelloInfo) (cert *tls.Certificate, err error) {
				shown, err = s.certificate()
				return shown, err
			},
			ClientAuth:             tls.RequireAnyClientCert, // verified below, for both ends alike
			NextProtos:             protocols,
			SessionTicketsDisabled: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				return s.VerifyPeer(state.PeerCertificates, cluster)
			},
		},
		Shown: func() *x509.Certificate { return leafOf(shown) },
	}
}

// PeerClient is [Source.PeerServer] for the end that dials, which chooses the protocol.
func (s *Source) PeerClient(cluster, protocol string) PeerEnd {
	var shown *tls.Certificate
	return PeerEnd{
		Config: &tls.Config{
			MinVersion: tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (cert *tls.Certificate, err error) {
				shown, err = s.certificate()
				return shown, err
			},
			NextProtos: []string{protocol},
			// The chain is verified by VerifyConnection against the cluster's CA;
			// only the comparison with a host name is left out.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				return s.VerifyPeer(state.PeerCertificates, cluster)
			},
		},
		Shown: func() *x509.Certificate { return leafOf(shown) },
	}
}

func leafOf(cert *tls.Certificate) *x509.Certificate {
	if cert == nil {
		return nil
	}
	return cert.Leaf
}

// VerifyPeer holds the certificates that a peer showed against the CAs of this moment
// and its identity against the role that the peer port takes.
func (s *Source) VerifyPeer(chain []*x509.Certificate, cluster string) error {
	if len(chain) == 0 {
		return federation.Errorf(federation.Unauthenticated, "the peer showed no certificate")
	}
	if err := s.verify(chain, x509.ExtKeyUsageAny); err != nil {
		return federation.Errorf(federation.Unauthenticated, "the peer's certificate is not of this cluster's CA: %w", err)
	}
	id, err := IdentityOf(chain[0])
	switch {
	case err != nil:
		return err
	case id.Role != RoleNode:
		return federation.Errorf(federation.Forbidden, "the peer port takes nodes, the certificate names the %s %.64q", id.Role, id.Name)
	case id.Cluster != cluster:
		return federation.Errorf(federation.Forbidden, "the peer's certificate is of another cluster: %.64q", id.Cluster)
	}
	return s.Refused(chain[0])
}

// verify holds a chain against the CAs of this moment.
func (s *Source) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	pool := s.Current().Pool
	if pool == nil { // the library would take the system's CAs
		return federation.Errorf(federation.Unauthenticated, "no CA is known here")
	}
	return verifyBy(pool, chain, usage, s.options.Now())
}

// verifyBy holds a chain against a pool, or the system's CAs where that is nil.
func verifyBy(pool *x509.CertPool, chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}
