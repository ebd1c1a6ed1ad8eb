package tlsutil

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// NewClusterAuthority makes the authority of a cluster whose name its certificate
// tells, as the URI SAN meridian://<cluster>: what is issued later needs not be
// told it again.
func NewClusterAuthority(cluster string, lifetime time.Duration, now time.Time) (*Authority, error) {
	if err := federation.ValidateName("cluster", cluster); err != nil {
		return nil, err
	}
	return newAuthority("Meridian CA of cluster "+cluster, []*url.URL{{Scheme: scheme, Host: cluster}}, lifetime, now)
}

// Cluster is the cluster that the authority's certificate names, "" where it
// names none.
func (a *Authority) Cluster() string { return clusterOf(a.cert) }

func clusterOf(ca *x509.Certificate) string {
	for _, u := range ca.URIs {
		if u.Scheme == scheme && u.Path == "" {
			return u.Host
		}
	}
	return ""
}

// Certificate is the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// KeyPEM returns the authority's private key.
func (a *Authority) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the CA key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Save writes ca.crt and ca.key into dir, the key with mode 0600. It overwrites
// neither: who trusts the former CA would be locked out.
func (a *Authority) Save(dir string) error {
	key, err := a.KeyPEM()
	if err != nil {
		return err
	}
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	for _, path := range []string{certPath, keyPath} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return federation.Errorf(federation.Conflict, "%s is there already: a CA is never overwritten", path).
				WithHint("write the new one into another folder, or move the former away")
		}
	}
	if err := WriteFile(keyPath, key, 0o600); err != nil {
		return err
	}
	return WriteFile(certPath, a.CertPEM(), 0o644)
}

// LoadAuthority reads ca.crt and ca.key from dir.
func LoadAuthority(dir string) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	pair, err := loadPair(certPath, keyPath)
	if tooOpen(err) {
		return nil, err
	}
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading the CA %s with key %s: %w", certPath, keyPath, err).
			WithHint("name the folder that `global certs ca` wrote with --ca-dir")
	}
	return authorityOf(pair, certPath, keyPath)
}

// authorityOf takes a key pair for the authority that it should be.
func authorityOf(pair tls.Certificate, certPath, keyPath string) (*Authority, error) {
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || pair.Leaf == nil || !pair.Leaf.IsCA {
		return nil, federation.Errorf(federation.Internal, "%s and %s are not a CA made by this program", certPath, keyPath).
			WithHint("move them away to have new ones made; zones then need the new %s", CAFile)
	}
	return &Authority{cert: pair.Leaf, der: pair.Certificate[0], key: key}, nil
}

// Hosts are the DNS names and IP addresses that a certificate is good for.
func Hosts(cert *x509.Certificate) []string {
	hosts := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

// loadPair reads a certificate and its key, which others must not be able to read: a
// CA's key vouches for everybody.
func loadPair(certPath, keyPath string) (tls.Certificate, error) {
	cert, err := readPEMFile(certPath, false)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readPEMFile(keyPath, true)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// tooOpen reports whether an error is about a file that others may use: no file is made
// anew in its place, since what it held may be in other hands.
func tooOpen(err error) bool { return err != nil && federation.AsError(err).Reason == disk.TooOpen }
