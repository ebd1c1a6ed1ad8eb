package raftstore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/raftstore/disk"

	"github.com/meridiankds/meridian/federation"
)

// emptyLog writes a raft.db as it is before the first entry, with a term if that is
// not 0.
func emptyLog(t testing.TB, path string, term uint64) {
	t.Helper()
	db, err := disk.OpenLog(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if term > 0 {
		if err := db.Values.SetUint64([]byte("CurrentTerm"), term); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLostLogIsRefused: a node of a cluster whose log is gone founds no second one,
// and changes nothing. Where snapshots are there they do not stand for the log, which
// also holds the votes.
func TestLostLogIsRefused(t *testing.T) {
	seal := testSeal(t)
	for name, lose := range map[string]func(t *testing.T, path string){
		"missing": func(t *testing.T, path string) { remove(t, path) },
		"empty": func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"without entries": func(t *testing.T, path string) { remove(t, path); emptyLog(t, path, 0) },
		"a term alone":    func(t *testing.T, path string) { remove(t, path); emptyLog(t, path, 1) },
	} {
		for _, snapshots := range []bool{false, true} {
			if snapshots && name == "a term alone" {
				continue // as after a snapshot that another member sent
			}
			t.Run(name, func(t *testing.T) {
				dir, _ := filledFolder(t, seal)
				path := filepath.Join(dir, disk.LogFile)
				if !snapshots {
					remove(t, filepath.Join(dir, disk.SnapshotsDir))
				}
				lose(t, path)
				before := contents(t, dir)
				_, err := Open(alone(t, dir, seal))
				wantDamaged(t, err, path)
				wantCode(t, err, federation.Internal, "damaged")
				if !equalFiles(before, contents(t, dir)) {
					t.Error("the folder was changed")
				}
			})
		}
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// TestLogLostAfterOpen: what happens to the log between Open and Run founds nothing
// either.
func TestLogLostAfterOpen(t *testing.T) {
	seal := testSeal(t)
	dir, _ := filledFolder(t, seal)
	remove(t, filepath.Join(dir, disk.SnapshotsDir))
	s, err := Open(alone(t, dir, seal))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(dir, disk.LogFile))
	wantDamaged(t, s.Run(t.Context()), filepath.Join(dir, disk.LogFile))
}

// TestUnfinishedFirstStart: a node that was killed anywhere in its first start
// starts.
func TestUnfinishedFirstStart(t *testing.T) {
	seal := testSeal(t)
	for name, leave := range map[string]func(path string){
		"no log": func(string) {},
		"an empty log": func(path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a log without entries":      func(path string) { emptyLog(t, path, 0) },
		"a log with the first term":  func(path string) { emptyLog(t, path, 1) },
		"a log with the term undone": func(path string) { emptyLog(t, path, 1); emptyLog(t, path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(alone(t, dir, seal)) // writes node.json
			if err != nil {
				t.Fatal(err)
			}
			leave(filepath.Join(dir, disk.LogFile))
			m := start(t, alone(t, dir, seal)).awaitReady()
			if m.NodeID() != s.NodeID() {
				t.Error("the node has another name")
			}
			m.stop()
			if n, _, err := disk.LoadIdentity(dir); err != nil || n.Cluster != m.ClusterID() || n.Cluster == "" {
				t.Errorf("node.json names cluster %q: %v", n.Cluster, err)
			}
		})
	}
}

// TestForgottenLeader: a member that has only heard of a leader waits for it, and
// never takes that for its own unfinished founding.
func TestForgottenLeader(t *testing.T) {
	seal, dir := testSeal(t), t.TempDir()
	if _, err := Open(alone(t, dir, seal)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, disk.LogFile)
	emptyLog(t, path, 2)
	db, err := disk.OpenLog(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := disk.ForgetBootstrap(db.Entries, db.Values, raft.NewInmemSnapshotStore()); err != nil {
		t.Fatal(err)
	}
	if term, err := db.Values.GetUint64([]byte("CurrentTerm")); err != nil || term != 2 {
		t.Errorf("term %d %v", term, err)
	}
}
