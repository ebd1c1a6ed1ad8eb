package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/altered"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestChangedBackupsAreRefused: each field of each record flipped, dropped or added to,
// each record dropped or repeated, with every checksum made right again. Nothing of it is
// restored, and nothing is changed.
func TestChangedBackupsAreRefused(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx := context.Background()
	revokeOn(t, m, "one", randomUUID())
	if _, err := m.ApplyZone(ctx, ann, federation.Zone{Name: "west", Enabled: true, Auth: federation.AuthToken}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.SetCutOff(ctx, ann, cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.User}, Before: m.cfg.Now()}, "why"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Withdraw(ctx, ann, cptoken.Zone, "", []string{"one"}); err != nil {
		t.Fatal(err)
	}
	backup := save(t, m)
	all := altered.Records(t, backup)
	if got := altered.Assemble(t, backup, all); !bytes.Equal(got, backup) {
		t.Fatal("a backup that is only taken apart is another one")
	}
	before := snapshotBytes(t, m.fsm.current())
	n := 0
	refuse := func(what string, changed []*storepb.Record) {
		t.Helper()
		n++
		_, _, err := m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(altered.Assemble(t, backup, changed)))
		if federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(snapshotBytes(t, m.fsm.current()), before) {
			t.Fatalf("%s: something was changed", what)
		}
	}
	with := func(i int, r ...*storepb.Record) []*storepb.Record {
		return append(append(append([]*storepb.Record(nil), all[:i]...), r...), all[i+1:]...)
	}
	for i, r := range all {
		altered.EachField(r, func(what string, changed *storepb.Record) {
			if e := r.GetEnd(); e != nil && bytes.Equal(changed.GetEnd().Mac, e.Mac) {
				return // the checksums, which assemble puts right
			}
			refuse(what, with(i, changed))
		})
		refuse(fmt.Sprintf("record %d dropped", i), with(i))
		refuse(fmt.Sprintf("record %d twice", i), with(i, r, r))
	}
	if n < 200 {
		t.Errorf("%d changes only were tried", n)
	}
	if _, _, err := m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup)); err != nil {
		t.Errorf("the backup itself: %v", err)
	}
}

// TestBackupsThatNobodyVouchesFor: one without a MAC, and one whose secret was made by
// somebody else, name the way out.
func TestBackupsThatNobodyVouchesFor(t *testing.T) {
	seal := testSeal(t)
	m := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	backup := save(t, m)
	all := altered.Records(t, backup)
	bare := proto.CloneOf(all[len(all)-1])
	bare.GetEnd().Mac = nil
	_, _, err := m.Restore(context.Background(), ann, RestoreOptions{Force: true},
		bytes.NewReader(altered.Assemble(t, backup, append(append([]*storepb.Record(nil), all[:len(all)-1]...), bare))))
	wantCode(t, err, "invalid", "no_mac")

	for i, r := range all {
		if r.GetSecret() == nil {
			continue
		}
		// The secret of another cluster, sealed under the same seal key.
		sealed, err := seal.NewClusterSecret("another", 1)
		if err != nil {
			t.Fatal(err)
		}
		other := append([]*storepb.Record(nil), all...)
		other[i] = &storepb.Record{What: &storepb.Record_Secret{Secret: &storepb.ClusterSecret{Generation: 1, Sealed: sealedTo(sealed)}}}
		_, _, err = m.Restore(context.Background(), ann, RestoreOptions{Force: true}, bytes.NewReader(altered.Assemble(t, backup, other)))
		wantCode(t, err, "invalid", "damaged")
		return
	}
	t.Error("the backup has no secret")
}

// TestSecretRotation: backups of both generations are restored, and the secret follows
// the seal key.
func TestSecretRotation(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx := context.Background()
	former := save(t, m)
	if n, err := m.RotateSecret(ctx, ann); err != nil || n != 2 {
		t.Fatalf("generation %d: %v", n, err)
	}
	for name, backup := range map[string][]byte{"former": former, "new": save(t, m)} {
		if _, _, err := m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(m.fsm.current().Secrets()); got != 2 {
			t.Errorf("%s: %d generations are left", name, got)
		}
	}
}

// TestBackupOfAKeyThatIsNotItsOwn: whoever has the cluster secret and no key of a kind
// cannot have tokens of another key believed, and a cluster does not save what no restore
// takes.
func TestBackupOfAKeyThatIsNotItsOwn(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx := context.Background()
	p, err := m.newKey(m.fsm.current(), cptoken.User, "")
	if err != nil {
		t.Fatal(err)
	}
	p.PublicDer = anotherDER(t)
	if _, err := m.propose(ctx, ann, "", &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: p}}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, m.Save(ctx, SaveOptions{}, io.Discard), "conflict", "key_broken")
	st := m.fsm.current()
	secret, err := openSecret(m.cfg.Seal, m.ClusterID(), st.Secrets())
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	var failed error
	err = st.WriteBackup(&backup, func(frames []byte) (mac []byte) {
		mac, failed = secret.BackupMAC(frames)
		return mac
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	_, _, err = m.Restore(ctx, ann, RestoreOptions{Force: true}, &backup)
	wantCode(t, err, "invalid", "damaged")
}
