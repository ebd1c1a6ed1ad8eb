package cptoken

import "time"

// Scope is a use that a zone token is good for.
type Scope string

// The scopes of zone tokens.
const (
	ScopeIngress   Scope = "ingress"
	ScopeEgress    Scope = "egress"
	ScopeCP        Scope = "cp"        // the zone's control plane, at the global
	ScopeDataplane Scope = "dataplane" // data plane proxies where dpProxy.type is zoneToken
)

// DefaultScopes are those of a zone token that was asked for without any.
var DefaultScopes = [...]Scope{ScopeEgress, ScopeIngress}

// Valid reports whether s is a known scope.
func (s Scope) Valid() bool {
	return s == ScopeIngress || s == ScopeEgress || s == ScopeCP || s == ScopeDataplane
}

// DefaultValidity is the lifetime of a token where the request names none:
// 87600h, ten years, as Kuma's users know it.
const DefaultValidity = 87600 * time.Hour

// MaxSkew is how far the clock of whoever issued a token may be ahead of a
// verifier's: a token whose iat is later than that is not valid yet.
const MaxSkew = 5 * time.Minute

// Registered are the claims of RFC 7519 that Meridian reads. Times are zero
// where the token has none; they carry whole seconds.
type Registered struct {
	ID        string // jti
	ExpiresAt time.Time
	NotBefore time.Time
	IssuedAt  time.Time
}

// Claims is what a token says. Fields are those of its kind; the others are
// zero. The names in the token are given behind each. Slices and the map may be
// shared and must not be changed.
type Claims struct {
	Kind Kind
	Registered

	Zone              string              // "Zone": control plane and zone tokens
	TokenSerialNumber uint64              // "TokenSerialNumber": control plane tokens
	Scope             []Scope             // "Scope": zone tokens
	Name              string              // "Name": dataplane and user tokens
	Mesh              string              // "Mesh": dataplane tokens
	Tags              map[string][]string // "Tags": dataplane tokens
	Type              string              // "Type": dataplane tokens: "", "dataplane", "ingress" or "egress"
	Workload          string              // "Workload": dataplane tokens
	Groups            []string            // "Groups": user tokens
	// Audience is "aud" of user tokens: whom they are shown to, see [ZoneAudience]. nil
	// where there is none, and empty where it names nobody. In other kinds it is not ours.
	Audience []string

	// RenewableUntil, Renewal and Root are in tokens of every kind that may be, or
	// were, renewed: until when, how often, and the fingerprint of the key that
	// signed the first of them.
	RenewableUntil time.Time // "RenewableUntil"
	Renewal        uint64    // "Renewal"
	Root           string    // "Root"
}
