//go:build unix

package disk

import (
	"sync"
	"syscall"
)

// umask serves one caller at a time: it is the process's.
var umask sync.Mutex

// Private has make make files that only the process's user may use, from the moment that
// they are there: a socket whose mode is set afterwards has a queue by then, in which
// connections of others may wait. What other goroutines make meanwhile is private too,
// which only withholds.
func Private(make func()) {
	umask.Lock()
	defer umask.Unlock()
	defer syscall.Umask(syscall.Umask(0o077))
	make()
}
