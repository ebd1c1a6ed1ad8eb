package tlsutil

import (
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
)

// WriteFile replaces a file as a whole: a reader, or a node that crashed, sees
// the old content or the new one and never a part. The file is durable when it
// returns.
func WriteFile(path string, data []byte, mode os.FileMode) (err error) {
	fail := func(err error) error {
		return federation.Errorf(federation.Internal, "writing %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if err := tmp.Chmod(mode); err != nil {
		tmp.Close()
		return fail(err)
	}
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return fail(err)
	}
	if err := tmp.Sync(); err != nil {
		tmp.Close()
		return fail(err)
	}
	if err := tmp.Close(); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fail(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fail(err)
	}
	return nil
}
