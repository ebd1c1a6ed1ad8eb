package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// framed puts bytes into a valid command envelope.
func framed(body []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{commandFormat}, Checksum(body))
	return append(out, body...)
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommandsThatStopANode(t *testing.T) {
	good := marshal(t, &storepb.Command{Level: 1, Op: cmdRevoke(cptoken.Zone, "", 0, "x").Op})
	unknown := protowire.AppendTag(nil, 500, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 1)
	nested := marshal(t, &storepb.Revoke{Kind: "zone"})
	nested = append(nested, unknown...)
	wrapped := protowire.AppendTag([]byte(nil), 18, protowire.BytesType) // Command.revoke
	wrapped = protowire.AppendBytes(wrapped, nested)
	flipped := framed(good)
	flipped[len(flipped)-1] ^= 4

	for _, tc := range []struct {
		name  string
		data  []byte
		newer bool
	}{
		{"empty", nil, false},
		{"too short", []byte{1, 2, 3}, false},
		{"another format", append([]byte{2}, framed(good)[1:]...), true},
		{"a flipped bit", flipped, false},
		{"cut off", framed(good)[:len(good)], false},
		{"not protobuf", framed([]byte{0xff, 0xff}), false},
		{"an unknown field", framed(append(bytes.Clone(good), unknown...)), true},
		{"an unknown field inside", framed(wrapped), true},
		{"an unknown operation", framed(marshal(t, &storepb.Command{Level: 1})), true},
		{"a newer level", framed(marshal(t, &storepb.Command{Level: Level + 1, Op: cmdPrune(1).Op})), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := DecodeCommand(tc.data)
			if err == nil {
				t.Fatal("accepted")
			}
			if errors.Is(err, ErrNewer) != tc.newer {
				t.Errorf("%v: newer is %v, want %v", err, !tc.newer, tc.newer)
			}
		})
	}
}

func TestLevelOfTheClusterIsKept(t *testing.T) {
	c := newCore(t)
	c.s.level = 0
	cmd := cmdRevoke(cptoken.Zone, "", 0, "x")
	c.refused(federation.Conflict, "level", cmd)
}

func TestDeterministicEncoding(t *testing.T) {
	a, err := EncodeCommand(cmdRevoke(cptoken.Zone, "", 5, "x", "y"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := EncodeCommand(cmdRevoke(cptoken.Zone, "", 5, "x", "y"))
	if !bytes.Equal(a, b) {
		t.Error("the same command has two encodings")
	}
	if _, err := EncodeCommand(cmdRevoke(cptoken.Zone, "", 5, "\xff")); err == nil {
		t.Error("text that is not UTF-8 was encoded")
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, cmd := range []*storepb.Command{foundingCommand(), cmdRevoke(cptoken.Zone, "", 1, "x"), cmdPrune(3)} {
		data, err := EncodeCommand(cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[commandHeader:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		cmd, err := DecodeCommand(framed(body))
		if err != nil {
			return
		}
		s := NewState()
		s.execute(1, foundingCommand())
		before := s.Capture()
		if r := s.execute(2, cmd); r.Code != "" && s.revision != before.revision {
			t.Errorf("%T was refused and moved the revision", cmd.Op)
		}
	})
}
