package cluster

import (
	"log/slog"
	"os"
	"testing"
)

// verbose logs to standard error where tests are run with -v.
func verbose(*testing.T) *slog.Logger {
	if !testing.Verbose() {
		return quiet
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}
