//go:build !unix || solaris || aix

package disk

import "os"

// Lock does nothing here: package syscall has no such lock, and bbolt's own still
// separates two writers. A file that another process is writing could be taken for a
// damaged one, so these systems are for development only.
func Lock(*os.File) error { return nil }

// LockShared does nothing here, like [Lock].
func LockShared(*os.File) error { return nil }

// Unlock does nothing here, like [Lock].
func Unlock(*os.File) {}
