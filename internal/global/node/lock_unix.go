//go:build unix

package node

import (
	"errors"
	"os"
	"syscall"
)

// lockExclusive takes the lock or answers errLocked at once. It belongs to the open
// file, so that it also keeps apart two nodes of one process.
func lockExclusive(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		default:
			return err
		}
	}
}

// unlock gives the lock back, whoever else has the open file.
func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
