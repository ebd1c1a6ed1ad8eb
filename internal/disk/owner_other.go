//go:build !unix

package disk

import "io/fs"

// owner cannot tell whose a file is on this system.
func owner(fs.FileInfo) (uid, gid int, ok bool) { return 0, 0, false }
