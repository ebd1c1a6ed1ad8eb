//go:build unix

package main

import (
	"syscall"
	"testing"
	"time"
)

// TestSecondSignal: the first of two is somebody else's, who ends in good order.
func TestSecondSignal(t *testing.T) {
	again, forget := second(syscall.SIGUSR2)
	defer forget()
	raise := func() {
		t.Helper()
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
	}
	raise()
	select {
	case <-again:
		t.Fatal("the first signal counts as the second")
	case <-time.After(100 * time.Millisecond): // it has been told by then, or a moment later
	}
	raise()
	select {
	case <-again:
	case <-time.After(time.Minute):
		t.Fatal("the second signal is not told")
	}
}
