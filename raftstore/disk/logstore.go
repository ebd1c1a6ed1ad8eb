package disk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/raftstore/state"
)

// sumLog is a log store that notices when the disk gives back something else than
// was written. The checksum of a command guards its content only; a flipped bit in
// the entry around it could turn a command into a no-op, or change a term or a
// membership. So every entry is stored with a checksum over its index, term, type
// and data in the field that Raft has for middleware, and given back without it.
type sumLog struct{ raft.LogStore }

// logSum is the CRC-32C over index, term (8 bytes each, big endian), type and data.
func logSum(l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return binary.BigEndian.AppendUint32(nil, state.Checksum(head[:], l.Data))
}

// verify checks an entry that was read, and takes the checksum off.
func (sumLog) verify(index uint64, l *raft.Log) error {
	if l.Index != index || string(l.Extensions) != string(logSum(l)) {
		return fmt.Errorf("entry %d of the log: checksum does not match", index)
	}
	l.Extensions = nil
	return nil
}

// GetLog implements raft.LogStore.
func (s sumLog) GetLog(index uint64, l *raft.Log) error {
	if err := s.LogStore.GetLog(index, l); err != nil {
		return err
	}
	return s.verify(index, l)
}

// StoreLog implements raft.LogStore.
func (s sumLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. The entries are shared with Raft and are not
// changed.
func (s sumLog) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		c := *l
		c.Extensions = logSum(l)
		sealed[i] = &c
	}
	return s.LogStore.StoreLogs(sealed)
}

// sumStable does the same for Raft's term and vote: a value is stored with the
// CRC-32C of its key and itself behind it.
type sumStable struct{ raft.StableStore }

// Set implements raft.StableStore.
func (s sumStable) Set(key, val []byte) error {
	sealed := append([]byte(nil), val...)
	return s.StableStore.Set(key, binary.BigEndian.AppendUint32(sealed, state.Checksum(key, val)))
}

// Get implements raft.StableStore.
func (s sumStable) Get(key []byte) ([]byte, error) {
	sealed, err := s.StableStore.Get(key)
	if err != nil {
		return nil, err
	}
	return unsum(key, sealed)
}

func unsum(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - 4
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != state.Checksum(key, sealed[:n]) {
		return nil, fmt.Errorf("value %q: checksum does not match", key)
	}
	return sealed[:n], nil
}

// SetUint64 implements raft.StableStore.
func (s sumStable) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore.
func (s sumStable) GetUint64(key []byte) (uint64, error) {
	val, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, errors.New("value is not a number")
	}
	return binary.BigEndian.Uint64(val), nil
}
