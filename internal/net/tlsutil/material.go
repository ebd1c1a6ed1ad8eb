package tlsutil

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/disk"
)

// Files are the PEM files of one end of TLS. Cert and Key go together; what an
// end does not have is empty.
type Files struct {
	Cert, Key string
	CA        string // one or more certificates that the other end may be of
}

// Material is what one reading of [Files] gave. It is never changed.
type Material struct {
	// Certificate has its Leaf; nil where there is none.
	Certificate *tls.Certificate
	// Pool holds CAs; nil where there are none.
	Pool *x509.CertPool
	CAs  []*x509.Certificate

	// sessions are those that were begun with this material; others are never
	// resumed with it. tickets is the key of those that a server began.
	sessions tls.ClientSessionCache
	tickets  [32]byte
}

// newMaterial returns material without any file, which resumes no session of before.
func newMaterial() *Material {
	m := &Material{sessions: tls.NewLRUClientSessionCache(Sessions)}
	_, _ = rand.Read(m.tickets[:]) // it never fails
	return m
}

// Sessions is how many TLS sessions a caller keeps, one for each address that it
// calls: a zone knows a handful of members.
const Sessions = 16

// maxPEMFile bounds what is read of a file: a bundle of all public CAs is a
// quarter of it.
const maxPEMFile = 1 << 20

// contents are the bytes of the files, and a hash over all of them.
type contents struct {
	cert, key, ca []byte
	sum           [sha256.Size]byte
}

func (f Files) read() (c contents, err error) {
	sum := sha256.New()
	for _, file := range []struct {
		path string
		into *[]byte
	}{{f.Cert, &c.cert}, {f.Key, &c.key}, {f.CA, &c.ca}} {
		if file.path == "" {
			continue
		}
		if *file.into, err = readPEMFile(file.path, file.path == f.Key); err != nil {
			return contents{}, err
		}
		part := sha256.Sum256(*file.into) // of a fixed length: no two triples share a hash
		sum.Write(part[:])
	}
	sum.Sum(c.sum[:0])
	return c, nil
}

// readPEMFile reads a file, of a private key only one that others may not read.
func readPEMFile(path string, private bool) ([]byte, error) {
	f, err := disk.Open(path)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading TLS material: %w", err)
	}
	defer f.Close()
	if private {
		info, err := f.Stat()
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "reading TLS material: %w", err)
		}
		if err := disk.CheckSecret("private key", path, info); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPEMFile+1))
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading TLS material: %w", err)
	}
	if len(data) > maxPEMFile {
		return nil, federation.Errorf(federation.Invalid, "%s has more than %d bytes: that is no TLS material", path, maxPEMFile)
	}
	return data, nil
}

// parse makes the material of the contents. An error names the file at fault and
// never shows what is in it.
func (f Files) parse(c contents) (*Material, error) {
	m := newMaterial()
	if f.CA != "" {
		cas, err := ParseCertificates(c.ca)
		if err != nil || len(cas) == 0 {
			return nil, badPool(f.CA)
		}
		m.CAs, m.Pool = cas, x509.NewCertPool()
		for _, ca := range cas {
			m.Pool.AddCert(ca)
		}
	}
	if f.Cert != "" {
		pair, err := tls.X509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, badPair(f.Cert, f.Key, err)
		}
		m.Certificate = &pair
	}
	return m, nil
}

func badPool(path string) error {
	return federation.Errorf(federation.Invalid, "%s holds no PEM certificate", path).
		WithHint("give the CA certificate of the global, for example the ca.crt that `global dev` or `global certs ca` writes")
}

func badPair(certFile, keyFile string, err error) error {
	return federation.Errorf(federation.Invalid, "reading the TLS certificate %s with key %s: %w", certFile, keyFile, err).
		WithHint("both must be PEM files, and the key must belong to the certificate")
}

// ParseCertificates returns the certificates among the PEM blocks of data; blocks
// of other types are passed over.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "certificate %d is damaged: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
}

// checkChain reports whether the certificate is of a CA of the same material. It
// is judged at the moment of the certificate's validity that is nearest to now:
// that it has ended is the expiry's matter, and said there.
func (m *Material) checkChain(now time.Time) error {
	if m.Certificate == nil || m.Pool == nil {
		return nil
	}
	leaf := m.Certificate.Leaf
	switch {
	case !clock.Begun(leaf.NotBefore, now, 0):
		now = leaf.NotBefore
	case clock.Ended(leaf.NotAfter, now):
		now = leaf.NotAfter
	}
	intermediates := x509.NewCertPool()
	for _, der := range m.Certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(c)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: m.Pool, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// sameCertificate reports whether both materials show the same certificate.
func (m *Material) sameCertificate(other *Material) bool {
	if m.Certificate == nil || other.Certificate == nil {
		return m.Certificate == other.Certificate
	}
	return bytes.Equal(m.Certificate.Certificate[0], other.Certificate.Certificate[0])
}
