package state

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// Key is what may be known of a signing key or a registered public key: all but
// the sealed material. It is a value; Public and Registered must not be changed.
type Key struct {
	ID cptoken.KeyID
	// Serial is the kid as a number; 0 for a registered public key.
	Serial uint64
	Alg    string
	State  cptoken.KeyState
	// Public is nil for a symmetric key.
	Public *cptoken.PublicKey
	// Fingerprint is the SHA-256 of the public part, or of a symmetric key a hash
	// that is bound to the cluster.
	Fingerprint []byte
	// Imported keys were brought by an operator: their tokens may lack exp and jti.
	Imported bool
	// Blocked keys sign nothing: a zone knows them as removed.
	Blocked bool
	// Registered is set for a public key whose private half Meridian never had.
	Registered *cptoken.Constraints
	// By is who made the key.
	By string
	// Times are those of the proposers' clocks; zero where the key never was so.
	Created, Prepared, Active, Retiring time.Time
	// Index is the Raft index of the key's last change, PreparedIndex and
	// RetiringIndex those at which it became so; 0 where it never did. A gate waits
	// until every member has applied the one that it needs.
	Index, PreparedIndex, RetiringIndex uint64
}

// Mesh is the global's record of a mesh.
type Mesh struct {
	Name              string
	Created, Modified time.Time
}

// Revocation is one revoked token id and its record.
type Revocation struct {
	cptoken.RevokedID
	Reason string
	By     string
	At     time.Time
	// Index is the Raft index at which it was revoked, or last revoked again with
	// a later expiry.
	Index uint64
}

// CutOff is a cut-off and its record.
type CutOff struct {
	cptoken.CutOff
	Reason string
	By     string
	At     time.Time
	Index  uint64
}

// listID names a list of revocations or a line of serials.
type listID struct {
	kind cptoken.Kind
	mesh string
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// KeyName is a key as the command line names it, for messages to operators:
// "zone-token 1", "dataplane-token 1 of mesh default".
func KeyName(id cptoken.KeyID) string {
	name := id.Kind.TokenName() + " " + id.KID
	if id.Mesh != "" {
		name += " of mesh " + id.Mesh
	}
	return name
}
