package kds

import (
	"iter"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Catalog is where the server takes from what zones of Kuma's are shown: names,
// keys and lists instead of changes. Implementations are safe for concurrent use
// and never wait for other members.
type Catalog interface {
	// Picture returns the state of this member as it is now. Two Pictures are equal
	// (==) only where nothing changed between them.
	Picture() Picture
	// WatchPicture returns a channel that is closed at the next change of what a
	// Picture tells. Who takes it before the Picture misses nothing.
	WatchPicture() <-chan struct{}
	// Fresh reports whether this member is in touch with the others, so that what it
	// has is what they have. A zone of Kuma's begins from nothing with each stream and
	// cannot tell older state from newer: it is not begun with while this is false.
	Fresh() bool
}

// Picture is the state at one moment. It never changes.
type Picture interface {
	// Head returns the cluster's id, "" where there is no state to serve, and the
	// revision of the picture.
	Head() (cluster string, rev federation.Revision)
	// Meshes returns the names of all meshes.
	Meshes() []string
	// Keys returns the public keys of a kind that are not removed.
	Keys(kind cptoken.Kind) []*cptoken.PublicKey
	// Revoked yields the revoked ids of a kind and mesh, the earliest revoked first;
	// an id is valid until the next one. The version is comparable and differs
	// wherever the ids do; it is nil where there are none.
	Revoked(kind cptoken.Kind, mesh string) (version any, ids iter.Seq[[]byte])
}
