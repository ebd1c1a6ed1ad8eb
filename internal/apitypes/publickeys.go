package apitypes

import "time"

// TypePublicKey is the type name of a registered public key.
const TypePublicKey = "PublicKey"

// PublicKey is a key whose private half issues tokens elsewhere, and the bounds of
// what it may vouch for, as GET /v1/public-keys/{kind}/{kid} answers it and as PUT
// takes it; dataplane keys are addressed with ?mesh=. A PUT replaces the bounds; the
// key under a kid never changes.
type PublicKey struct {
	Type string `json:"type"`
	// Kind is zone-token or dataplane-token, in an answer zone or dataplane.
	Kind string `json:"kind"`
	Mesh string `json:"mesh,omitempty"` // of dataplane tokens, required
	// KID is what the header of the tokens has; not digits alone.
	KID string `json:"kid"`
	// Key is PEM, PKCS#1 or SubjectPublicKeyInfo; in an answer PKCS#1.
	Key string `json:"key"`
	// Zones that zone tokens may be for; empty: any.
	Zones []string `json:"zones,omitempty"`
	// Scopes that zone tokens may carry; empty in a PUT: egress and ingress.
	Scopes []string `json:"scopes,omitempty"`
	// MaxLifetime of a token, a duration; empty: any.
	MaxLifetime string `json:"maxLifetime,omitempty"`
	// AllowNoExpiry and AllowNoID accept tokens without exp and without jti.
	AllowNoExpiry bool `json:"allowNoExpiry,omitempty"`
	AllowNoID     bool `json:"allowNoID,omitempty"`

	// The others are ignored in a PUT. Fingerprint is the SHA-256 of the key's
	// SubjectPublicKeyInfo, hexadecimal.
	Fingerprint string `json:"fingerprint,omitempty"`
	// NotInKeySet says why the key sets of zones leave the key out; "" where they have it.
	NotInKeySet  string     `json:"notInKeySet,omitempty"`
	By           string     `json:"by,omitempty"`
	CreationTime *time.Time `json:"creationTime,omitempty"`
}

// PublicKeyChange is the answer to a PUT of a registered key, with the warnings of
// [SecretChange].
type PublicKeyChange struct {
	PublicKey
	Warnings []string `json:"warnings,omitempty"`
}
