//go:build unix && !solaris && !aix

package disk

import (
	"errors"
	"os"
	"syscall"
)

// Lock takes the exclusive lock of an open file, or returns [ErrLocked] at once. It is
// the lock that bbolt takes. It belongs to the open file, so it also separates two
// holders in one process; it ends with [Unlock], or when the last descriptor closes.
func Lock(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// LockShared takes the shared lock of an open file, or returns [ErrLocked] at once:
// readers exclude a writer but not each other.
func LockShared(f *os.File) error { return flock(f, syscall.LOCK_SH) }

// Unlock gives the lock up, also while a mapping or a child process keeps the file
// open. It can fail only where there is no lock any more.
func Unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}
