package loglimit

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAllow(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := New(2, func() time.Time { return now })
	allow := func(kind string, wantOK bool, wantSuppressed uint64) {
		t.Helper()
		if suppressed, ok := l.Allow(kind); ok != wantOK || suppressed != wantSuppressed {
			t.Errorf("%s: %v with %d left out, want %v with %d", kind, ok, suppressed, wantOK, wantSuppressed)
		}
	}
	allow("a", true, 0)
	allow("a", true, 0)
	allow("a", false, 0)
	allow("b", true, 0) // each kind has its own room
	now = now.Add(499 * time.Millisecond)
	allow("a", false, 0)
	now = now.Add(time.Millisecond)
	allow("a", true, 2)
	now = now.Add(time.Second)
	allow("a", true, 0)
	now = now.Add(-time.Hour) // a clock that was set back must not silence the log
	allow("a", true, 0)
	now = now.Add(500 * time.Millisecond)
	allow("a", true, 0)
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Unix(1_800_000_000, 0)
	l := New(1, func() time.Time { return now })
	for range 5 {
		l.Log(context.Background(), log, slog.LevelDebug, "not wanted")
		l.Log(context.Background(), log, slog.LevelWarn, "refused", slog.String("who", "x"))
	}
	now = now.Add(time.Second)
	l.Log(context.Background(), log, slog.LevelWarn, "refused", slog.String("who", "y"))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || strings.Contains(lines[0], "suppressed") || !strings.Contains(lines[1], "who=y suppressed=4") {
		t.Errorf("logged %q", lines)
	}
}
