package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/raftstore/state"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// CheckDirectory reads every file of Raft in a data folder and refuses what is damaged,
// changed, lost, or from a newer program. It writes nothing, and returns whom the files
// say is trusted no more.
func CheckDirectory(dir string, n *Identity, isNew bool) (d Distrust, err error) {
	if isNew {
		return d, nil
	}
	held := replay{state: state.NewState()}
	defer func() { d = held.distrust() }()
	newest, err := checkSnapshots(filepath.Join(dir, SnapshotsDir), &held)
	if err != nil {
		return d, err
	}
	path := filepath.Join(dir, LogFile)
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) && n.Cluster != "":
		return d, n.LostLog(dir, "it is missing")
	case errors.Is(err, fs.ErrNotExist) && newest == 0:
		return d, nil // a new node that stopped before it opened its log
	case errors.Is(err, fs.ErrNotExist):
		return d, Damaged(path, errors.New("it is missing, but snapshots are there"))
	case err != nil:
		return d, Unreadable(path, err)
	case !info.Mode().IsRegular():
		return d, Damaged(path, errors.New("it is not a regular file"))
	}
	some, err := checkLog(path, newest, &held)
	switch {
	case err != nil:
		return d, err
	case !some && n.Cluster != "":
		return d, n.LostLog(dir, "it holds no state")
	}
	return d, nil
}

// checkSnapshots checks every snapshot, keeps the state of the newest, and returns its index.
func checkSnapshots(dir string, newest *replay) (index uint64, err error) {
	err = EachSnapshot(dir, func(path string) error {
		if meta, err := ReadDescription(path); err == nil { // what is wrong with it is said below
			index = max(index, meta.Index)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = EachSnapshot(dir, func(path string) error {
		held, meta, err := OpenSnapshot(path)
		switch {
		case errors.Is(err, state.ErrNewer):
			return newer(path)
		case err != nil:
			return Damaged(path, err)
		}
		if meta.Index == index {
			newest.state = held
		}
		return nil
	})
	return index, err
}

// EachSnapshot visits the folder of each finished snapshot.
func EachSnapshot(dir string, visit func(path string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Unreadable(dir, err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue // left behind by a node that stopped while writing it
		}
		if err := visit(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// SnapshotMeta is the description of a snapshot as Raft's file store writes it.
type SnapshotMeta struct {
	raft.SnapshotMeta
	CRC []byte
}

// ReadDescription reads meta.json of the snapshot in a directory.
func ReadDescription(path string) (meta SnapshotMeta, err error) {
	data, err := readBounded(filepath.Join(path, "meta.json"), maxPreamble)
	if err != nil {
		return meta, err
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return meta, fmt.Errorf("meta.json: %w", err)
	}
	if meta.ID != filepath.Base(path) || meta.Version != raft.SnapshotVersionMax {
		return meta, errors.New("meta.json is of another snapshot")
	}
	return meta, nil
}

// OpenSnapshot reads and checks a snapshot's description and state in full.
func OpenSnapshot(path string) (*state.State, SnapshotMeta, error) {
	meta, err := ReadDescription(path)
	if err != nil {
		return nil, meta, err
	}
	f, err := os.Open(filepath.Join(path, "state.bin"))
	if err != nil {
		return nil, meta, err
	}
	defer f.Close()
	sum := newCRC64()
	size, err := io.Copy(sum, f)
	if err != nil {
		return nil, meta, fmt.Errorf("state.bin: %w", err)
	}
	if size != meta.Size || string(sum.Sum(nil)) != string(meta.CRC) {
		return nil, meta, errors.New("state.bin: checksum does not match")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, meta, err
	}
	if _, err := checkPreamble(f, &meta.SnapshotMeta); err != nil {
		return nil, meta, err
	}
	held, err := state.ReadSnapshot(f)
	if err != nil {
		return nil, meta, fmt.Errorf("state.bin: %w", err)
	}
	return held, meta, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), limit)
	}
	return data, err
}

// checkLog checks raft.db: its pages first, and then, through the same library that
// Raft will use, every entry and every value. held is whether it has anything of a
// cluster in it.
func checkLog(path string, snapshot uint64, r *replay) (held bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, Unreadable(path, err)
	}
	defer f.Close()
	if err := disk.LockShared(f); err != nil {
		return false, InUse(path, err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return false, Unreadable(path, err)
	case info.Size() == 0 && snapshot > 0:
		return false, Damaged(path, errors.New("it is empty, but snapshots are there"))
	case info.Size() == 0:
		return false, nil // a new node that stopped before it wrote its log
	}
	c := logCheck{after: snapshot, replay: r}
	if _, err := disk.WalkBolt(f, info.Size(), c.visit); err != nil {
		return false, Damaged(path, err)
	}
	err = c.entries(path)
	switch {
	case errors.Is(err, state.ErrNewer):
		return false, newer(path)
	case errors.Is(err, berrors.ErrTimeout):
		return false, InUse(path, err)
	case err != nil:
		return false, Damaged(path, err)
	}
	return c.holds(), nil
}

// InUse says that another process has opened a file.
func InUse(path string, err error) error {
	return federation.Errorf(federation.Conflict, "%s is in use by another process: %w", path, err).
		WithReason("in_use").WithHint("stop the other global that runs on this data folder")
}

// logCheck gathers what the pages hold.
type logCheck struct {
	after   uint64 // the newest snapshot: entries after it must be complete
	indexes []uint64
	term    uint64

	replay *replay // of the entries after it
}

func (c *logCheck) visit(bucket, key, value []byte) error {
	switch string(bucket) {
	case "logs":
		if len(key) != 8 {
			return fmt.Errorf("an entry whose key has %d bytes", len(key))
		}
		c.indexes = append(c.indexes, binary.BigEndian.Uint64(key))
	case "conf":
		val, err := unsum(key, value)
		if err != nil {
			return err
		}
		switch k := string(key); k {
		case "CurrentTerm", "LastVoteTerm":
			if len(val) != 8 {
				return fmt.Errorf("value %q is not a number", k)
			}
			if k == "CurrentTerm" {
				c.term = binary.BigEndian.Uint64(val)
			}
		case "LastVoteCand":
		default:
			return fmt.Errorf("a value of unknown name %.20q", k)
		}
	default:
		return fmt.Errorf("a bucket of unknown name %.20q", bucket)
	}
	return nil
}

// entries reads every entry. bbolt maps the file, so that a fault while it is read
// (the file shrank, the disk failed) arrives as a signal: it becomes an error here.
func (c *logCheck) entries(path string) (err error) {
	if err := c.complete(); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading it failed: %v", p)
		}
	}()
	db, err := ReadLog(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	log := db.Entries
	for _, index := range c.indexes {
		var l raft.Log
		if err := log.GetLog(index, &l); err != nil {
			return err
		}
		if err := c.entry(&l); err != nil {
			return fmt.Errorf("entry %d of the log: %w", index, err)
		}
	}
	return nil
}

// complete checks that no entry after the newest snapshot is missing. Older ones
// may be: they are what a snapshot from another member overtook.
func (c *logCheck) complete() error {
	next := c.after + 1
	for _, index := range c.indexes {
		if index <= c.after {
			continue
		}
		if index != next {
			return fmt.Errorf("entry %d of the log is missing, and no snapshot has it", next)
		}
		next++
	}
	return nil
}

func (c *logCheck) entry(l *raft.Log) error {
	if l.Term > c.term {
		return fmt.Errorf("its term %d is greater than the current one, %d", l.Term, c.term)
	}
	switch l.Type {
	case raft.LogCommand:
		_, err := state.DecodeCommand(l.Data)
		if err == nil && l.Index > c.after {
			c.replay.apply(l)
		}
		return err
	case raft.LogNoop, raft.LogBarrier, raft.LogConfiguration:
		return nil
	}
	return fmt.Errorf("its type is unknown: %s", l.Type)
}

// newCRC64 is the checksum of Raft's file snapshots.
func newCRC64() hash.Hash64 { return crc64.New(crc64.MakeTable(crc64.ECMA)) }
