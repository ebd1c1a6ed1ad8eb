//go:build unix

package coredump

import (
	"fmt"
	"syscall"
)

// Disable sets RLIMIT_CORE to 0, hard and soft, so that no core file is written
// whatever the shell or the service manager allows. Whoever has the rights to raise
// it again, root, could read the memory anyway.
func Disable() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("setting RLIMIT_CORE to 0: %w", err)
	}
	return nil
}
