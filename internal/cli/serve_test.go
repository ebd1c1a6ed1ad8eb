package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/runlog"
	"github.com/meridiankds/meridian/internal/test/testlog"
)

// TestTheLastLineIsJSONToo: what a server that logs JSON says of its end is a line of its
// log.
func TestTheLastLineIsJSONToo(t *testing.T) {
	var out bytes.Buffer
	log, err := runlog.New(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	v := NewVoice("zone", strings.NewReader(""), &out)
	v.log = log.Logger
	v.Error(federation.Errorf(federation.Conflict, "the port is taken").WithHint("choose another"))
	v.Error(errors.New("plain"))
	v.Warn("something")
	v.Error(nil)
	var lines []map[string]string
	for line := range strings.Lines(out.String()) {
		var l map[string]string
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, l)
	}
	if len(lines) != 3 || lines[0]["level"] != "ERROR" || lines[0]["msg"] != "the port is taken" || lines[0]["hint"] != "choose another" ||
		lines[1]["msg"] != "plain" || lines[2]["level"] != "WARN" {
		t.Errorf("%v", lines)
	}
}

// fakeNode serves until its context ends, and tells of each reload.
type fakeNode struct {
	ready    chan struct{}
	reloaded chan struct{}
}

func (n *fakeNode) Run(ctx context.Context) error {
	close(n.ready)
	<-ctx.Done()
	return nil
}

func (n *fakeNode) Ready() <-chan struct{} { return n.ready }
func (n *fakeNode) Reload()                { n.reloaded <- struct{}{} }

// safeBuffer is a log that is read while it is written.
type safeBuffer = testlog.Log

// TestHangupReloads: each SIGHUP has the node look at its files and the settings be read
// again; what is wrong with them is said, and ends nothing.
func TestHangupReloads(t *testing.T) {
	var out safeBuffer
	log, err := runlog.New(&out, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	node := &fakeNode{make(chan struct{}), make(chan struct{})}
	hangup, answers := make(chan os.Signal, 1), make(chan func() (string, []string, error), 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serving{Node: node, Log: log, Hangup: hangup, Settings: func() (string, []string, error) { return (<-answers)() }}.Run(ctx)
	}()
	for _, step := range []struct {
		level   string
		changed []string
		err     error
		now     string
		says    string
	}{
		{level: "debug", changed: []string{"api-addr"}, now: "debug", says: "take a restart"},
		{err: federation.Errorf(federation.Invalid, "broken file").WithHint("mend it"), now: "debug", says: "mend it"},
		{level: "loud", now: "debug", says: "is not a level"},
		{level: "warn", now: "warn"},
	} {
		answers <- func() (string, []string, error) { return step.level, step.changed, step.err }
		hangup <- syscall.SIGHUP
		<-node.reloaded
		if level, _, _ := log.Level.State(); runlog.Name(level) != step.now || !strings.Contains(out.String(), step.says) {
			t.Errorf("after %+v the level is %s and the log\n%s", step, runlog.Name(level), out.String())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestIgnoredHangupStaysIgnored: nohup has SIGHUP ignored, and nothing of a server changes
// that.
func TestIgnoredHangupStaysIgnored(t *testing.T) {
	seen := func() (hangup Hangup) {
		err := Server(func(_ *cli.Context, h Hangup) error { hangup = h; return nil })(nil)
		if err != nil {
			t.Fatal(err)
		}
		return hangup
	}
	signal.Ignore(syscall.SIGHUP)
	ignored := seen()
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP) // it is this that ends Ignore
	signal.Stop(heard)
	if ignored != nil || seen() == nil {
		t.Errorf("SIGHUP is heard where it was ignored: %t; elsewhere: %t", ignored != nil, seen() != nil)
	}
}
