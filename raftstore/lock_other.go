//go:build !unix

package raftstore

import "os"

// lockShared does nothing here: bbolt's own lock has no equal in package syscall.
func lockShared(*os.File) error { return nil }
