package raftstore

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

// updateGolden makes the golden folder of the present format. Run it for a new format
// only: the folders of older ones prove that they are still read.
//
//	go test ./raftstore -run TestGolden -update-golden
var updateGolden = flag.Bool("update-golden", false, "make the golden data folder of the present format anew")

// What stands in testdata/golden/1. The seal key is for tests alone.
const (
	goldenSealKey  = "seal.test-only.key"
	goldenToken    = "user.jwt"
	goldenBackup   = "backup.snapshot"
	goldenFolder   = "data"
	goldenRevoked  = "0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"
	goldenLater    = "5f0f3c1e-52b8-4d0f-9b3c-3f5b0a7c9d10"
	goldenWithdraw = "7c3a2b9d-1111-4222-8333-444455556666"
	goldenExpires  = int64(2_000_000_000)
)

var goldenImported = bytes.Repeat([]byte("golden test-only material "), 2)

func TestGolden(t *testing.T) {
	if *updateGolden {
		makeGolden(t, filepath.Join("testdata", "golden", "1"))
	}
	folders, err := filepath.Glob(filepath.Join("testdata", "golden", "*"))
	if err != nil || len(folders) < 1 {
		t.Fatalf("%d golden folders: %v", len(folders), err)
	}
	for _, from := range folders {
		t.Run(filepath.Base(from), func(t *testing.T) { testGolden(t, from) })
	}
}

// testGolden opens a copy of a golden data folder and looks at everything in it; then
// it goes on writing. The golden backup, which has no MAC, is refused.
func testGolden(t *testing.T, from string) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	private(t, root)
	seal, err := issue.LoadSealKeys(filepath.Join(root, goldenSealKey))
	if err != nil {
		t.Fatal(err)
	}
	backup, err := os.ReadFile(filepath.Join(root, goldenBackup))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, goldenFolder)
	m := start(t, alone(t, dir, seal)).awaitReady()
	checkGolden(t, m, filepath.Join(root, goldenToken))
	before := revokeOn(t, m, "written now")
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	if v := m.View(); !v.Revoked(cptoken.Zone, "", "written now") || !v.Revoked(cptoken.Zone, "", goldenRevoked) {
		t.Error("what was written is lost")
	}
	if b, err := state.InspectBackup(bytes.NewReader(backup)); err != nil || b.Revocations != 3 || b.Keys != 7 || b.ClusterID != m.ClusterID() {
		t.Errorf("backup %+v: %v", b, err)
	}
	// It is older than MACs: nothing proves who wrote it.
	_, _, err = m.Restore(context.Background(), ann, RestoreOptions{Force: true}, bytes.NewReader(backup))
	wantCode(t, err, federation.Invalid, "no_mac")
	if _, rev := m.Head(); rev.History != before.History || rev.Index < before.Index {
		t.Errorf("at %s, was at %s", rev, before)
	}
}

// private gives files and folders the modes of a data folder, which git does not keep.
func private(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkGolden(t *testing.T, m *member, tokenFile string) {
	t.Helper()
	v := m.View()
	for id, kind := range map[string]cptoken.Kind{goldenRevoked: cptoken.Zone, goldenLater: cptoken.Zone, "not-a-uuid": cptoken.User} {
		if !v.Revoked(kind, "", id) {
			t.Errorf("%s is not revoked", id)
		}
	}
	if v.Revoked(cptoken.Zone, "", goldenWithdraw) {
		t.Error("a withdrawn revocation holds")
	}
	revoked := m.Revocations(cptoken.Zone, "", "", 0)
	if len(revoked) != 2 || revoked[0].Expires != goldenExpires || revoked[0].Reason != "laptop lost" || revoked[0].By != "ann" {
		t.Errorf("revocations %+v", revoked)
	}
	states := map[string]cptoken.KeyState{}
	for _, k := range m.Keys() {
		states[k.ID.String()] = k.State
	}
	for id, want := range map[cptoken.KeyID]cptoken.KeyState{
		{Kind: cptoken.ControlPlane, KID: "1"}:                 cptoken.Active,
		{Kind: cptoken.ControlPlane, KID: "7"}:                 cptoken.Prepared,
		{Kind: cptoken.Zone, KID: "2"}:                         cptoken.Active,
		{Kind: cptoken.Zone, KID: "3"}:                         cptoken.Prepared,
		{Kind: cptoken.User, KID: "1"}:                         cptoken.Active,
		{Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}:   cptoken.Active,
		{Kind: cptoken.Dataplane, Mesh: "shop", KID: "1"}:      cptoken.Prepared,
		{Kind: cptoken.Zone, KID: "1"} /* it was removed */ :   "",
		{Kind: cptoken.Dataplane, Mesh: "shop", KID: "absent"}: "",
	} {
		if got := states[id.String()]; got != want {
			t.Errorf("key %s is %q, want %q", id, got, want)
		}
	}
	if key, imported := m.ControlPlaneKey(7); key == nil || !imported || !bytes.Equal(key.Material(), goldenImported) {
		t.Error("the imported key is not what it was")
	}
	z, ok := m.Zone("west")
	if !ok || !z.Enabled || z.Relay.MaxValidity != time.Hour || len(z.Relay.Meshes) != 1 || z.FirstSeen.IsZero() {
		t.Errorf("zone %+v", z)
	}
	if z, ok := m.Zone("gone"); !ok || !z.Deleted {
		t.Errorf("deleted zone %+v", z)
	}
	if c := m.CutOffs(); len(c) != 1 || c[0].Before.Unix() != 1_700_000_000 || c[0].Reason != "before the move" {
		t.Errorf("cut-offs %+v", c)
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	raw := strings.TrimSpace(string(token))
	parsed, err := cptoken.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	at := parsed.Claims.IssuedAt.Add(time.Hour)
	verifier := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return at }})
	if _, err := verifier.Verify(v, cptoken.User, raw); err != nil {
		t.Errorf("the user token: %v", err)
	}
	if _, err := verifier.Verify(v, cptoken.User, issueUser(t, m)); err != nil && cptoken.ReasonOf(err) != cptoken.NotYetValid {
		t.Errorf("a token of now: %v", err)
	}
}

// makeGolden makes a folder with a snapshot and entries behind it, a backup of the
// same state, and a token of it.
func makeGolden(t *testing.T, to string) {
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(to, goldenFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	line := sealLine(t)
	m := start(t, alone(t, dir, sealKeys(t, line))).awaitReady()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expiring := []cptoken.RevokedID{{ID: goldenRevoked, Expires: goldenExpires}}
	_, err := m.Revoke(ctx, ann, cptoken.Zone, "", expiring, "laptop lost")
	must(err)
	_, err = m.Revoke(ctx, ann, cptoken.User, "", []cptoken.RevokedID{{ID: "not-a-uuid"}}, "")
	must(err)
	revokeOn(t, m, goldenWithdraw)
	_, err = m.Withdraw(ctx, ann, cptoken.Zone, "", []string{goldenWithdraw})
	must(err)
	second, err := m.PrepareKey(ctx, ann, cptoken.Zone, "")
	must(err)
	_, err = m.ActivateKey(ctx, ann, second.ID)
	must(err)
	_, err = m.RemoveKey(ctx, ann, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, RemoveOptions{Force: true})
	must(err)
	_, err = m.ImportKey(ctx, ann, issue.Ref{Kind: cptoken.ControlPlane, Serial: 7}, goldenImported)
	must(err)
	_, err = m.SeeZone(ctx, "west")
	must(err)
	must(m.raft.Load().Snapshot().Error())

	_, err = m.ApplyZone(ctx, ann, federation.Zone{Name: "west", Enabled: true,
		Relay: federation.RelayPolicy{Meshes: []string{"default"}, MaxValidity: time.Hour}})
	must(err)
	_, err = m.SeeZone(ctx, "gone")
	must(err)
	must(m.DeleteZone(ctx, ann, "gone"))
	_, err = m.ApplyMesh(ctx, ann, "shop")
	must(err)
	_, err = m.PrepareKey(ctx, ann, cptoken.Zone, "")
	must(err)
	_, err = m.SetCutOff(ctx, ann, cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.User}, Before: time.Unix(1_700_000_000, 0)}, "before the move")
	must(err)
	revokeOn(t, m, goldenLater)
	token := issueUser(t, m)
	backup := save(t, m)
	m.stop()
	must(errors.Join(
		os.WriteFile(filepath.Join(to, goldenSealKey), []byte("# made for tests, and public\n"+line), 0o600),
		os.WriteFile(filepath.Join(to, goldenToken), []byte(token+"\n"), 0o600),
		os.WriteFile(filepath.Join(to, goldenBackup), backup, 0o600)))
}
