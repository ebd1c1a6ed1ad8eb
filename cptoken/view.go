package cptoken

import "time"

// View is a consistent picture of keys and revocations that a token is held
// against. Implementations are immutable or safe for concurrent use, answer
// without locks or I/O, and hold no key in state Removed.
type View interface {
	// Key returns the key, or nil where it is unknown or removed.
	Key(id KeyID) *PublicKey
	// Revoked reports whether the id (a jti, or "sha256:<hex>" of a token that
	// has none) of the kind and mesh is revoked.
	Revoked(kind Kind, mesh, id string) bool
	// CutOff returns the latest cut-off that applies to tokens of the kind, mesh
	// and kid: tokens issued before it are refused. Zero where there is none.
	CutOff(kind Kind, mesh, kid string) time.Time
	// Pruned returns the time up to which what had expired may be forgotten: a token
	// that expired before it has expired, whatever the clock says, because nobody
	// remembers any more whether it was revoked. Zero where nothing was forgotten.
	Pruned() time.Time
}

// RevokedID is one revoked token id.
type RevokedID struct {
	// ID is the token's jti, or "sha256:" and 64 hexadecimal digits.
	ID string
	// Expires is the token's own expiry in Unix seconds if it is known from a
	// token whose signature verified, else 0. A revocation may be forgotten only
	// after it.
	Expires int64
}

// MaxIDLen bounds a revoked id and so a jti, in bytes.
const MaxIDLen = 128

// RevokedRun is a run of revoked ids of one kind and mesh.
type RevokedRun struct {
	Kind Kind
	Mesh string
	IDs  []RevokedID
}

// CutOffID names what a cut-off applies to. An empty KID means every key of the
// kind and mesh.
type CutOffID struct {
	Kind Kind
	Mesh string
	KID  string
}

// CutOff refuses every token of its id that was issued before a time.
type CutOff struct {
	CutOffID
	Before time.Time // whole seconds, as iat has
}

// Change is one thing that a holder of keys and revocations must apply. Exactly
// one of the pointers is set.
type Change struct {
	// Index is the Raft index at which it happened.
	Index uint64

	Key             *PublicKey  // a key appeared or changed its state
	RemovedKey      *KeyID      // a key was removed: a tombstone
	Revoked         *RevokedRun // ids were revoked
	Withdrawn       *RevokedRun // revocations were withdrawn; Expires is unused
	CutOff          *CutOff     // a cut-off was set or moved
	CutOffWithdrawn *CutOffID   // a cut-off was withdrawn
	Skipped         *Skipped    // something that this version does not understand
}

// MaxRun bounds the ids in one RevokedRun of a Change.
const MaxRun = 2048
