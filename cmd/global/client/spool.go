package client

import (
	"io"
	"os"

	"github.com/meridiankds/meridian/federation"
)

// Spool copies a stream to a file without a name, which goes when it is closed, and
// says how long it is. What is sent from a file can be sent again; a pipe is read once.
func Spool(in io.Reader) (_ *os.File, size int64, err error) {
	f, err := os.CreateTemp("", "meridian-*")
	if err != nil {
		return nil, 0, cannotSpool(err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, cannotSpool(err)
	}
	if size, err = io.Copy(f, in); err != nil {
		return nil, 0, cannotSpool(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, cannotSpool(err)
	}
	return f, size, nil
}

func cannotSpool(err error) error {
	return federation.Errorf(federation.Invalid, "what is to be sent cannot be kept for a moment: %w", err).
		WithHint("make room in %s, or name a directory that has room in TMPDIR", os.TempDir())
}
