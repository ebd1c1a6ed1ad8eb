package disk

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// termBootstrap is the term that Raft notes before it writes the first
// configuration. Every leader has a greater one.
const termBootstrap = 1

// LostLog refuses the log of a node that belongs to a cluster and lacks what it
// once had. To go on would found another cluster under the same name, or give a
// vote that was given before a second time.
func (n *Identity) LostLog(dir, why string) error {
	return Damaged(filepath.Join(dir, LogFile), fmt.Errorf("%s, but by %s this node belongs to cluster %.64s", why, IdentityFile, n.Cluster))
}

// holds reports whether a log that was read has anything of a cluster in it:
// entries, or a snapshot in their place, and the term that came before both.
func (c *logCheck) holds() bool {
	return c.term > 0 && (len(c.indexes) > 0 || c.after > 0)
}

// ForgetBootstrap takes back the first founding of this node where it was killed
// between the two writes of it: Raft would take the term alone for the state of a
// member that waits to be told who the others are, and wait for ever.
func ForgetBootstrap(logs raft.LogStore, stable raft.StableStore, snaps raft.SnapshotStore) error {
	term, err := stable.GetUint64([]byte("CurrentTerm"))
	if err != nil || term != termBootstrap {
		return nil // no term is no error of its own; a damaged one is found next
	}
	last, err := logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	if kept, err := snaps.List(); err != nil || len(kept) > 0 {
		return err
	}
	return stable.SetUint64([]byte("CurrentTerm"), 0)
}
