package raftstore

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// wentBack starts a lone node, lets it make n changes after its disk was copied, and starts
// it again on the copy. It returns the position after each of the changes.
func wentBack(t *testing.T, n int) (m *member, lost [][]byte) {
	t.Helper()
	keys := testSeal(t)
	dir := filepath.Join(t.TempDir(), "node")
	m = start(t, alone(t, dir, keys)).awaitReady()
	revokeOn(t, m, "kept")
	m.stop()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	private(t, copied)
	m = start(t, alone(t, dir, keys)).awaitReady()
	for i := range n {
		revokeOn(t, m, "lost-"+string(rune('a'+i%26))+time.Duration(i).String())
		lost = append(lost, m.Position())
	}
	m.stop()
	return start(t, alone(t, copied, keys)).awaitReady(), lost
}

// TestTwoHundredZonesReturnOneByOne to a global whose disk went back, each with another
// position of the lost past: the first begins a history, and the rest nothing.
func TestTwoHundredZonesReturnOneByOne(t *testing.T) {
	m, lost := wentBack(t, 200)
	_, former := m.Head()
	began := map[federation.History]bool{}
	for i, position := range lost {
		shown := m.Place(position)
		if i == 0 != shown.Lost {
			t.Fatalf("zone %d: %+v", i, shown)
		}
		_, err := m.ProveLoss(context.Background(), "zone west", position)
		if i > 0 {
			wantCode(t, err, federation.Conflict, "no_loss")
			if shown.Standing != cptoken.Unproven {
				t.Fatalf("zone %d, of the former history, is %+v", i, shown)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		_, rev := m.Head()
		began[rev.History] = true
		revokeOn(t, m, "between-"+time.Duration(i).String())
	}
	if len(began) != 1 || began[former.History] || len(m.Losses()) != 1 {
		t.Errorf("histories %v, losses %+v", began, m.Losses())
	}
}

// TestOnlyAPositionOfTheClusterProvesAnything: its MAC is looked at first.
func TestOnlyAPositionOfTheClusterProvesAnything(t *testing.T) {
	m, lost := wentBack(t, 2)
	change := func(f func(p *storepb.Position)) []byte {
		p := new(storepb.Position)
		if err := proto.Unmarshal(lost[1], p); err != nil {
			t.Fatal(err)
		}
		f(p)
		data, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	other := start(t, alone(t, filepath.Join(t.TempDir(), "other"), testSeal(t))).awaitReady()
	for name, position := range map[string][]byte{
		"none":                       nil,
		"garbage":                    []byte("position"),
		"another index":              change(func(p *storepb.Position) { p.Index++ }),
		"another lineage":            change(func(p *storepb.Position) { p.Lineage[0] ^= 1 }),
		"a newer history":            change(func(p *storepb.Position) { p.History.CreatedMs++ }),
		"another vocabulary":         change(func(p *storepb.Position) { p.Vocabulary++ }),
		"another MAC":                change(func(p *storepb.Position) { p.Mac[0] ^= 1 }),
		"a shorter MAC":              change(func(p *storepb.Position) { p.Mac = p.Mac[:8] }),
		"no MAC":                     change(func(p *storepb.Position) { p.Mac, p.Generation = nil, 0 }),
		"a generation of the secret": change(func(p *storepb.Position) { p.Generation++ }),
		"another cluster's":          other.Position(),
	} {
		if shown := m.Place(position); shown.Standing != cptoken.Unproven || shown.Lost || shown.NewerHistory {
			t.Errorf("%s: %+v", name, shown)
		}
		if _, err := m.ProveLoss(context.Background(), "zone west", position); federation.AsError(err) == nil || federation.AsError(err).Reason != "no_loss" {
			t.Errorf("%s began a history: %v", name, err)
		}
	}
	if shown := m.Place(lost[1]); !shown.Lost {
		t.Errorf("the position itself is %+v", shown)
	}
	if shown := m.Place(m.Position()); shown.Standing != cptoken.InPast {
		t.Errorf("where the node stands is %+v", shown)
	}
}

// TestFormerSecretsVerifyPositions: a rotation of the cluster secret makes no zone unproven.
func TestFormerSecretsVerifyPositions(t *testing.T) {
	m := start(t, alone(t, filepath.Join(t.TempDir(), "node"), testSeal(t))).awaitReady()
	revokeOn(t, m, "one")
	before := m.Position()
	if _, err := m.RotateSecret(context.Background(), ann); err != nil {
		t.Fatal(err)
	}
	for _, position := range [][]byte{before, m.Position()} {
		if shown := m.Place(position); shown.Standing != cptoken.InPast {
			t.Errorf("%+v", shown)
		}
	}
}

// TestABlockedKeySignsNothing, and says why.
func TestABlockedKeySignsNothing(t *testing.T) {
	m := start(t, alone(t, filepath.Join(t.TempDir(), "node"), testSeal(t))).awaitReady()
	if _, err := m.BlockKey(context.Background(), ann, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}); err != nil {
		t.Fatal(err)
	}
	_, err := m.Signer(cptoken.Zone, "")
	wantCode(t, err, federation.Unavailable, "key_blocked")
	if _, err := m.Signer(cptoken.User, ""); err != nil {
		t.Error(err)
	}
}

// TestAVoterWithLessDoesNotRun, by its own record and by what others saw.
func TestAVoterWithLessDoesNotRun(t *testing.T) {
	m := start(t, alone(t, filepath.Join(t.TempDir(), "node"), testSeal(t))).awaitReady()
	own := m.Standing()
	if !own.Voter || own.Raft == 0 || own.Raft > m.LastIndex() {
		t.Fatalf("standing %+v, last index %d", own, m.LastIndex())
	}
	more := own
	more.Raft = m.LastIndex() + 1
	wantCode(t, m.Less(more, "node x"), federation.Conflict, "went_back")
	for name, seen := range map[string]disk.Standing{"as much": own, "nothing": {}, "a non-voter": {Raft: more.Raft}} {
		if err := m.Less(seen, "node x"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatMembersHaveIsOnTheDiskWhileTheyRun: a member that is killed knows at its next start
// what it had applied and what others had.
func TestWhatMembersHaveIsOnTheDiskWhileTheyRun(t *testing.T) {
	c := startCluster(t)
	own, other := c.members[0], c.members[1]
	own.Remember(other.Standing())
	for what, has := range map[string]func(m disk.Memory) bool{
		"its own":     func(m disk.Memory) bool { return m.Own.Node == own.NodeID() && m.Own.Raft >= own.Standing().Raft },
		"the other's": func(m disk.Memory) bool { return m.Others[other.NodeID()].Raft > 0 },
	} {
		deadline := time.After(patience)
		for m := (disk.Memory{}); !has(m); {
			select {
			case <-time.After(memoryEvery / 10): // nobody is told of the file
			case <-deadline:
				t.Fatalf("%s standing is not written while the member runs: %+v", what, m)
			}
			var err error
			if m, err = disk.LoadMemory(c.dirs[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestWhatAnotherNodeHadIsNotItsOwn: standings.json came with the copy of another directory.
func TestWhatAnotherNodeHadIsNotItsOwn(t *testing.T) {
	seal, dir := testSeal(t), filepath.Join(t.TempDir(), "node")
	m := start(t, alone(t, dir, seal)).awaitReady()
	m.stop()
	memory, err := disk.LoadMemory(dir)
	if err != nil || memory.Own.Node != m.NodeID() {
		t.Fatalf("%+v: %v", memory, err)
	}
	memory.Own.Node, memory.Own.Raft = "another", 1<<40
	if err := memory.Write(dir); err != nil {
		t.Fatal(err)
	}
	m = start(t, alone(t, dir, seal)).awaitReady()
	if own := m.Recorded(); own.Raft != 0 {
		t.Errorf("it takes %+v for its own", own)
	}
}

// TestALossIsConfirmedOnce: a request that is sent again is told how many losses it
// confirmed, and begins no second history.
func TestALossIsConfirmedOnce(t *testing.T) {
	ctx := context.Background()
	for name, adopt := range map[string]bool{"confirmed": false, "adopted": true} {
		t.Run(name, func(t *testing.T) {
			m, lost := wentBack(t, 1)
			if _, err := m.ProveLoss(ctx, "zone west", lost[0]); err != nil {
				t.Fatal(err)
			}
			var shown []federation.History
			if adopt {
				shown = append(shown, federation.History{ID: "00000000000000ff", Created: 1 << 42})
			}
			o := Origin{By: "ann", RequestID: "r1"}
			n, change, err := m.ConfirmLoss(ctx, o, adopt, shown)
			if err != nil || n != 1 || len(m.Losses()) != 0 {
				t.Fatalf("%d losses were confirmed, %d are left: %v", n, len(m.Losses()), err)
			}
			revokeOn(t, m, "since")
			again, second, err := m.ConfirmLoss(ctx, o, adopt, nil) // nobody shows the history any more
			if err != nil || again != n || second != change {
				t.Errorf("again: %d losses, %+v, %v; want %d, %+v", again, second, err, n, change)
			}
			n, _, err = m.ConfirmLoss(ctx, Origin{By: "ann", RequestID: "r2"}, adopt, nil)
			if adopt {
				wantCode(t, err, federation.Conflict, "nothing_shown")
			} else if err != nil || n != 0 {
				t.Errorf("another request: %d losses, %v", n, err)
			}
		})
	}
}

// TestAMemberThatBypassedAHistory: who applied the entry at which this one's history began, and
// is in the former one all the same, applied another entry there.
func TestAMemberThatBypassedAHistory(t *testing.T) {
	m, lost := wentBack(t, 3)
	former := m.Standing()
	if _, err := m.ProveLoss(context.Background(), "zone west", lost[2]); err != nil {
		t.Fatal(err)
	}
	now := m.Standing()
	for name, tt := range map[string]struct {
		history federation.History
		raft    uint64
		want    bool
	}{
		"in the former history, at its end":     {former.History, now.Raft, true},
		"in the former history, far behind it":  {former.History, now.Raft + 100, true},
		"in the former history, before its end": {former.History, now.Raft - 1, false},
		"in the present one":                    {now.History, now.Raft, false},
		"in a newer one":                        {federation.History{ID: "x", Created: now.History.Created + 1}, now.Raft, false},
		"in none":                               {federation.History{}, now.Raft, false},
	} {
		if got := m.Bypassed(disk.Standing{Node: "another", History: tt.history, Raft: tt.raft}); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
