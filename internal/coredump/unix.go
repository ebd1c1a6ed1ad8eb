//go:build unix

package coredump

import (
	"fmt"
	"runtime"
	"syscall"
)

// Disable sets RLIMIT_CORE, hard and soft, so that no core file is written whatever the
// shell or the service manager allows. Whoever has the rights to raise it again, root,
// could read the memory anyway.
//
// On Linux the limit is 1 byte: too small for any file, as 0 is, and the one value with
// which the kernel starts no program that core_pattern names. With 0 it hands such a
// program the whole memory, and leaves it to that program to look at the limit.
func Disable() error {
	limit := syscall.Rlimit{}
	if runtime.GOOS == "linux" {
		limit = syscall.Rlimit{Cur: 1, Max: 1}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return fmt.Errorf("setting RLIMIT_CORE to %d: %w", limit.Max, err)
	}
	return nil
}
