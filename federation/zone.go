package federation

import (
	"strings"
	"time"
)

// MaxNameLen bounds the names of zones and meshes: the length of a DNS label
// (RFC 1035, section 2.3.4), so that any of them without '_' can be part of a host name.
const MaxNameLen = 63

// ValidateName checks the name of a zone or mesh: 1 to 63 of a-z, 0-9, '-', '_' and
// '.', as Kuma allows them, beginning and ending with a letter or digit. field is how the caller
// spelled the input.
func ValidateName(field, name string) error {
	switch {
	case name == "":
		return InvalidField(field, "must not be empty")
	case len(name) > MaxNameLen:
		return InvalidField(field, "must have at most %d characters, has %d", MaxNameLen, len(name))
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(name)-1
		if !alnum && !(inner && (c == '-' || c == '_' || c == '.')) {
			return InvalidField(field, "%.80q is not a name: use a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit", name)
		}
	}
	if strings.Contains(name, "..") {
		return InvalidField(field, "%.80q is not a name: it has an empty part between dots", name)
	}
	return nil
}

// AuthMode is how a zone control plane proves to the global who it is.
type AuthMode string

// The modes. The default of new zones is the global's --kds-auth.
const (
	// AuthToken: a control plane token, or a zone token whose only scope is cp.
	AuthToken AuthMode = "token"
	// AuthCertificate: a TLS client certificate whose URI SAN names the zone.
	AuthCertificate AuthMode = "certificate"
	// AuthNone: nothing is demanded. What is presented is checked all the same
	// and its verdict shown, so that tokens can be rolled out first.
	AuthNone AuthMode = "none"
)

// ParseAuthMode reads a mode as operators write it; "cpToken" is the word that
// --kds-auth has for AuthToken.
func ParseAuthMode(field, s string) (AuthMode, error) {
	switch AuthMode(s) {
	case AuthToken, AuthCertificate, AuthNone:
		return AuthMode(s), nil
	case "cpToken":
		return AuthToken, nil
	}
	return "", InvalidField(field, "%.40q is not a way to authenticate: use token, certificate or none", s)
}

// Zone is the global's record of a zone. A record appears when the zone first
// joins or when an operator applies it, and stays as a tombstone (Deleted) until
// it is applied again, so that a token issued long ago cannot bring it back.
type Zone struct {
	Name    string
	Enabled bool
	// Auth is empty where the record follows the global's --kds-auth.
	Auth AuthMode
	// Relay is what the zone may ask of the global for its users.
	Relay     RelayPolicy
	FirstSeen time.Time // zero: never connected
	Created   time.Time
	Modified  time.Time
	Deleted   bool
}

// RelayPolicy bounds the tokens that a zone may ask the global to issue for a
// user of the zone. The zero value allows none.
type RelayPolicy struct {
	// Meshes that dataplane tokens may be asked for.
	Meshes []string
	// MaxValidity of such a token; 0 means DefaultRelayValidity.
	MaxValidity time.Duration
}

// DefaultRelayValidity is the longest validity of a relayed token where the
// zone's record does not say otherwise.
const DefaultRelayValidity = 24 * time.Hour

// Admit decides whether a zone of this record may hold a KDS session. It returns
// nil or a Forbidden error that tells the operator which command allows it.
func (z *Zone) Admit() error {
	switch {
	case z.Deleted:
		return Errorf(Forbidden, "zone %s was deleted", z.Name).
			WithReason("zone_deleted").
			WithHint("apply the zone again to admit it: global apply -f zone.yaml")
	case !z.Enabled:
		return Errorf(Forbidden, "zone %s is disabled", z.Name).
			WithReason("zone_disabled").
			WithHint("apply the zone with enabled: true to admit it")
	}
	return nil
}
