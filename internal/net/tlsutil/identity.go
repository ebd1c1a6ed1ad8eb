package tlsutil

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// Role is what the holder of a certificate is.
type Role string

// The roles. Each port takes one.
const (
	RoleNode Role = "node" // a member of the global cluster
	RoleZone Role = "zone" // a zone control plane
	RoleUser Role = "user" // an operator
)

// Identity is who a certificate names.
type Identity struct {
	Cluster string
	Role    Role
	Name    string
}

const scheme = "meridian"

// URI returns the identity as it stands in a certificate's SAN.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Cluster, Path: "/" + string(i.Role) + "/" + i.Name}
}

// Validate reports what keeps i from being an identity. Nodes and zones have names
// as everywhere else; a user's may be a mail address.
func (i Identity) Validate() error {
	if err := federation.ValidateName("cluster", i.Cluster); err != nil {
		return err
	}
	if i.Role != RoleUser {
		return federation.ValidateName("name", i.Name)
	}
	const others = "-._@+"
	ok := i.Name != "" && len(i.Name) <= federation.MaxNameLen
	for _, c := range i.Name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(others, c))
	}
	if !ok {
		return federation.InvalidField("name", "%.80q is not a user's name: use letters, digits and %s, at most %d characters",
			i.Name, others, federation.MaxNameLen)
	}
	return nil
}

// IdentityOf reads the identity in a certificate's URI SAN. It refuses a
// certificate that has none or several: which of them counted would depend on
// who reads it.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range cert.URIs {
		if u.Scheme != scheme {
			continue
		}
		role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		id := Identity{Cluster: u.Host, Role: Role(role), Name: name}
		if !ok || id.Cluster == "" || name == "" || strings.Contains(name, "/") || id.URI().String() != u.String() {
			return Identity{}, badIdentity("the certificate's URI SAN is not meridian://<cluster>/<node|zone|user>/<name>")
		}
		found = append(found, id)
	}
	if len(found) != 1 {
		return Identity{}, badIdentity("the certificate has %d meridian:// URI SANs, want exactly one", len(found))
	}
	switch found[0].Role {
	case RoleNode, RoleZone, RoleUser:
		return found[0], nil
	}
	return Identity{}, badIdentity("the certificate's role is not node, zone or user")
}

// KeyOf names a certificate's key: "sha256:" and the SHA-256 of its public part
// (SubjectPublicKeyInfo), in hexadecimal. Certificates that are made anew for the same
// key have the same name.
func KeyOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// KeepIdentity returns an [Options].Accept that takes certificates of the role,
// and after the first one its identity alone: a node whose certificate names
// another cluster or another node wants a restart, not a reload.
func KeepIdentity(role Role) func(*x509.Certificate) error {
	var own Identity
	return func(leaf *x509.Certificate) error {
		id, err := IdentityOf(leaf)
		switch {
		case err != nil:
			return err
		case id.Role != role:
			return federation.Errorf(federation.Invalid, "the TLS certificate names the %s %s, a %s's is needed", id.Role, id.Name, role).
				WithHint("%s", "name it with --tls-cert-file and --tls-key-file; "+made[role])
		case own != (Identity{}) && id != own:
			return federation.Errorf(federation.Invalid, "the TLS certificate names %s, this process runs as %s", id.URI(), own.URI()).
				WithHint("restart it to have it run as another")
		}
		own = id
		return nil
	}
}

// made says what makes a certificate of a role.
var made = map[Role]string{RoleNode: "`global certs node` makes one", RoleZone: "`global certs zone` makes one"}

// User returns the operator whom a client certificate names, held against the CAs
// of this moment: a connection may outlive its certificate, and a CA. cluster is the
// one that the certificate must be of.
func (s *Source) User(state *tls.ConnectionState, cluster string) (string, error) {
	if len(state.PeerCertificates) == 0 {
		return "", federation.Errorf(federation.Unauthenticated, "no client certificate was shown").WithReason("missing_certificate")
	}
	if s.Current().Pool == nil {
		return "", federation.Errorf(federation.Unauthenticated, "this port knows no CA of users").WithReason("bad_certificate")
	}
	leaf := state.PeerCertificates[0]
	err := s.verify(state.PeerCertificates, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return "", federation.Errorf(federation.Unauthenticated, "the client certificate is not good: %w", err).WithReason("bad_certificate").
			WithHint("have a new one made: global certs user")
	}
	id, err := IdentityOf(leaf)
	switch {
	case err != nil:
		return "", err
	case id.Role != RoleUser:
		return "", federation.Errorf(federation.Forbidden, "the certificate names the %s %.64q, this port takes users", id.Role, id.Name).
			WithReason("wrong_role").WithHint("show a user's certificate, or none and a user token: global certs user")
	case id.Cluster != cluster:
		return "", federation.Errorf(federation.Forbidden, "the certificate is of another cluster: %.64q", id.Cluster).WithReason("other_cluster")
	}
	if err := id.Validate(); err != nil {
		return "", badIdentity("the certificate's user has a name that users do not have")
	}
	if err := s.Refused(leaf); err != nil {
		return "", err
	}
	return id.Name, nil
}

func badIdentity(format string, args ...any) error {
	return federation.Errorf(federation.Unauthenticated, format, args...).WithReason("bad_identity")
}
