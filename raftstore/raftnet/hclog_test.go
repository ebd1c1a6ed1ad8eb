package raftnet

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestRaftCannotFillTheLog: what others can have Raft repeat is written some times a
// second.
func TestRaftCannotFillTheLog(t *testing.T) {
	var out bytes.Buffer
	log := Logger(slog.New(slog.NewTextHandler(&out, nil)))
	for range 10_000 {
		log.Error("failed to decode incoming command", "error", "EOF")
		log.Warn("rejecting vote request", "from", "stranger")
	}
	// The loop may go on into further seconds on a slow machine.
	if n := strings.Count(out.String(), "\n"); n < 2*raftLines || n > 2*raftLines*60 {
		t.Errorf("%d lines were written", n)
	}
}
