package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
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

// TestSecretRotation: a backup under a former generation is restored where the operator
// names it, the generations stay, and a backup carries the newest alone.
func TestSecretRotation(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx := context.Background()
	former := save(t, m)
	_, position := m.Head()
	shown := m.Position()
	if n, err := m.RotateSecret(ctx, ann); err != nil || n != 2 {
		t.Fatalf("generation %d: %v", n, err)
	}
	fresh := save(t, m)
	for _, r := range altered.Records(t, fresh) {
		if g := r.GetSecret().GetGeneration(); g != 0 && g != 2 {
			t.Errorf("the backup carries generation %d", g)
		}
	}
	restore := func(backup []byte, opts RestoreOptions) error {
		opts.Force = true
		_, _, err := m.Restore(ctx, ann, opts, bytes.NewReader(backup))
		return err
	}
	wantCode(t, restore(former, RestoreOptions{}), "conflict", "secret_generation")
	wantCode(t, restore(former, RestoreOptions{Generation: 2}), "invalid", "secret_generation")
	wantCode(t, restore(fresh, RestoreOptions{Generation: 1}), "invalid", "secret_generation")
	if p := m.openPosition(m.fsm.current(), shown); p == nil || p.Index != position.Index {
		t.Error("a position of before the rotation is not believed any more")
	}
	for name, try := range map[string]func() error{
		"former": func() error { return restore(former, RestoreOptions{Generation: 1}) },
		"new":    func() error { return restore(fresh, RestoreOptions{}) },
	} {
		if err := try(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(m.fsm.current().Secrets()); got != 2 {
			t.Errorf("%s: %d generations are left", name, got)
		}
	}
}

// forge writes a backup as somebody does who knows a generation of the cluster secret: with
// the records of another one, and these secrets in the place of its own. The sum of all
// records, which anybody can make, does not count secrets.
func forge(t *testing.T, backup []byte, known *issue.ClusterSecret, secrets ...*storepb.ClusterSecret) []byte {
	t.Helper()
	var all []*storepb.Record
	for _, r := range altered.Records(t, backup) {
		if r.GetSecret() == nil {
			all = append(all, r)
			continue
		}
		for _, c := range secrets {
			all = append(all, &storepb.Record{What: &storepb.Record_Secret{Secret: c}})
		}
	}
	return altered.Forge(t, backup, all, known.BackupMAC)
}

func secretsIn(t *testing.T, file []byte) (all []*storepb.ClusterSecret) {
	t.Helper()
	for _, r := range altered.Records(t, file) {
		if c := r.GetSecret(); c != nil {
			all = append(all, c)
		}
	}
	return all
}

// TestAFormerGenerationWritesNoBackup: who knows a former generation of the cluster secret,
// from a former seal key and a backup of its time, and reads everything that is stored
// since, writes no backup that a cluster takes.
func TestAFormerGenerationWritesNoBackup(t *testing.T) {
	old, fresh := sealLine(t), sealLine(t)
	dir, ctx := t.TempDir(), context.Background()
	m := start(t, alone(t, dir, sealKeys(t, old))).awaitReady()
	stolen := save(t, m)
	gen1 := secretsIn(t, stolen)[0]
	known, err := sealKeys(t, old).OpenClusterSecret(m.ClusterID(), 1, sealedFrom(gen1.Sealed))
	if err != nil {
		t.Fatal(err)
	}
	cluster := m.ClusterID()
	m.stop()
	m = start(t, alone(t, dir, sealKeys(t, fresh, old))).awaitReady()
	done, err := m.Reseal(ctx, ann)
	if err != nil || done.Secret != 2 {
		t.Fatalf("the rotation of the seal key left the secret at generation %d: %v", done.Secret, err)
	}
	revokeOn(t, m, "stolen-token")
	backup, stored := save(t, m), secretsIn(t, snapshotBytes(t, m.fsm.current()))
	if len(stored) != 2 || stored[0].Sealed.SealKeyId != m.cfg.Seal.ActiveID() {
		t.Fatalf("stored are %d generations", len(stored))
	}
	minted := func(generation uint32) (*issue.ClusterSecret, *storepb.ClusterSecret) {
		sealed, err := sealKeys(t, old).NewClusterSecret(cluster, generation)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := sealKeys(t, old).OpenClusterSecret(cluster, generation, sealed)
		if err != nil {
			t.Fatal(err)
		}
		return opened, &storepb.ClusterSecret{Generation: generation, Sealed: sealedTo(sealed)}
	}
	renamed := &storepb.ClusterSecret{Generation: 2, Sealed: stored[0].Sealed}
	own2, sealed2 := minted(2)
	own3, sealed3 := minted(3)
	tries := map[string][]byte{
		"the former one alone, as it is stored":       forge(t, backup, known, stored[0]),
		"the former one, called by the newest's name": forge(t, backup, known, renamed),
		"both, as they are stored":                    forge(t, backup, known, stored...),
		"both, the former one behind":                 forge(t, backup, known, stored[1], stored[0]),
		"the former one as the stolen backup has it":  forge(t, backup, known, gen1),
		"the same in the stolen backup":               forge(t, stolen, known, gen1),
		"the newest one's name over that":             forge(t, backup, known, &storepb.ClusterSecret{Generation: 2, Sealed: gen1.Sealed}),
		"no secret at all":                            forge(t, backup, known),
		"one made under the former seal key":          forge(t, backup, own2, sealed2),
		"the next one, made under it":                 forge(t, backup, own3, sealed3),
	}
	refuse := func(t *testing.T, m *member, opts RestoreOptions, but string) {
		t.Helper()
		before := snapshotBytes(t, m.fsm.current())
		for what, file := range tries {
			if what == but {
				continue
			}
			if _, _, err := m.Restore(ctx, ann, opts, bytes.NewReader(file)); err == nil {
				t.Errorf("restored: %s", what)
			} else {
				t.Logf("%s: %v", what, err)
			}
			if !bytes.Equal(snapshotBytes(t, m.fsm.current()), before) {
				t.Fatalf("%s: something was changed", what)
			}
		}
	}
	t.Run("where the former seal key is still in the file", func(t *testing.T) { refuse(t, m, RestoreOptions{Force: true}, "") })
	m.stop()
	m = start(t, alone(t, dir, sealKeys(t, fresh))).awaitReady()
	t.Run("where it is not", func(t *testing.T) { refuse(t, m, RestoreOptions{Force: true}, "") })
	t.Run("where the operator says yes to a former generation", func(t *testing.T) {
		refuse(t, m, RestoreOptions{Force: true, Generation: 1}, "")
	})
	empty := start(t, alone(t, t.TempDir(), sealKeys(t, fresh))).awaitReady()
	t.Run("in a new cluster", func(t *testing.T) { refuse(t, empty, RestoreOptions{}, "") })
	if _, _, err := empty.Restore(ctx, ann, RestoreOptions{}, bytes.NewReader(backup)); err != nil {
		t.Errorf("the backup itself: %v", err)
	}
}

// TestASecretThatVouchesForPositionsOnlyIsReplaced: a leader that finds the newest
// generation in the form of a former one, which a rotation was interrupted at, makes
// another.
func TestASecretThatVouchesForPositionsOnlyIsReplaced(t *testing.T) {
	dir, seal, ctx := t.TempDir(), testSeal(t), context.Background()
	m := start(t, alone(t, dir, seal)).awaitReady()
	backup := save(t, m)
	sealed, err := seal.RetireClusterSecret(m.ClusterID(), 1, sealedFrom(m.fsm.current().Secrets()[0].Sealed))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.propose(ctx, ann, "", &storepb.Command{Op: &storepb.Command_Reseal{Reseal: &storepb.Reseal{
		Secrets: []*storepb.ClusterSecret{{Generation: 1, Sealed: sealedTo(sealed)}},
	}}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(ctx, SaveOptions{}, io.Discard); err == nil {
		t.Error("a backup was saved under a generation that vouches for positions only")
	}
	_, _, err = m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup))
	wantCode(t, err, "conflict", "secret_generation")
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	m.until("another generation is made", func() bool { return m.Sealing().Secret == 2 })
	save(t, m)
}

// TestABackupOfAnotherClusterIsNamed: over a cluster that holds state it takes more than
// --force.
func TestABackupOfAnotherClusterIsNamed(t *testing.T) {
	seal, ctx := testSeal(t), context.Background()
	other := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	foreign := save(t, other)
	m := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	own := save(t, m)
	revokeOn(t, m, "here")
	before := snapshotBytes(t, m.fsm.current())
	restore := func(backup []byte, opts RestoreOptions) error {
		_, _, err := m.Restore(ctx, ann, opts, bytes.NewReader(backup))
		return err
	}
	wantCode(t, restore(foreign, RestoreOptions{Force: true}), "conflict", "another_cluster")
	wantCode(t, restore(foreign, RestoreOptions{Force: true, Cluster: m.ClusterID()}), "invalid", "another_cluster")
	wantCode(t, restore(own, RestoreOptions{Force: true, Cluster: other.ClusterID()}), "invalid", "another_cluster")
	wantCode(t, restore(foreign, RestoreOptions{Cluster: other.ClusterID()}), "conflict", "holds_state")
	if !bytes.Equal(snapshotBytes(t, m.fsm.current()), before) {
		t.Error("something was changed")
	}
	if err := restore(foreign, RestoreOptions{Force: true, Cluster: other.ClusterID()}); err != nil || m.ClusterID() != other.ClusterID() {
		t.Errorf("named: %v", err)
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
