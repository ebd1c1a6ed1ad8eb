package state

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// fullCore returns a state that has one of everything.
func fullCore(t testing.TB) *core {
	c := newCore(t)
	c.ok(cmdPrepare(cptoken.Zone, "", 2))
	c.ok(cmdActivate(step(cptoken.Zone, "", 2)))
	c.ok(cmdRemove(step(cptoken.Zone, "", 1), true))
	c.ok(cmdMesh("shop", 1))
	c.ok(&storepb.Command{Op: &storepb.Command_RegisterKey{RegisterKey: &storepb.RegisterKey{
		Id: &storepb.KeyRef{Kind: "zone", Kid: "ci"}, Alg: cptoken.AlgRS256, PublicDer: testDER(),
		Constraints: &storepb.Constraints{Zones: []string{"west"}, AllowNoExpiry: true},
	}}})
	c.ok(cmdRevoke(cptoken.Zone, "", 0, randomUUID(), "other"))
	c.ok(cmdRevoke(cptoken.ControlPlane, "", testTime/1000, randomUUID(), "gone"))
	c.ok(cmdWithdraw(cptoken.ControlPlane, "", "gone"))
	c.ok(cmdCutOff(cptoken.User, "", testTime/1000))
	c.ok(cmdCutOff(cptoken.Zone, "", testTime/1000))
	c.ok(&storepb.Command{Op: &storepb.Command_WithdrawCutOff{WithdrawCutOff: &storepb.WithdrawCutOff{Id: &storepb.KeyRef{Kind: "zone"}}}})
	c.ok(&storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: "west", Enabled: true, RelayMeshes: []string{"shop"}, RelayMaxValidityS: 60}}})
	for i := range 2 {
		c.ok(&storepb.Command{By: "ann", Op: &storepb.Command_StagePart{StagePart: &storepb.StagePart{
			StageId: "s1", Part: uint32(i), Revoke: cmdRevoke(cptoken.Zone, "", 0, randomUUID()).GetRevoke(),
		}}})
	}
	remembered := cmdRevoke(cptoken.Zone, "", 0, "remembered")
	remembered.RequestId = "r1"
	c.ok(remembered)
	return c
}

func TestSnapshotHoldsEverything(t *testing.T) {
	c := fullCore(t)
	again := reread(t, c.s)
	if again.applied != c.s.applied || again.Revision() != c.s.Revision() || again.time != c.s.time || again.log.Len() != c.s.log.Len() {
		t.Errorf("restored %d %v, want %d %v", again.applied, again.Revision(), c.s.applied, c.s.Revision())
	}
	// What was staged, remembered and used before goes on where it stood.
	c.s = again
	stage, _ := again.stages.Get("s1")
	c.ok(&storepb.Command{Op: &storepb.Command_CommitStage{CommitStage: &storepb.CommitStage{StageId: "s1", Parts: 2, Digest: StageDigest(stage.Parts)}}})
	remembered := cmdRevoke(cptoken.Zone, "", 0, "remembered")
	remembered.RequestId = "r1"
	if r := c.ok(remembered); r.Index == c.index {
		t.Error("the request id was forgotten")
	}
	c.refused("conflict", "serial_used", cmdPrepare(cptoken.Zone, "", 2))
	k, _ := c.s.keys.Get(cptoken.KeyID{Kind: cptoken.Zone, KID: "ci"})
	if k.Registered == nil || !k.Registered.AllowNoExpiry || k.Registered.Zones[0] != "west" {
		t.Errorf("registered key %+v", k.Registered)
	}
}

func TestSnapshotOfUnfoundedState(t *testing.T) {
	if s := reread(t, NewState()); s.Founded() {
		t.Error("an empty snapshot founded a cluster")
	}
}

// TestSnapshotRefusesEveryFlippedBit: every bit of a snapshot matters, as each is
// covered by a checksum or compared with what it must be.
func TestSnapshotRefusesEveryFlippedBit(t *testing.T) {
	good := snapshotBytes(t, fullCore(t).s)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := ReadSnapshot(bytes.NewReader(bad)); err == nil {
			t.Fatalf("a flipped bit in byte %d of %d was not noticed", i, len(good))
		}
	}
	for range 200 {
		n := rand.IntN(len(good))
		if _, err := ReadSnapshot(bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("a snapshot of %d instead of %d bytes was accepted", n, len(good))
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(append(bytes.Clone(good), 0))); err == nil {
		t.Error("a byte behind the end was not noticed")
	}
}

func TestNewerSnapshotIsRefused(t *testing.T) {
	c := newCore(t)
	c.s.level = Level + 1
	if _, err := ReadSnapshot(bytes.NewReader(snapshotBytes(t, c.s))); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer level: %v", err)
	}
	c.s.level = Level
	data := snapshotBytes(t, c.s)
	data[len(snapshotMagic)+3]++
	if _, err := ReadSnapshot(bytes.NewReader(data)); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(snapshotBytes(f, newCore(f).s))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := ReadSnapshot(bytes.NewReader(data)); err == nil {
			reread(t, s)
		}
	})
}

// TestRunsAreEncodedAsProtobufDoes: the records that are encoded by hand are those
// that the library would write.
func TestRunsAreEncodedAsProtobufDoes(t *testing.T) {
	c := newCore(t)
	var ids []string
	for range cptoken.MaxRun + 100 {
		ids = append(ids, randomUUID())
	}
	c.ok(cmdRevoke(cptoken.Zone, "", testTime/1000, ids...))
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "other", "sha256:"+strings.Repeat("ab", 32)))
	counts := []int{}
	_, _, err := scanSnapshot(bytes.NewReader(snapshotBytes(t, c.s)), func(record *storepb.Record, _ bool) error {
		if r := record.GetRevocations(); r != nil {
			counts = append(counts, len(r.Ids))
		}
		return nil
	})
	if err != nil || !slices.Equal(counts, []int{cptoken.MaxRun, 100, 2}) {
		t.Fatalf("records of %v ids: %v", counts, err)
	}
	data := snapshotBytes(t, c.s)
	r := bytes.NewReader(data[len(snapshotMagic)+4:])
	for r.Len() > 0 {
		payload, err := readFrame(r)
		if err != nil {
			t.Fatal(err)
		}
		record := new(storepb.Record)
		if err := proto.Unmarshal(payload, record); err != nil {
			t.Fatal(err)
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
		if err != nil || !bytes.Equal(payload, want) {
			t.Fatalf("a record of type %T differs: %v", record.What, err)
		}
	}
}
