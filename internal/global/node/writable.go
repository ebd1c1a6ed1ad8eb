package node

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// probeBytes is how much a disk must still take before a node starts on it.
const probeBytes = 256 << 10

// checkWritable finds out before the store runs what would end the node after it: a
// node must not lead, or issue a token, that cannot say where it is. The endpoints
// that are there are those of a process that has ended, and are taken away.
func (n *Node) checkWritable() error {
	dir := n.cfg.DataDir
	if err := endpoints.Remove(dir); err != nil {
		return unwritable(filepath.Join(dir, endpoints.FileName), err)
	}
	if path := n.adminTokenFile(); path != "" {
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			return unwritable(path, errors.New("it is a folder"))
		}
	}
	if err := probe(dir); err != nil {
		return unwritable(dir, err)
	}
	return nil
}

// probe writes to a disk as a node does, and leaves nothing behind.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(make([]byte, probeBytes)); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func unwritable(path string, err error) error {
	return federation.Errorf(federation.Internal, "%s cannot be written: %w", path, err).
		WithHint("check the owner and mode of the data folder, and that its disk is not full")
}
