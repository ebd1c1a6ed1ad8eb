package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/raftstore/state"
)

// sumSnapshots is a snapshot store that notices when a snapshot's description on
// disk was changed. Raft's file store checks the state with a CRC but not the
// meta.json beside it: a changed digit there would skip log entries or change the
// members. So the description is repeated in front of the state, with a checksum
// of its own, and compared when the snapshot is opened. Other members get the
// state without it.
type sumSnapshots struct{ raft.SnapshotStore }

// The preamble is the magic "MRDNMETA", the length of the description (4 bytes,
// big endian), its CRC-32C (4 bytes), and the description: version, index, term,
// index of the configuration (8 bytes each) and the configuration as Raft encodes
// it.
const (
	preambleMagic = "MRDNMETA"
	preambleHead  = len(preambleMagic) + 8
	maxPreamble   = 1 << 20
)

func describe(m *raft.SnapshotMeta) []byte {
	var b []byte
	for _, v := range []uint64{uint64(m.Version), m.Index, m.Term, m.ConfigurationIndex} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return append(b, raft.EncodeConfiguration(m.Configuration)...)
}

// Create implements raft.SnapshotStore.
func (s sumSnapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, err
	}
	body := describe(&raft.SnapshotMeta{
		Version: version, Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex,
	})
	head := binary.BigEndian.AppendUint32([]byte(preambleMagic), uint32(len(body)))
	head = binary.BigEndian.AppendUint32(head, state.Checksum(body))
	if _, err := sink.Write(append(head, body...)); err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return sink, nil
}

// List implements raft.SnapshotStore. Sizes are those on disk.
func (s sumSnapshots) List() ([]*raft.SnapshotMeta, error) { return s.SnapshotStore.List() }

// Open implements raft.SnapshotStore. It checks the state's CRC, as the file store
// does, and the description.
func (s sumSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, in, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	n, err := checkPreamble(in, meta)
	if err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	meta.Size -= n
	return meta, in, nil
}

// checkPreamble reads the preamble and returns its size.
func checkPreamble(in io.Reader, meta *raft.SnapshotMeta) (int64, error) {
	head := make([]byte, preambleHead)
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, fmt.Errorf("snapshot description: %w", unexpected(err))
	}
	n := binary.BigEndian.Uint32(head[len(preambleMagic):])
	if string(head[:len(preambleMagic)]) != preambleMagic || n > maxPreamble {
		return 0, errors.New("snapshot description is not there")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(in, body); err != nil {
		return 0, fmt.Errorf("snapshot description: %w", unexpected(err))
	}
	if state.Checksum(body) != binary.BigEndian.Uint32(head[len(preambleMagic)+4:]) || !reflect.DeepEqual(body, describe(meta)) {
		return 0, errors.New("snapshot description does not match")
	}
	return int64(preambleHead) + int64(n), nil
}

// unexpected is an end where more should be.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
