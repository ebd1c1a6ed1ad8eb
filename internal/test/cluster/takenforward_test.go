package cluster

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// updateGolden makes the golden zone file anew. Run it for a new format only, under
// another name: a file of this format proves that later programs still read it.
//
//	go test ./internal/test/cluster -run TestGoldenFoldersTakenForward -update-golden
var updateGolden = flag.Bool("update-golden", false, "make the zone file of the golden global anew")

// Of the golden data folder of a global; see raftstore's TestGolden.
const (
	goldenGlobal  = "../../../raftstore/testdata/golden/1"
	goldenZone    = "testdata/golden/2"
	goldenRevoked = "0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"
)

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

// goldenNodes is one node, not started, on a copy of the golden data folder.
func goldenNodes(t *testing.T) *nodes {
	t.Helper()
	c := newNodes(t, 1)
	golden := c.path("golden")
	if err := os.CopyFS(golden, os.DirFS(goldenGlobal)); err != nil {
		t.Fatal(err)
	}
	private(t, golden)
	c.all[0].dir = filepath.Join(golden, "data")
	seal, err := os.ReadFile(filepath.Join(golden, "seal.test-only.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.file("seal.key", seal)
	return c
}

// TestGoldenFoldersTakenForward starts the programs on the golden data folder of a global,
// and on the file of a zone that followed it, as programs of earlier versions left them: first the
// zone alone, then both. They go on with what there is, and take what is new.
func TestGoldenFoldersTakenForward(t *testing.T) {
	t.Parallel()
	if *updateGolden {
		makeGoldenZone(t)
	}
	c := goldenNodes(t)
	m := c.all[0]
	west := &zoneProcess{of: c, name: "west", dir: c.path("zone-west")}
	if err := os.CopyFS(west.dir, os.DirFS(goldenZone)); err != nil {
		t.Fatal(err)
	}
	private(t, west.dir)
	good, lost := filepath.Join(west.dir, "good.token"), filepath.Join(west.dir, "lost.token")
	token, err := os.ReadFile(filepath.Join(west.dir, "west.cp"))
	if err != nil {
		t.Fatal(err)
	}
	c.file("west.cp", token)
	west.start()
	held := west.revision()
	if status := west.status(); status.Empty || status.Revocations["zone"] != 2 && status.Revocations["zone-token"] != 2 {
		t.Errorf("the golden zone file has %+v", status)
	}
	west.expect(good, "accepted")
	west.expect(lost, "accepted")

	m.start()
	m.awaitReady()
	if n := m.revoked(goldenRevoked); n != 1 {
		t.Error("the golden revocation is lost")
	}
	for _, key := range m.keys()["active"] {
		if key.Serial != 2 {
			t.Errorf("zone key %d signs, want 2", key.Serial)
		}
	}
	m.completes("revoke", "--token-file", lost)
	west.await(lost, "revoked")
	west.expect(good, "accepted")
	if now := west.revision(); !now.Covers(held) || now.History != held.History {
		t.Errorf("the zone went from %s to %s", held, now)
	}
	if files, err := filepath.Glob(filepath.Join(west.dir, "*.damaged-*")); err != nil || len(files) > 0 {
		t.Errorf("set aside: %v %v", files, err)
	}
	west.await(west.token(m, "fresh"), "accepted")
	m.completes("keys", "rotate", "zone-token", "--wait", "20s", "--yes")
	west.await(west.token(m, "rotated"), "accepted")

	// Both again, and then a backup over it all. The golden one is older than the MAC of
	// backups, and nobody vouches for it.
	west.kill()
	m.term()
	m.start()
	m.awaitReady()
	west.start()
	west.expect(lost, "revoked")
	saved := c.path("saved.snapshot")
	m.completes("snapshot", "save", saved)
	id := uuid.NewString()
	m.completes("revoke", "--kind", "zone-token", id)
	if _, said, err := m.cli("snapshot", "restore", filepath.Join(c.path("golden"), "backup.snapshot"), "--force"); err == nil || !strings.Contains(said, "MAC") {
		t.Errorf("the golden backup is refused with %v %s", err, said)
	}
	m.completes("snapshot", "restore", saved, "--force")
	if m.revoked(goldenRevoked, id) != 1 {
		t.Error("the backup is not what was restored")
	}
	west.await(west.token(m, "restored"), "accepted")
	west.expect(lost, "revoked") // kept over the restore
	west.expect(good, "accepted")
}

// status is what the zone says of itself.
func (z *zoneProcess) status() (status apitypes.ZoneStatus) {
	z.of.t.Helper()
	out, said, err := command(z.programs().zone, "status", "--data-dir", z.dir, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &status)
	}
	if err != nil {
		z.of.t.Fatalf("the status of zone %s: %v\n%s", z.name, err, said)
	}
	return status
}

// makeGoldenZone has a zone follow the golden global, and keeps its file and tokens.
func makeGoldenZone(t *testing.T) {
	c := goldenNodes(t)
	m := c.all[0]
	m.start()
	m.awaitReady()
	west := c.startZone("west")
	good, lost := west.token(m, "good"), west.token(m, "lost")
	west.await(good, "accepted")
	west.kill()
	m.term()
	files := map[string]string{"zone.db": filepath.Join(west.dir, "zone.db"), "good.token": good, "lost.token": lost, "west.cp": c.path("west.cp")}
	err := errors.Join(os.RemoveAll(goldenZone), os.MkdirAll(goldenZone, 0o755))
	for to, from := range files {
		data, e := os.ReadFile(from)
		err = errors.Join(err, e, os.WriteFile(filepath.Join(goldenZone, to), data, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}
