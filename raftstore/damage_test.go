package raftstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	files "github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// filledFolder returns the data folder of a node that was stopped, with a snapshot
// and entries after it, and the snapshot of its last state.
func filledFolder(t testing.TB, seal *issue.SealKeys) (dir string, state []byte) {
	t.Helper()
	dir = t.TempDir()
	m := start(t, alone(t, dir, seal)).awaitReady()
	fill := func(n int) {
		for range n {
			if _, err := m.Revoke(context.Background(), Origin{By: "ann"}, cptoken.Zone, "", revokedIDs(3), "why"); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(20)
	if err := m.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	fill(20)
	state = snapshotBytes(t, m.fsm.current())
	m.stop()
	return dir, state
}

// contents returns every file below a folder.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// logDump is all that the log means, in a form that can be compared.
func logDump(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	_, err = files.WalkBolt(f, info.Size(), func(bucket, key, value []byte) error {
		fmt.Fprintf(&b, "%s %x %x\n", bucket, key, value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func wantDamaged(t testing.TB, err error, path string) {
	t.Helper()
	var e *federation.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not a federation.Error", err)
	}
	if e.Hint == "" || !strings.Contains(e.Detail, path) || strings.Contains(e.Detail, "\n") {
		t.Fatalf("detail %q, hint %q: want one line that names %s", e.Detail, e.Hint, path)
	}
}

// TestFlippedBitsInTheLog flips bits all over raft.db. Each is refused, with the
// file's name and nothing changed, or changes nothing that the log says (pages that
// are not in use, padding, the time of an entry).
func TestFlippedBitsInTheLog(t *testing.T) {
	seal := testSeal(t)
	dir, _ := filledFolder(t, seal)
	path := filepath.Join(dir, disk.LogFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := logDump(t, path)
	refused, harmless := 0, 0
	stride := 31
	if testing.Short() {
		stride = 101
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := 0; i < len(good); i += stride {
		flip(t, f, i, good[i]^1<<(i%8))
		_, err := disk.CheckDirectory(dir, &disk.Identity{}, false)
		if err != nil {
			refused++
			wantDamaged(t, err, path)
		} else if got := logDump(t, path); got != want {
			if !onlyTimes(t, want, got) {
				t.Fatalf("a flipped bit in byte %d of %d changed the log and was not noticed", i, len(good))
			}
			harmless++
		} else {
			harmless++
		}
		flip(t, f, i, good[i])
	}
	t.Logf("%d bytes: %d flips refused, %d harmless", len(good), refused, harmless)
	if refused == 0 || harmless == 0 {
		t.Error("the test does not test both")
	}
	if _, err := disk.CheckDirectory(dir, &disk.Identity{}, false); err != nil {
		t.Fatal(err)
	}
}

func flip(t testing.TB, f *os.File, at int, b byte) {
	t.Helper()
	if _, err := f.WriteAt([]byte{b}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// onlyTimes reports whether two dumps differ in values whose checksums still match:
// what is left outside of them is when an entry was appended, for statistics.
func onlyTimes(t testing.TB, want, got string) bool {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && (!strings.HasPrefix(b[i], "logs ") || len(a[i]) != len(b[i])) {
			return false
		}
	}
	return true
}

// TestTruncatedLogIsRefused: a file that was cut off is never taken for
// a shorter log.
func TestTruncatedLogIsRefused(t *testing.T) {
	seal := testSeal(t)
	dir, _ := filledFolder(t, seal)
	path := filepath.Join(dir, disk.LogFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := logDump(t, path)
	for n := 1; n < len(good); n += 977 {
		if err := os.WriteFile(path, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.CheckDirectory(dir, &disk.Identity{}, false); err != nil {
			wantDamaged(t, err, path)
		} else if logDump(t, path) != want {
			t.Fatalf("%d of %d bytes were taken for the log", n, len(good))
		}
	}
	for name, data := range map[string][]byte{
		"zeros": make([]byte, len(good)), "text": bytes.Repeat([]byte("hello "), 9999),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		before := contents(t, dir)
		_, err := Open(alone(t, dir, seal))
		wantDamaged(t, err, path)
		if after := contents(t, dir); !equalFiles(before, after) {
			t.Errorf("%s: the folder was changed", name)
		}
	}
}

func equalFiles(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if a[name] != b[name] {
			return false
		}
	}
	return true
}

// TestFlippedBitsInOtherFiles does the same to every file of a snapshot, and to the
// node's own file.
func TestFlippedBitsInOtherFiles(t *testing.T) {
	seal := testSeal(t)
	dir, _ := filledFolder(t, seal)
	for name, data := range contents(t, dir) {
		if name == "/"+disk.LogFile {
			continue
		}
		path := filepath.Join(dir, name)
		folder := filepath.Dir(path)
		if name == "/"+disk.IdentityFile {
			folder = path
		}
		good := []byte(data)
		for i := range good {
			// Of the state itself snapshot_test.go flips every byte.
			if filepath.Base(path) != "state.bin" || i%11 == 0 {
				testFlip(t, dir, path, folder, good, i, seal)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, alone(t, dir, seal)).awaitReady()
}

func testFlip(t *testing.T, dir, path, named string, good []byte, i int, seal *issue.SealKeys) {
	bad := bytes.Clone(good)
	bad[i] ^= 1 << (i % 8)
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(path) == disk.MemoryFile { // what it lacks is begun anew
		if m, err := disk.LoadMemory(dir); err == nil && m.Own.Raft == 0 {
			t.Fatalf("a flipped bit in byte %d of %s was not noticed", i, path)
		}
		return
	}
	n, _, err := disk.LoadIdentity(dir)
	if err == nil {
		err = n.VerifySeal(dir, seal)
	}
	if err == nil {
		_, err = disk.CheckDirectory(dir, &disk.Identity{}, false)
	}
	switch {
	case err != nil:
		wantDamaged(t, err, named)
	case filepath.Base(path) == "meta.json" || filepath.Base(path) == disk.IdentityFile:
		if !sameMeaning(t, good, bad) {
			t.Fatalf("a flipped bit in byte %d of %s was not noticed: %q", i, path, bad)
		}
	default:
		t.Fatalf("a flipped bit in byte %d of %s was not noticed", i, path)
	}
}

// sameMeaning reports whether a flip left the content alone: white space, the case
// of a field's name, the unused bits at the end of base64.
func sameMeaning(t testing.TB, a, b []byte) bool {
	t.Helper()
	type content struct {
		disk.Identity
		raft.SnapshotMeta
		CRC []byte
	}
	var was, is content
	if err := errors.Join(json.Unmarshal(a, &was), json.Unmarshal(b, &is)); err != nil {
		t.Fatal(err)
	}
	was.Peers, is.Peers = nil, nil // of version 0 snapshots; Raft does not read it here
	return reflect.DeepEqual(was, is)
}

// TestMissingFilesAreRefused: a part of a folder is not a new folder.
func TestMissingFilesAreRefused(t *testing.T) {
	seal := testSeal(t)
	for _, tc := range []struct{ remove, named string }{
		{disk.IdentityFile, disk.IdentityFile}, {disk.LogFile, disk.LogFile}, {disk.SnapshotsDir, disk.LogFile},
	} {
		dir, _ := filledFolder(t, seal)
		if err := os.RemoveAll(filepath.Join(dir, tc.remove)); err != nil {
			t.Fatal(err)
		}
		if tc.remove == disk.SnapshotsDir {
			// The log goes back to its first entry, so that it alone is enough.
			if _, err := Open(alone(t, dir, seal)); err != nil {
				t.Errorf("without snapshots, but with the whole log: %v", err)
			}
			continue
		}
		before := contents(t, dir)
		_, err := Open(alone(t, dir, seal))
		wantDamaged(t, err, filepath.Join(dir, tc.named))
		if !equalFiles(before, contents(t, dir)) {
			t.Errorf("without %s: the folder was changed", tc.remove)
		}
	}
}

func TestWrongSealKeyIsRefused(t *testing.T) {
	seal, other := testSeal(t), testSeal(t)
	dir, want := filledFolder(t, seal)
	before := contents(t, dir)
	_, err := Open(alone(t, dir, other))
	wantCode(t, err, federation.Invalid, "wrong_seal_key")
	for _, id := range []string{seal.ActiveID(), other.ActiveID()} {
		if !strings.Contains(err.Error(), id) {
			t.Errorf("%q does not name seal key %s", err, id)
		}
	}
	if !equalFiles(before, contents(t, dir)) {
		t.Error("the folder was changed")
	}
	m := start(t, alone(t, dir, seal)).awaitReady()
	if got := snapshotBytes(t, m.fsm.current()); !bytes.Equal(got, want) {
		t.Errorf("the state is not what it was: %d and %d bytes", len(got), len(want))
	}
}

func TestFolderInUseIsRefused(t *testing.T) {
	seal, dir := testSeal(t), t.TempDir()
	start(t, alone(t, dir, seal)).awaitReady()
	_, err := Open(alone(t, dir, seal))
	wantCode(t, err, federation.Conflict, "in_use")
}

func TestFoldersThatCannotBe(t *testing.T) {
	seal := testSeal(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(alone(t, file, seal))
	wantCode(t, err, federation.Invalid, "")
	_, err = Open(alone(t, filepath.Join(file, "below"), seal))
	if err == nil {
		t.Error("a folder below a file")
	}
	cfg := alone(t, t.TempDir(), nil)
	_, err = Open(cfg)
	wantCode(t, err, federation.Invalid, "")

	dir := filepath.Join(t.TempDir(), "new")
	if _, err := Open(alone(t, dir, seal)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if files := contents(t, dir); len(files) != 1 {
		t.Errorf("Open left %d files", len(files))
	}
}
