package raftstore

import (
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

// What the state holds, as the methods of [Store] take and return it.
type (
	// Key is what may be known of a signing key or a registered public key.
	Key = state.Key
	// Mesh is the record of a mesh.
	Mesh = state.Mesh
	// Revocation is one revoked token id and its record.
	Revocation = state.Revocation
	// CutOff is a cut-off and its record.
	CutOff = state.CutOff
	// Request is what became of a change that was asked for under a request id.
	Request = state.Request
	// Expelled is a node, or the key of a certificate, that is refused on every port.
	Expelled = state.Expelled
	// Backup is what a backup says about itself.
	Backup = state.Backup
)

// Origin says who asked for a change. RequestID may be empty; the same one
// within ten minutes has the same result instead of a second effect.
type Origin struct {
	By        string
	RequestID string
}

// Change is what a write came to.
type Change struct {
	// Revision is where zones stand once they have seen the change.
	Revision federation.Revision
	// Changed counts the items that were not so already.
	Changed uint64
	// Replaced is the cluster whose state a restore replaced, where the backup is of
	// another one.
	Replaced string
}

// RemoveOptions say why a key may go although valid tokens of it may exist.
type RemoveOptions struct {
	// Force accepts that tokens which the key signed are refused from now on.
	Force bool
	// Compromised says that the key is in a stranger's hands; it implies Force.
	Compromised bool
}
