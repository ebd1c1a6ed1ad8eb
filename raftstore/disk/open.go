package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// keptSnapshots is how many snapshots stay when a newer one is there.
const keptSnapshots = 2

// OpenLog opens raft.db for writing. It was checked before; recover guards against what
// happened to it since.
func OpenLog(dir string) (db *raftboltdb.BoltStore, err error) {
	path := filepath.Join(dir, LogFile)
	defer func() {
		if p := recover(); p != nil {
			err = Damaged(path, fmt.Errorf("opening it failed: %v", p))
		}
	}()
	db, err = raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		BoltOptions:             &bbolt.Options{NoFreelistSync: true, Timeout: time.Second},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, InUse(path, err)
	}
	if err != nil {
		return nil, Unwritable(path, err)
	}
	return db, nil
}

// ReadLog opens raft.db for reading, as far as it is whole: see checkLog.
func ReadLog(dir string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(dir, LogFile),
		BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second},
	})
}

// OpenSnapshots returns the snapshots of a data folder, which it makes where there
// are none.
func OpenSnapshots(dir string, logger hclog.Logger) (raft.SnapshotStore, error) {
	path := filepath.Join(dir, SnapshotsDir)
	if err := tidySnapshots(path); err != nil {
		return nil, err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, logger)
	if err != nil {
		return nil, Unwritable(path, err)
	}
	return SumSnapshots{files}, nil
}

// tidySnapshots makes the folder of snapshots as private as the rest, and removes snapshots that
// were never finished.
func tidySnapshots(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Unwritable(dir, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // it may be there from before
		return Unwritable(dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Unreadable(dir, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return Unwritable(dir, err)
		}
	}
	return nil
}
