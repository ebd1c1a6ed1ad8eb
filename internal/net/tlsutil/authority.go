package tlsutil

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// Names of the files that [LoadOrMake] keeps in its folder.
const (
	CAFile    = "ca.crt"
	caKeyFile = "ca.key"
	certFile  = "node.crt"
	keyFile   = "node.key"
)

// SelfMadeFiles are the files that [LoadOrMake] keeps in dir.
func SelfMadeFiles(dir string) Files {
	return Files{Cert: filepath.Join(dir, certFile), Key: filepath.Join(dir, keyFile), CA: filepath.Join(dir, CAFile)}
}

// Lifetimes of what an Authority makes unless it is told otherwise. A leaf is
// made anew well before its end.
const (
	CALifetime   = 10 * 365 * 24 * time.Hour
	LeafLifetime = 365 * 24 * time.Hour
	// clockSkew is how far behind the clock of a verifier may be.
	clockSkew = 5 * time.Minute
)

// Authority is a certificate authority of one cluster, ECDSA P-256.
type Authority struct {
	cert *x509.Certificate
	der  []byte
	key  *ecdsa.PrivateKey
}

// NewAuthority makes the authority of a cluster. name is shown by tools that
// list certificates; nothing is decided by it.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	return newAuthority(name, nil, CALifetime, now)
}

func newAuthority(name string, uris []*url.URL, lifetime time.Duration, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a CA key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(lifetime),
		URIs:                  uris,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making a CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the CA certificate: %w", err)
	}
	return &Authority{cert: cert, der: der, key: key}, nil
}

// CertPEM returns the authority's certificate.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der})
}

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue makes a certificate of [LeafLifetime] for the identity. hosts are the DNS
// names and IP addresses under which a server with it is reached.
func (a *Authority) Issue(id Identity, hosts []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	return a.IssueFor(id, hosts, LeafLifetime, now)
}

// IssueFor is [Authority.Issue] with a lifetime, cut to the authority's own. A
// node's and a zone's certificate is good for servers and clients, a user's for
// clients only.
func (a *Authority) IssueFor(id Identity, hosts []string, lifetime time.Duration, now time.Time) (certPEM, keyPEM []byte, err error) {
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if id.Role != RoleUser {
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	end := clock.First(now.Add(lifetime), a.cert.NotAfter)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: string(id.Role) + " " + id.Name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  usage,
		URIs:         []*url.URL{id.URI()},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate for %s: %w", id.URI(), err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

func serialNumber() (*big.Int, error) {
	// 128 random bits, more than the 64 that CAs are asked for.
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	return n, nil
}

// LoadOrMake returns the authority and the certificate that dir holds for the
// identity, and makes them where they are absent, about to end, or by the clock not
// valid yet: what a single process on a laptop needs to speak TLS without anything set up before. The
// folder is made with mode 0700, keys with 0600.
func LoadOrMake(dir string, id Identity, hosts []string, now time.Time) (*Authority, tls.Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, tls.Certificate{}, federation.Errorf(federation.Internal, "making the folder for TLS material: %w", err)
	}
	authority, err := loadOrMakeAuthority(dir, id.Cluster, now)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	certPath, keyPath := filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
	switch cert, err := loadPair(certPath, keyPath); {
	case tooOpen(err):
		return nil, tls.Certificate{}, err
	case err == nil && authority.stillGood(cert, id, hosts, now):
		return authority, cert, nil
	}
	certPEM, keyPEM, err := authority.Issue(id, hosts, now)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	if err := WriteFile(keyPath, keyPEM, 0o600); err != nil {
		return nil, tls.Certificate{}, err
	}
	if err := WriteFile(certPath, certPEM, 0o644); err != nil {
		return nil, tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	return authority, cert, err
}

// stillGood reports whether a certificate read from disk can serve for at least
// another month under the identity and every host.
func (a *Authority) stillGood(cert tls.Certificate, id Identity, hosts []string, now time.Time) bool {
	leaf := cert.Leaf
	if leaf == nil || leaf.CheckSignatureFrom(a.cert) != nil || !clock.Begun(leaf.NotBefore, now, 0) || clock.Ended(leaf.NotAfter, now.Add(WarnAhead)) {
		return false
	}
	if got, err := IdentityOf(leaf); err != nil || got != id {
		return false
	}
	for _, h := range hosts {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

func loadOrMakeAuthority(dir, cluster string, now time.Time) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	pair, err := loadPair(certPath, keyPath)
	if tooOpen(err) {
		return nil, err
	}
	if err == nil {
		authority, err := authorityOf(pair, certPath, keyPath)
		if err != nil || dated(authority.cert, now) == nil {
			return authority, err
		}
		// Nobody whose clock is this one's can verify anything with it. What a process leaves
		// that is killed in the middle is what one leaves that is killed at its first start.
		if err := removeSelfMade(dir, certFile, keyFile, CAFile); err != nil {
			return nil, err
		}
	} else if !mayMakeAuthority(dir) {
		return nil, federation.Errorf(federation.Internal, "reading the CA in %s: %w", dir, err).
			WithHint("restore %s and %s, or move both away to have a new CA made", CAFile, caKeyFile)
	}
	authority, err := NewClusterAuthority(cluster, CALifetime, now)
	if err != nil {
		return nil, err
	}
	// A key without anything else is of a first start that was killed.
	if err := os.Remove(keyPath); err != nil && !os.IsNotExist(err) {
		return nil, federation.Errorf(federation.Internal, "removing the unfinished CA key: %w", err)
	}
	return authority, authority.Save(dir)
}

// removeSelfMade removes files of the folder in an order.
func removeSelfMade(dir string, names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
			return federation.Errorf(federation.Internal, "removing what the clock does not allow any more: %w", err)
		}
	}
	return nil
}

// dated returns why a certificate is not valid at a time, or nil.
func dated(cert *x509.Certificate, now time.Time) error {
	switch {
	case !clock.Begun(cert.NotBefore, now, 0):
		return federation.Errorf(federation.Unavailable, "the certificate %s is valid from %s on, and the clock says %s",
			SubjectOf(cert), cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).WithReason("certificate_not_valid")
	case clock.Ended(cert.NotAfter, now):
		return federation.Errorf(federation.Unavailable, "the certificate %s ended at %s, and the clock says %s",
			SubjectOf(cert), cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).WithReason("certificate_not_valid")
	}
	return nil
}

// mayMakeAuthority reports whether nobody can trust an authority of the folder yet:
// replacing one would lock out everybody who does. Files appear in the order CA key,
// CA certificate, node's key, node's certificate, each durable before the next. So a
// CA key without any of the others is of a process that was killed at its first
// start; without its certificate but with a node's, the certificate was lost.
func mayMakeAuthority(dir string) bool {
	for _, name := range []string{CAFile, keyFile, certFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			return false
		}
	}
	return true
}
