package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

// MemoryFile has what this node applied, and what others said that they had.
const MemoryFile = "standings.json"

const (
	memoryFormat = 3
	// oldestMemory is the first format. It lacks Shown, the second one Places. Each is read,
	// and replaced by the next write.
	oldestMemory = 1
	maxMemory    = 1 << 20
)

// Standing is how far a member has applied the log: Raft's index, and the place in the
// history that this led to.
type Standing struct {
	Node    string             `json:"node"`
	History federation.History `json:"history"`
	// Index is that of the state, Raft that of Raft's log; see State.offset.
	Index uint64 `json:"index"`
	Raft  uint64 `json:"raft"`
	// Lineage is its beginning at Index; Position proves both to the cluster.
	Lineage  []byte `json:"lineage,omitempty"`
	Position []byte `json:"position,omitempty"`
	// Voter: it votes. Voters counts them all, as the member knows.
	Voter  bool `json:"voter,omitempty"`
	Voters int  `json:"voters,omitempty"`
}

// Memory is the content of standings.json. It is at most 100 ms late, and not forced to
// the disk: what it lacks is not noticed, and what it has is true.
type Memory struct {
	Format int      `json:"format"`
	Own    Standing `json:"own"`
	// Others are the furthest standings that others reported, by node.
	Others map[string]Standing `json:"others,omitempty"`
	// Places are the host:port at which members were last found, by node.
	Places map[string]string `json:"places,omitempty"`
	// Shown are positions that were shown to this member and that are, or may be, of what is
	// lost: the alarm outlives a restart.
	Shown []Shown `json:"shown,omitempty"`
	// Checksum is the CRC-32C of the compact JSON of all before, in hexadecimal.
	Checksum string `json:"checksum"`
}

// Shown is a position and who showed it.
type Shown struct {
	By       string `json:"by"`
	Position []byte `json:"position"`
}

func (m Memory) checksum() string {
	m.Checksum = ""
	data, err := json.Marshal(m)
	if err != nil {
		return "" // cannot happen: the struct has strings, bytes and numbers only
	}
	return fmt.Sprintf("%08x", state.Checksum(data))
}

// LoadMemory reads standings.json. Where there is none, or one that cannot be read, nothing
// is remembered: it was being written when the machine failed. The error then says why.
func LoadMemory(dir string) (m Memory, err error) {
	path := filepath.Join(dir, MemoryFile)
	data, err := readBounded(path, maxMemory)
	if errors.Is(err, fs.ErrNotExist) {
		return Memory{Others: map[string]Standing{}}, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && (m.Format < oldestMemory || m.Format > memoryFormat || m.Checksum != m.checksum()) {
		err = errors.New("its checksum does not match")
	}
	if err != nil {
		return Memory{Others: map[string]Standing{}}, fmt.Errorf("%s: %w", path, err)
	}
	if m.Others == nil {
		m.Others = map[string]Standing{}
	}
	return m, nil
}

// Write replaces standings.json as a whole.
func (m Memory) Write(dir string) error {
	m.Format = memoryFormat
	m.Checksum = m.checksum()
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, MemoryFile)
	next := path + ".tmp"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// ForgetMemory removes standings.json: an operator has decided what this node has.
func ForgetMemory(dir string) error {
	err := os.Remove(filepath.Join(dir, MemoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// LastIndex is the last index that Raft's files in a data directory have, 0 where there are
// none. The directory was checked before.
func LastIndex(dir string) (last uint64, err error) {
	err = EachSnapshot(filepath.Join(dir, SnapshotsDir), func(path string) error {
		meta, err := ReadDescription(path)
		last = max(last, meta.Index)
		return err
	})
	if err != nil {
		return 0, err
	}
	if info, err := os.Stat(filepath.Join(dir, LogFile)); err != nil || info.Size() == 0 {
		return last, nil
	}
	db, err := ReadLog(dir)
	if err != nil {
		return 0, err
	}
	logged, err := db.Entries.LastIndex()
	return max(last, logged), errors.Join(err, db.Close())
}
