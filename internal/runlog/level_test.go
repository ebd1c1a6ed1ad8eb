package runlog

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTheLevelCanBeSetForATime: what was set ends by itself, by a reset and by a reload,
// also in loggers that were made before.
func TestTheLevelCanBeSetForATime(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	log.Level.now = func() time.Time { return now }
	made := log.With("component", "kds").WithGroup("g")
	writes := func(want bool, when string) {
		t.Helper()
		out.Reset()
		made.Debug("chatter", "n", 1)
		if got := strings.Contains(out.String(), "chatter"); got != want {
			t.Errorf("%s: a debug line is written: %t, want %t", when, got, want)
		}
	}
	debug, err := ParseLevel("level", "debug")
	if err != nil {
		t.Fatal(err)
	}
	writes(false, "at the start")
	log.Level.Set(debug, time.Minute)
	writes(true, "after it was set for a minute")
	if level, configured, until := log.Level.State(); Name(level) != "debug" || Name(configured) != "info" || !until.Equal(now.Add(time.Minute)) {
		t.Errorf("the state is %s, %s until %s", Name(level), Name(configured), until)
	}
	now = now.Add(time.Minute)
	writes(false, "a minute later")
	log.Level.Set(debug, 0)
	now = now.Add(time.Hour)
	writes(true, "an hour after it was set without an end")
	log.Level.Reset()
	writes(false, "after a reset")
	log.Level.Set(debug, 0)
	log.Level.Configure(0)
	writes(false, "after a reload")
	for _, bad := range []string{"", "loud", "info+2", "WARNING"} {
		if _, err := ParseLevel("level", bad); err == nil {
			t.Errorf("%q was taken for a level", bad)
		}
	}
}

// TestTheLastLinesAreKept: as JSON whatever the format, within their bound.
func TestTheLastLinesAreKept(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.With("component", "kds").Info("first", "zone", "west")
	log.Debug("not written, so not kept")
	lines, gone := log.Recent.Lines()
	if len(lines) != 1 || gone != 0 || !strings.Contains(string(lines[0]), `"msg":"first","component":"kds","zone":"west"`) {
		t.Fatalf("kept %q, %d gone", lines, gone)
	}
	log.Info("long", "text", strings.Repeat("x", maxLine))
	for i := range 3 * maxKept / 1000 {
		log.Info(fmt.Sprint("line ", i), "text", strings.Repeat("x", 1000))
	}
	lines, gone = log.Recent.Lines()
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	if size > maxKept || size < maxKept/2 || gone == 0 {
		t.Errorf("%d bytes are kept and %d lines gone", size, gone)
	}
	if last := fmt.Sprint("line ", 3*maxKept/1000-1); !strings.Contains(string(lines[len(lines)-1]), last) {
		t.Errorf("the last line is not kept")
	}
}
