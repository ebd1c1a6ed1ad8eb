package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"sync"

	"github.com/meridiankds/meridian/federation"
)

// Expectation is whom a caller takes for the other end, beside the host name and the
// CA: another role's certificate of the same CA would pass for it otherwise. It applies
// where a certificate names any meridian:// identity; one without, of a public CA, of a
// balancer that ends TLS or of a Kuma global, is taken as the host name and the CA allow.
type Expectation struct {
	role Role

	mu      sync.Mutex
	cluster string   // "": not known yet
	names   []string // empty: not known yet
}

// Expect returns the expectation of a role. cluster and names, of which one must answer,
// are those that are known: of the first one that answers the cluster is remembered, and
// of a zone its name.
func Expect(role Role, cluster string, names ...string) *Expectation {
	return &Expectation{role: role, cluster: cluster, names: names}
}

// Verify is a tls.Config's VerifyConnection.
func (e *Expectation) Verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 || !namesIdentity(state.PeerCertificates[0]) {
		return nil
	}
	id, err := IdentityOf(state.PeerCertificates[0])
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	wrong := func(format string, args ...any) *federation.Error {
		return federation.Errorf(federation.Forbidden, format, args...).
			WithHint("find out what answers at that address: its certificate is of the right CA and not of the right end")
	}
	switch {
	case id.Role != e.role:
		return wrong("the certificate that answers names the %s %.64q, a %s's is needed", id.Role, id.Name, e.role).WithReason("wrong_role")
	case e.cluster != "" && id.Cluster != e.cluster:
		return wrong("the certificate that answers is of cluster %.64q, expected %s", id.Cluster, e.cluster).WithReason("other_cluster")
	case len(e.names) > 0 && !slices.Contains(e.names, id.Name):
		return wrong("the certificate that answers names the %s %.64q, expected %s", id.Role, id.Name, strings.Join(e.names, " or ")).WithReason("other_name")
	}
	e.cluster = id.Cluster
	if e.role == RoleZone {
		e.names = []string{id.Name}
	}
	return nil
}

// Demand adds the expectation to what a configuration verifies, and returns it.
func (e *Expectation) Demand(config *tls.Config) *tls.Config {
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := e.Verify(state); err != nil || verify == nil {
			return err
		}
		return verify(state)
	}
	return config
}

// namesIdentity reports whether a certificate has any meridian:// URI, a good one or not.
func namesIdentity(cert *x509.Certificate) bool {
	for _, u := range cert.URIs {
		if u.Scheme == scheme {
			return true
		}
	}
	return false
}

// Cluster is the cluster that the material is of: that of its own certificate, or the
// one that every CA names; "" where neither tells.
func (m *Material) Cluster() string {
	if m.Certificate != nil {
		if id, err := IdentityOf(m.Certificate.Leaf); err == nil {
			return id.Cluster
		}
	}
	cluster := ""
	for _, ca := range m.CAs {
		named := clusterOf(ca)
		if named == "" || cluster != "" && named != cluster {
			return ""
		}
		cluster = named
	}
	return cluster
}
