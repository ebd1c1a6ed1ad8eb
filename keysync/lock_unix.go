//go:build unix && !solaris && !aix

package keysync

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the exclusive lock that bbolt takes, if nobody has it.
func tryLock(fd *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(fd.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}

// unlock gives the lock up, also where a mapping keeps the file open. It may fail
// only where there is no lock any more.
func unlock(fd *os.File) { _ = syscall.Flock(int(fd.Fd()), syscall.LOCK_UN) }
