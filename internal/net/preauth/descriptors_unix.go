//go:build unix

package preauth

import (
	"log/slog"
	"syscall"
)

// Descriptors returns how many files the process may have open.
func Descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fallbackDescriptors
	}
	return int(min(limit.Cur, 1<<20))
}

// RaiseDescriptors raises the soft limit of open files to the hard one, and says once
// how the limit is divided. It is for main alone, before anything is served.
func RaiseDescriptors(log *slog.Logger) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = limit.Max
		// The Go runtime raises it by itself; this says so also where it may not.
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			log.Warn("the limit of open files cannot be raised", "error", err)
		}
	}
	n := Descriptors()
	fit := fitTo(n)
	log.Info("connections fit the limit of open files", "limit", n,
		"unauthenticated", fit.Unauthenticated, "waiting", fit.Waiting, "authenticated", fit.Authenticated, "reserved", fit.Reserved)
}
