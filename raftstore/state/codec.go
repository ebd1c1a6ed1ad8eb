package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/raftstore/storepb"
)

// FirstLevel is the feature level of a program that does not name one.
const FirstLevel = 1

// LevelOutcomes is the level from which on refusals are remembered under their
// request id, and a history knows where it began.
const LevelOutcomes = 2

// LevelSecret is the level from which on the cluster has a secret.
const LevelSecret = 3

// LevelTrust is the level from which on nodes and certificates can be expelled, and
// former seal keys are remembered.
const LevelTrust = 3

// LevelLineage is the level from which on the state knows its lineage.
const LevelLineage = 4

// LevelCertificates is the level from which on zones are told which certificates were
// expelled.
const LevelCertificates = 5

// LevelWithdrawals is the level from which on withdrawing what was withdrawn in a former
// history, or a cut-off that is not there, is a change.
const LevelWithdrawals = 6

// MaxCommand bounds an encoded command: Raft sends its entries and its heartbeats
// over the same connections, and its authors advise no more than this.
const MaxCommand = 512 << 10

// The payload of a log entry is one byte of format, the CRC-32C of all that
// follows it (4 bytes, big endian), and a storepb.Command.
const (
	commandFormat = 1
	commandHeader = 5
)

// ErrNewer marks what only a newer program can read.
var ErrNewer = errors.New("written by a newer version of this program")

// Checksum is the CRC-32C over parts.
func Checksum(parts ...[]byte) uint32 {
	var sum uint32
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

// EncodeCommand returns the log payload of a command.
func EncodeCommand(cmd *storepb.Command) ([]byte, error) {
	buf := make([]byte, commandHeader, commandHeader+proto.Size(cmd))
	buf, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(buf, cmd)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	buf[0] = commandFormat
	binary.BigEndian.PutUint32(buf[1:], Checksum(buf[commandHeader:]))
	return buf, nil
}

// DecodeCommand reads a log payload. It fails for what is damaged and for what
// this program does not know in full: skipping either would let nodes differ.
func DecodeCommand(data []byte) (*storepb.Command, error) {
	if len(data) < commandHeader {
		return nil, fmt.Errorf("command of %d bytes is too short", len(data))
	}
	if data[0] != commandFormat {
		return nil, fmt.Errorf("command format %d: %w", data[0], ErrNewer)
	}
	body := data[commandHeader:]
	if Checksum(body) != binary.BigEndian.Uint32(data[1:]) {
		return nil, errors.New("command checksum does not match")
	}
	cmd := new(storepb.Command)
	if err := proto.Unmarshal(body, cmd); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	switch {
	case cmd.Level > Level:
		return nil, fmt.Errorf("command of feature level %d, this program knows %d: %w", cmd.Level, Level, ErrNewer)
	case cmd.GetSetLevel().GetLevel() > Level:
		return nil, fmt.Errorf("the cluster goes over to feature level %d, this program knows %d: %w", cmd.GetSetLevel().GetLevel(), Level, ErrNewer)
	case cmd.Op == nil && len(cmd.ProtoReflect().GetUnknown()) == 0:
		return nil, fmt.Errorf("command has no operation: %w", ErrNewer)
	}
	level, err := needs(cmd.ProtoReflect())
	switch {
	case err != nil:
		return nil, fmt.Errorf("command: %w", err)
	case level > max(FirstLevel, cmd.Level):
		return nil, fmt.Errorf("command says that it is of feature level %d and has what level %d brought", cmd.Level, level)
	}
	return cmd, nil
}
