package raftstore

import (
	"bytes"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// foundingEntry is the first command of a cluster without keys.
func foundingEntry(t testing.TB) []byte {
	t.Helper()
	return encoded(t, &storepb.Command{Level: 1, TimeMs: 1, Op: &storepb.Command_Found{Found: &storepb.Found{
		ClusterId: "c", History: &storepb.History{Id: "0000000000000001", CreatedMs: 1},
		SealCheck: &storepb.SealCheck{Sealed: &storepb.Sealed{SealKeyId: "k", Nonce: []byte("n"), Ciphertext: []byte("c")}},
	}}})
}

func encoded(t testing.TB, cmd *storepb.Command) []byte {
	t.Helper()
	data, err := state.EncodeCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestAnEntryThatCannotBeAppliedStopsTheNode: what DecodeCommand refuses is not
// skipped, and nothing is applied or taken as a snapshot afterwards.
func TestAnEntryThatCannotBeAppliedStopsTheNode(t *testing.T) {
	good := encoded(t, &storepb.Command{Level: 1, Op: &storepb.Command_Prune{Prune: &storepb.Prune{}}})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 4
	for name, data := range map[string][]byte{
		"empty": nil, "another format": append([]byte{2}, good[1:]...), "a flipped bit": flipped,
		"an unknown kind": encoded(t, &storepb.Command{Level: 1, Op: &storepb.Command_Revoke{Revoke: &storepb.Revoke{
			Kind: "workload", Ids: []*storepb.RevokedID{{Id: "x"}},
		}}}),
		"a newer level": encoded(t, &storepb.Command{Level: state.Level + 1, Op: &storepb.Command_Prune{Prune: &storepb.Prune{}}}),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFSM()
			f.Apply(&raft.Log{Index: 3, Data: foundingEntry(t)})
			rev := f.current().Revision()
			if rev.IsZero() {
				t.Fatal("not founded")
			}
			if _, ok := f.Apply(&raft.Log{Index: 4, Data: data}).(outcome); ok {
				t.Error("it has an outcome")
			}
			select {
			case <-f.failure:
			default:
				t.Fatal("the node goes on")
			}
			if e := f.failed.Load(); e.Code != federation.Internal || e.Hint == "" || !bytes.Contains([]byte(e.Detail), []byte("entry 4")) {
				t.Errorf("failure %q, hint %q", e.Detail, e.Hint)
			}
			if f.Apply(&raft.Log{Index: 5, Data: good}) != errHalted || f.current().Applied() != rev.Index {
				t.Error("something was applied after the halt")
			}
			if _, err := f.Snapshot(); err == nil {
				t.Error("a snapshot was taken after the halt")
			}
		})
	}
}
