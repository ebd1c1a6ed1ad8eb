package tlsutil

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
)

// What an end trusts is told by the fingerprints of its CAs, so that nobody uses a
// certificate of a CA, or drops one, before the others know it.

const (
	// MaxTrusted is how many CAs are told: those that name a cluster come first.
	MaxTrusted = 16
	// MaxTrustLen bounds them as text.
	MaxTrustLen = MaxTrusted * (len("sha256:") + 2*sha256.Size + 1)
	// TrustSystem stands for the CAs of the system, which nobody can list.
	TrustSystem = "system"
	// TrustPlain stands for an end that speaks no TLS.
	TrustPlain = "plain"
)

// Fingerprint names a certificate: "sha256:" and the SHA-256 of all of it, in hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Trusts names the CAs that the other end may be of, separated by blanks; TrustSystem
// where there are none of its own.
func (m *Material) Trusts() string {
	if m.Pool == nil {
		return TrustSystem
	}
	cas := slices.Clone(m.CAs)
	slices.SortStableFunc(cas, func(a, b *x509.Certificate) int {
		return cmp.Compare(clusterRank(a), clusterRank(b))
	})
	var names []string
	for _, ca := range cas[:min(len(cas), MaxTrusted)] {
		names = append(names, Fingerprint(ca))
	}
	return strings.Join(names, " ")
}

func clusterRank(ca *x509.Certificate) int {
	if clusterOf(ca) != "" {
		return 0
	}
	return 1
}

// Shows names the CA, of those of the material, that vouches for its own certificate; ""
// where there is none.
func (m *Material) Shows() string {
	if m.Certificate == nil || m.Certificate.Leaf == nil {
		return ""
	}
	for _, ca := range m.CAs {
		if m.Certificate.Leaf.CheckSignatureFrom(ca) == nil {
			return Fingerprint(ca)
		}
	}
	return ""
}

// ShownBy names the CA that vouches for what the other end of a connection showed and
// was verified for; "" where it showed nothing.
func ShownBy(state tls.ConnectionState) string {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return ""
	}
	chain := state.VerifiedChains[0]
	return Fingerprint(chain[len(chain)-1])
}
