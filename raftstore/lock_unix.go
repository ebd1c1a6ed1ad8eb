//go:build unix

package raftstore

import (
	"os"
	"syscall"
)

// lockShared takes the lock that bbolt takes, so that a file which another process
// writes is not taken for damaged. It is released when the file is closed.
func lockShared(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
}
