// Package tempdir gives tests a directory whose path leaves room for the name of a
// socket, which has at most 107 bytes: that of t.TempDir begins with TMPDIR, which may
// be of any length, and has the test's name in it.
package tempdir

import (
	"os"
	"testing"
)

// Short returns a directory that is removed when the test ends.
func Short(t testing.TB) string {
	t.Helper()
	root := os.TempDir()
	if len(root) > 20 {
		root = "/tmp"
	}
	dir, err := os.MkdirTemp(root, "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of the system's directory for such things
	return dir
}
