//go:build unix && !solaris && !aix

package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/internal/disk"
)

func TestLocksExclude(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	for name, tc := range map[string]struct {
		has, wants func(*os.File) error
		refused    bool
	}{
		"a writer and a writer": {disk.Lock, disk.Lock, true},
		"a writer and a reader": {disk.Lock, disk.LockShared, true},
		"a reader and a writer": {disk.LockShared, disk.Lock, true},
		"two readers":           {disk.LockShared, disk.LockShared, false},
	} {
		if err := tc.has(first); err != nil {
			t.Fatal(err)
		}
		err := tc.wants(second)
		if errors.Is(err, disk.ErrLocked) != tc.refused || err != nil && !tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		disk.Unlock(first)
		if err := disk.Lock(second); err != nil {
			t.Errorf("%s: the lock that was given up cannot be taken: %v", name, err)
		}
		disk.Unlock(second)
	}
}
