//go:build !unix

package node

import "os"

// lockExclusive does nothing here: package syscall has no such lock. The log's own
// lock still keeps two running nodes apart.
func lockExclusive(*os.File) error { return nil }

func unlock(*os.File) {}
