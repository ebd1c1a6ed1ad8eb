package keysync

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// updateGolden makes testdata/golden anew. Run it for a new format only, under another
// name: a file of an older one proves that it is still read.
//
//	go test ./keysync -run TestGolden -update-golden
var updateGolden = flag.Bool("update-golden", false, "make the golden zone file anew")

const goldenUUID = "0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"

// TestGolden opens a copy of a zone file of each format that is read and looks at
// everything in it.
func TestGolden(t *testing.T) {
	if *updateGolden {
		makeGolden(t, filepath.Join("testdata", "golden", "3"))
	}
	t.Run("2", func(t *testing.T) { testGolden(t, "2", "", "key:zone/3", "kind:job") })
	t.Run("3", func(t *testing.T) { testGolden(t, "3", "a position", "key:zone/3", "kind:job", "removed:zone/1") })
}

func testGolden(t *testing.T, format, position string, names ...string) {
	golden := filepath.Join("testdata", "golden", format)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	der, err := os.ReadFile(filepath.Join(dir, "key-2.der"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "zone.db")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	check := func() {
		t.Helper()
		v := s.View()
		wantRevoked(t, s, true, goldenUUID, "kept-from-before", "also-now")
		wantRevoked(t, s, false, "withdrawn", "never")
		if k := v.Key(zoneKey("2")); k == nil || k.State != cptoken.Active || !bytes.Equal(k.DER(), der) {
			t.Errorf("key 2 is %v", k)
		}
		if v.Key(zoneKey("1")) != nil {
			t.Error("a key that was removed in an older history is back")
		}
		if at := v.CutOff(cptoken.Zone, "", "2").Unix(); at != 200 {
			t.Errorf("cut-off at %d", at)
		}
	}
	check()
	if got := s.View().Skipped(); !slices.Equal(got, names) {
		t.Errorf("skipped %q", got)
	}
	if cluster, at := s.Position(); cluster != testCluster || at != rev(history2, 9) {
		t.Errorf("at %s of %s", at, cluster)
	}
	if got := string(s.Proof()); got != position {
		t.Errorf("position %q", got)
	}
	mustApply(t, s, delta(history2, 9, 10, revoked(10, "written now")))
	s = reopened(t, s)
	check()
	wantRevoked(t, s, true, "written now")
}

// TestOlderFormatIsRefused: a file of a format that no release had is left alone, and
// the error says what to do.
func TestOlderFormatIsRefused(t *testing.T) {
	former, err := os.ReadFile(filepath.Join("testdata", "golden", "1", "zone.db"))
	if err != nil {
		t.Fatal(err)
	}
	path := writeTemp(t, former)
	_, err = Open(path, testOptions(t))
	wantReason(t, err, ReasonOlderFormat)
	if federation.AsError(err).Hint == "" {
		t.Error("no hint")
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, former) {
		t.Errorf("the file was changed (%v)", err)
	}
}

// makeGolden makes a file that went through a restore of its global.
func makeGolden(t *testing.T, dir string) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	key1 := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Retiring)
	key2 := testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	s := openAt(t, filepath.Join(dir, "zone.db"))
	last := delta(history2, 8, 9, revoked(9, "also-now"), withdrawn(9, "withdrawn"), skipped(9, "kind:job", nil), skipped(9, "key:zone/3", &cptoken.KeyID{Kind: cptoken.Zone, KID: "3"}))
	last.Position = []byte("a position")
	mustApply(t, s,
		full(history1, 10, keyed(1, key1), keyed(2, key2), revoked(3, goldenUUID)),
		delta(history1, 10, 20, revoked(11, "kept-from-before", "withdrawn"), removed(12, key1.ID), cutOffAt(14, 200)),
		full(history2, 8, keyed(1, key1), keyed(2, key2), revoked(3, goldenUUID)),
		last)
	if err := errors.Join(s.Close(), os.WriteFile(filepath.Join(dir, "key-2.der"), key2.DER(), 0o600)); err != nil {
		t.Fatal(err)
	}
}
