package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/meridiankds/meridian/federation"
)

// Protocols told apart by ALPN (RFC 7301).
const (
	ALPNRaft  = "raft"
	ALPNHTTP2 = "h2"
	ALPNHTTP1 = "http/1.1"
)

// LoadKeyPair reads a certificate and its key. The error names the file at fault
// and never shows what is in it.
func LoadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return tls.Certificate{}, federation.Errorf(federation.Invalid,
			"reading the TLS certificate %s with key %s: %w", certFile, keyFile, err).
			WithHint("both must be PEM files, and the key must belong to the certificate")
	}
	return cert, nil
}

// LoadPool reads a PEM file of CA certificates.
func LoadPool(caFile string) (*x509.CertPool, error) {
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading the CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, federation.Errorf(federation.Invalid, "%s holds no PEM certificate", caFile).
			WithHint("give the CA certificate of the global, for example the ca.crt that `global dev` writes")
	}
	return pool, nil
}

// Server returns the configuration of a port that authenticates its callers by
// tokens: TLS 1.2 or newer. A client certificate is not asked for.
func Server(cert tls.Certificate, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{cert},
		NextProtos:   protocols,
	}
}

// ServerOptionalClient is [Server] for a port where a client certificate may
// stand in for a token: one that is presented must be of the pool.
func ServerOptionalClient(cert tls.Certificate, clients *x509.CertPool, protocols ...string) *tls.Config {
	c := Server(cert, protocols...)
	c.ClientAuth = tls.VerifyClientCertIfGiven
	c.ClientCAs = clients
	return c
}

// Client returns the configuration of a caller that trusts the pool; nil means
// the system's own. The server's name is taken from the address that is dialled.
func Client(roots *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

// Peer returns the configurations of both ends of the peer port: TLS 1.3, both
// sides prove that they are nodes of the cluster. Host names are not compared:
// the identity is the URI SAN, and nodes move between addresses.
func Peer(cert tls.Certificate, pool *x509.CertPool, cluster string, protocol string) (server, client *tls.Config) {
	verify := func(state tls.ConnectionState) error { return verifyNode(state, pool, cluster) }
	server = &tls.Config{
		MinVersion:       tls.VersionTLS13,
		Certificates:     []tls.Certificate{cert},
		ClientAuth:       tls.RequireAnyClientCert, // verified below, for both ends alike
		NextProtos:       []string{protocol},
		VerifyConnection: verify,
	}
	client = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{protocol},
		// The chain is verified by VerifyConnection against the cluster's CA;
		// only the comparison with a host name is left out.
		InsecureSkipVerify: true,
		VerifyConnection:   verify,
	}
	return server, client
}

// verifyNode checks the other end's chain against the cluster's CA and its
// identity against the role that the peer port takes.
func verifyNode(state tls.ConnectionState, pool *x509.CertPool, cluster string) error {
	if len(state.PeerCertificates) == 0 {
		return federation.Errorf(federation.Unauthenticated, "the peer showed no certificate")
	}
	leaf := state.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return federation.Errorf(federation.Unauthenticated, "the peer's certificate is not of this cluster's CA: %w", err)
	}
	id, err := IdentityOf(leaf)
	switch {
	case err != nil:
		return err
	case id.Role != RoleNode:
		return federation.Errorf(federation.Forbidden, "the peer port takes nodes, the certificate names the %s %.64q", id.Role, id.Name)
	case id.Cluster != cluster:
		return federation.Errorf(federation.Forbidden, "the peer's certificate is of another cluster: %.64q", id.Cluster)
	}
	return nil
}
