package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// zoneName is the name of the n-th zone, zonePort where its proxies connect.
func zoneName(n int) string { return fmt.Sprintf("zone-%02d", n) }
func zonePort(n int) int    { return 6000 + n }

// runZones runs zone control planes side by side, and each again when it ends: a
// stand-in for as many machines with a supervisor each.
func runZones(ctx context.Context, first, count int, globals string) error {
	group, ctx := errgroup.WithContext(ctx)
	for n := first; n < first+count; n++ {
		group.Go(func() error { return superviseZone(ctx, n, globals) })
	}
	return group.Wait()
}

func superviseZone(ctx context.Context, n int, globals string) error {
	token := "/secrets/" + zoneName(n) + ".token"
	for ctx.Err() == nil {
		if _, err := os.Stat(token); err != nil {
			pause(ctx, 200*time.Millisecond)
			continue
		}
		cmd := exec.CommandContext(ctx, "/bin/zone", "server", "--zone", zoneName(n),
			"--global-address", globals, "--cp-token-file", token, "--ca-file", "/secrets/ca.crt",
			"--data-dir", "/data/"+zoneName(n), "--dp-addr", fmt.Sprintf("0.0.0.0:%d", zonePort(n)),
			"--api-addr", "", "--diagnostics-addr", "")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 10 * time.Second
		err := cmd.Run()
		if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "faultload: %s ended: %v\n", zoneName(n), err)
			pause(ctx, time.Second)
		}
	}
	return nil
}

// pause waits, but no longer than the context lives.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
