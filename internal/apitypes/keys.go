package apitypes

import "time"

// Key is a signing key or a registered public key, without any private part.
type Key struct {
	Kind   string `json:"kind"`
	Mesh   string `json:"mesh,omitempty"`
	KID    string `json:"kid"`
	Serial uint64 `json:"serial,omitempty"` // absent for a registered key
	Alg    string `json:"alg"`
	// State is "prepared", "active", "retiring" or "removed".
	State string `json:"state"`
	// Name is the name of the secret under which users know the key, empty for a
	// registered key.
	Name string `json:"name,omitempty"`
	// Fingerprint is hexadecimal: the SHA-256 of a public key's
	// SubjectPublicKeyInfo, or of a control plane key a hash bound to the cluster.
	Fingerprint string     `json:"fingerprint"`
	Created     *time.Time `json:"created,omitempty"`
	Prepared    *time.Time `json:"prepared,omitempty"`
	Active      *time.Time `json:"active,omitempty"`
	Retiring    *time.Time `json:"retiring,omitempty"`
	By          string     `json:"by,omitempty"`
	Imported    bool       `json:"imported,omitempty"`
	Registered  bool       `json:"registered,omitempty"`
	// Broken: its sealed private part does not belong to its public part, so that it
	// signs and verifies nothing, at zones either.
	Broken bool `json:"broken,omitempty"`
}

// KeyPrepareRequest is the body of POST /v1/keys/prepare. Status 201 with the new
// key, or 200 with the key of that kind and mesh that is prepared already.
type KeyPrepareRequest struct {
	Kind string `json:"kind"`
	Mesh string `json:"mesh,omitempty"`
}

// KeyStepRequest is the body of POST /v1/keys/activate, retire and remove.
type KeyStepRequest struct {
	Kind string `json:"kind"`
	Mesh string `json:"mesh,omitempty"`
	KID  string `json:"kid"`
	// Force takes the step although a gate is not open or tokens are cut off.
	Force bool `json:"force,omitempty"`
	// Compromised says that the key is in a stranger's hands. Only for remove.
	Compromised bool `json:"compromised,omitempty"`
}

// KeyChange is the answer to a step in a key's life.
type KeyChange struct {
	Key     Key      `json:"key"`
	Holding *Holding `json:"holding,omitempty"`
	// CutOff says, of a removal, which tokens are refused from now on.
	CutOff string `json:"cutOff,omitempty"`
	// Warnings are those of [SecretChange], in the answer to DELETE of a registered key.
	Warnings []string `json:"warnings,omitempty"`
}

// Holding says who has what a step waits for. Held, Waiting, Offline and Unproven
// are names of zones; Members are ids of members that have not reported or not
// applied it yet, Silent of members whose lease ended. The step waits for Waiting
// and Members only.
type Holding struct {
	Open    bool     `json:"open"`
	Held    []string `json:"held"`
	Waiting []string `json:"waiting"`
	Offline []string `json:"offline"`
	// Kuma are the zones that neither take nor drop a dataplane or registered key, whether they are
	// waited for, offline or unproven: they run Kuma's control plane, which has such keys
	// from its own configuration.
	Kuma     []string `json:"kuma,omitempty"`
	Unproven []string `json:"unproven,omitempty"` // connected without authentication
	Members  []string `json:"members"`
	Silent   []string `json:"silent,omitempty"`
	// Copies are zones at which others fetched the key set that the key stands in, or
	// stood in, in the last 30 days. They may verify with copies, of which no zone knows.
	Copies []KeySetCopy `json:"copies,omitempty"`
}

// KeySetCopy is a zone at which others fetched a key set, and when last.
type KeySetCopy struct {
	Zone string    `json:"zone"`
	Last time.Time `json:"last"`
}

// KeyHolding is the answer of GET /v1/keys/{kind}/{kid}/holding?mesh=.
type KeyHolding struct {
	Key Key `json:"key"`
	Holding
}
