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

// Log is an open raft.db.
type Log struct {
	// Entries are Raft's log, Values its term and vote; both notice what the disk gives
	// back other than it was written.
	Entries raft.LogStore
	Values  raft.StableStore

	db *raftboltdb.BoltStore
}

// Close closes the file.
func (l *Log) Close() error { return l.db.Close() }

func open(dir string, options *bbolt.Options) (*Log, error) {
	db, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, LogFile), BoltOptions: options, MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, err
	}
	return &Log{Entries: sumLog{db}, Values: sumStable{db}, db: db}, nil
}

// OpenLog opens raft.db for writing. It was checked before; recover guards against what
// happened to it since.
func OpenLog(dir string) (l *Log, err error) {
	path := filepath.Join(dir, LogFile)
	defer func() {
		if p := recover(); p != nil {
			err = Damaged(path, fmt.Errorf("opening it failed: %v", p))
		}
	}()
	l, err = open(dir, &bbolt.Options{NoFreelistSync: true, Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, InUse(path, err)
	}
	if err != nil {
		return nil, Unwritable(path, err)
	}
	return l, nil
}

// ReadLog opens raft.db for reading, as far as it is whole: see CheckDirectory.
func ReadLog(dir string) (*Log, error) {
	return open(dir, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
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
	return sumSnapshots{files}, nil
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
