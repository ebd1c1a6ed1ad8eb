package raftstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

var ann = Origin{By: "ann"}

func save(t testing.TB, m *member) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.Save(context.Background(), SaveOptions{}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func revokeOn(t testing.TB, m *member, ids ...string) federation.Revision {
	t.Helper()
	var revoked []cptoken.RevokedID
	for _, id := range ids {
		revoked = append(revoked, cptoken.RevokedID{ID: id})
	}
	change, err := m.Revoke(context.Background(), ann, cptoken.Zone, "", revoked, "")
	if err != nil {
		t.Fatal(err)
	}
	return change.Revision
}

func TestInspectBackup(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	rev := revokeOn(t, m, "a", "b")
	data := save(t, m)
	b, err := state.InspectBackup(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if b.Format != 1 || b.ClusterID != m.ClusterID() || b.Revision != rev || b.Keys != 4 || b.Meshes != 1 || b.Revocations != 2 ||
		!slices.Equal(b.SealKeys, []string{m.cfg.Seal.ActiveID()}) || b.Bytes != int64(len(data)) || len(b.SHA256) != 32 {
		t.Errorf("%+v", b)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		if _, err := state.InspectBackup(bytes.NewReader(bad)); federation.CodeOf(err) != federation.Invalid {
			t.Fatalf("a flipped bit in byte %d: %v", i, err)
		}
	}
	_, err = state.InspectBackup(bytes.NewReader(data[:len(data)-1]))
	wantCode(t, err, federation.Invalid, "damaged")
	newer := bytes.Clone(data)
	newer[len("MRDNSNAP")+3]++
	_, err = state.InspectBackup(bytes.NewReader(newer))
	wantCode(t, err, federation.Invalid, "newer")
	broken := errors.New("the disk is gone")
	if _, err := state.InspectBackup(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	if _, err := state.InspectBackup(bytes.NewReader(snapshotBytes(t, state.NewState()))); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("a snapshot of nothing: %v", err)
	}
}

// TestRestoreOverTheSameCluster goes back in time: what came after the backup is gone,
// the history is new, and serials go on.
func TestRestoreOverTheSameCluster(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	m := start(t, alone(t, dir, seal)).awaitReady()
	ctx := context.Background()
	revokeOn(t, m, "early")
	backup := save(t, m)
	if _, err := m.PrepareKey(ctx, ann, cptoken.Zone, ""); err != nil {
		t.Fatal(err)
	}
	before := revokeOn(t, m, "late")
	applied := m.Applied()

	_, _, err := m.Restore(ctx, ann, RestoreOptions{}, bytes.NewReader(backup))
	wantCode(t, err, federation.Conflict, "holds_state")
	if m.Applied() != applied {
		t.Error("a refused restore wrote something")
	}
	info, change, err := m.Restore(ctx, Origin{By: "ann", RequestID: "r1"}, RestoreOptions{Force: true}, bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	if change.Revision.History.Compare(before.History) <= 0 || change.Revision.Index <= before.Index || info.ClusterID != m.ClusterID() {
		t.Errorf("at %s after %s", change.Revision, before)
	}
	check := func() {
		t.Helper()
		if v := m.View(); !v.Revoked(cptoken.Zone, "", "early") || v.Revoked(cptoken.Zone, "", "late") || len(m.Keys()) != 4 {
			t.Error("the state is not that of the backup")
		}
		for _, rev := range []federation.Revision{before, info.Revision} {
			if d, err := m.Since(rev); err != nil || !d.Full || d.To.History != change.Revision.History {
				t.Errorf("a zone at %s gets %+v: %v", rev, d, err)
			}
		}
		if d, err := m.Since(change.Revision); err != nil || d.Full {
			t.Errorf("a zone of the new history gets %+v: %v", d, err)
		}
	}
	check()
	// The same request again is answered, not done again.
	_, again, err := m.Restore(ctx, Origin{By: "ann", RequestID: "r1"}, RestoreOptions{Force: true}, bytes.NewReader(backup))
	if err != nil || again.Revision != change.Revision {
		t.Errorf("again: %s: %v", again.Revision, err)
	}
	key, err := m.PrepareKey(ctx, ann, cptoken.Zone, "")
	if err != nil || key.Serial != 3 {
		t.Errorf("serial %d: %v", key.Serial, err)
	}
	if _, err := m.RemoveKey(ctx, ann, key.ID, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	check()
	revokeOn(t, m, "after") // Raft takes no snapshot before its own entries are behind a command
	if err := m.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	check()
	if left, err := filepath.Glob(filepath.Join(dir, disk.SnapshotsDir, "restore-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestRestoreIntoANewCluster: the backup has a longer log than the cluster that it
// goes to, so that indexes must not begin again from below.
func TestRestoreIntoANewCluster(t *testing.T) {
	seal := testSeal(t)
	old := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	for range 50 {
		revokeOn(t, old, randomUUID())
	}
	last := revokeOn(t, old, "last")
	token := issueUser(t, old)
	backup := save(t, old)
	old.stop()

	dir := t.TempDir()
	m := start(t, alone(t, dir, seal)).awaitReady()
	ctx := context.Background()
	if _, err := m.Signer(cptoken.User, ""); err != nil { // caches a key of the same name
		t.Fatal(err)
	}
	_, change, err := m.Restore(ctx, ann, RestoreOptions{}, bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	if m.ClusterID() != old.ClusterID() || change.Revision.Index <= last.Index {
		t.Errorf("cluster %s at %s, backup at %s", m.ClusterID(), change.Revision, last)
	}
	next := revokeOn(t, m, "after")
	d, err := m.Since(change.Revision)
	if err != nil || d.Full || d.To != next {
		t.Fatalf("delta %+v: %v", d, err)
	}
	count := 0
	for c := range d.Changes {
		if count++; c.Revoked == nil || c.Revoked.IDs[0].ID != "after" {
			t.Errorf("change %+v", c)
		}
	}
	if count != 1 {
		t.Errorf("%d changes, want 1", count)
	}
	verify := func() {
		t.Helper()
		v := cptoken.NewVerifier(cptoken.VerifierOptions{})
		for _, token := range []string{token, issueUser(t, m)} {
			if _, err := v.Verify(m.View(), cptoken.User, token); err != nil {
				t.Errorf("token: %v", err)
			}
		}
	}
	verify()
	key, err := m.PrepareKey(ctx, ann, cptoken.Zone, "")
	if err != nil || key.Serial != 1+100+1 {
		t.Errorf("serial %d: %v", key.Serial, err)
	}
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	if _, rev := m.Head(); rev.Index <= next.Index {
		t.Errorf("after a start at %s", rev)
	}
	verify()
	m.stop()
	if _, err := Recover(dir, RecoverOptions{}); federation.AsError(err).Reason != "alone" {
		t.Error(err)
	}
}

// TestRestoreRefuses what cannot be used, and leaves everything as it was.
func TestRestoreRefuses(t *testing.T) {
	line, foreignLine := sealLine(t), sealLine(t)
	other := start(t, alone(t, t.TempDir(), sealKeys(t, foreignLine))).awaitReady()
	foreign := save(t, other)
	other.stop()
	dir := t.TempDir()
	m := start(t, alone(t, dir, sealKeys(t, line))).awaitReady()
	good := save(t, m)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	newer := bytes.Clone(good)
	newer[len("MRDNSNAP")+3]++
	for name, tc := range map[string]struct {
		in     io.Reader
		code   federation.Code
		reason string
	}{
		"another seal key":  {bytes.NewReader(foreign), federation.Invalid, "wrong_seal_key"},
		"one byte changed":  {bytes.NewReader(flipped), federation.Invalid, "damaged"},
		"cut off":           {bytes.NewReader(good[:len(good)-9]), federation.Invalid, "damaged"},
		"a newer format":    {bytes.NewReader(newer), federation.Invalid, "newer"},
		"nothing":           {bytes.NewReader(nil), federation.Invalid, "damaged"},
		"something else":    {bytes.NewReader(bytes.Repeat([]byte("<html>"), 1000)), federation.Invalid, "damaged"},
		"a connection lost": {io.MultiReader(bytes.NewReader(good[:100]), iotest.ErrReader(io.ErrUnexpectedEOF)), federation.Invalid, ""},
	} {
		before := snapshotBytes(t, m.fsm.current())
		_, _, err := m.Restore(context.Background(), ann, RestoreOptions{Force: true}, tc.in)
		t.Run(name, func(t *testing.T) { wantCode(t, err, tc.code, tc.reason) })
		if !bytes.Equal(before, snapshotBytes(t, m.fsm.current())) {
			t.Errorf("%s: the state changed", name)
		}
		if left, err := filepath.Glob(filepath.Join(dir, disk.SnapshotsDir, "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind %v %v", name, left, err)
		}
	}
	m.stop()
	m = start(t, alone(t, dir, sealKeys(t, line, foreignLine))).awaitReady()
	was, twice := m.ClusterID(), Origin{By: "ann", RequestID: "r1"}
	_, change, err := m.Restore(context.Background(), twice, RestoreOptions{}, bytes.NewReader(foreign))
	if err != nil || change.Replaced != was || m.ClusterID() == was {
		t.Errorf("with its seal key in the file: %+v, %v; want the state of cluster %s replaced", change, err, was)
	}
	// The answer is the same once it holds state, and is the one that it replaces.
	revokeOn(t, m, "since")
	_, again, err := m.Restore(context.Background(), twice, RestoreOptions{}, bytes.NewReader(foreign))
	if err != nil || again != change || !m.View().Revoked(cptoken.Zone, "", "since") {
		t.Errorf("the same request again: %+v, %v, want %+v", again, err, change)
	}
	_, _, err = m.Restore(context.Background(), Origin{By: "ann", RequestID: "r2"}, RestoreOptions{}, bytes.NewReader(foreign))
	wantCode(t, err, federation.Conflict, "holds_state")
	if _, err := m.PrepareKey(context.Background(), ann, cptoken.Zone, ""); err != nil {
		t.Errorf("a key after it: %v", err)
	}
}

// TestLeaderLostWhileRestoring: the leader goes after some of the parts. What is left
// has every acknowledged write, nothing of the backup, and takes it from the next
// leader.
func TestLeaderLostWhileRestoring(t *testing.T) {
	c := startCluster(t)
	ctx := context.Background()
	var rev federation.Revision
	old := c.write(c.members, func(m *member) error {
		change, err := m.Revoke(ctx, ann, cptoken.Zone, "", []cptoken.RevokedID{{ID: "acknowledged"}}, "")
		rev = change.Revision
		return err
	})
	backup := save(t, old)
	old = c.write(c.members, func(m *member) error {
		change, err := m.Revoke(ctx, ann, cptoken.Zone, "", []cptoken.RevokedID{{ID: "later"}}, "")
		rev = change.Revision
		return err
	})
	part := &storepb.RestorePart{RestoreId: "interrupted", Data: backup[:100]}
	if _, err := old.propose(ctx, ann, "", &storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: part}}); err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == old })
	c.net.Cut(old.cfg.Advertise, true)
	leader := c.leader(others)
	if _, at := leader.Head(); at != rev || !leader.View().Revoked(cptoken.Zone, "", "later") {
		t.Errorf("at %s, want %s", at, rev)
	}
	// Parts that wait are in snapshots too.
	if err := leader.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	var change Change
	leader = c.write(others, func(m *member) (err error) {
		_, change, err = m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup))
		return err
	})
	if v := leader.View(); !v.Revoked(cptoken.Zone, "", "acknowledged") || v.Revoked(cptoken.Zone, "", "later") {
		t.Error("the state is not that of the backup")
	}
	c.net.Cut(old.cfg.Advertise, false)
	c.agree(c.members, change.Revision)
	if _, _, err := others[0].Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup)); others[0] != leader {
		wantCode(t, err, federation.Unavailable, "not_leader")
	}
}

// TestSaveComesFromTheLeader, unless an older state will do.
func TestSaveComesFromTheLeader(t *testing.T) {
	c := startCluster(t)
	leader := c.leader(c.members)
	for _, m := range c.members {
		if m == leader {
			continue
		}
		wantCode(t, m.Save(context.Background(), SaveOptions{}, io.Discard), federation.Unavailable, "not_leader")
		var b bytes.Buffer
		if err := m.Save(context.Background(), SaveOptions{Stale: true}, &b); err != nil {
			t.Error(err)
		}
		if _, err := state.InspectBackup(&b); err != nil {
			t.Error(err)
		}
	}
}

// TestBackupHoldsNoPrivateKey looks for the material of every key in a backup.
func TestBackupHoldsNoPrivateKey(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	imported := bytes.Repeat([]byte("an imported secret of 40 bytes.."), 2)
	if _, err := m.ImportKey(context.Background(), ann, issue.Ref{Kind: cptoken.ControlPlane, Serial: 7}, imported); err != nil {
		t.Fatal(err)
	}
	data := save(t, m)
	for _, k := range m.fsm.current().Records() {
		key, err := m.open(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range secrets(t, key) {
			if bytes.Contains(data, n) {
				t.Fatalf("the backup holds a piece of key %s", k.ID)
			}
		}
	}
}
