package keysets

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/meridiankds/meridian/kds"
)

// fakeClock is the time of a test.
type fakeClock struct{ t time.Time }

func (c *fakeClock) now() time.Time { return c.t }

func open(path string, c *fakeClock) *Log {
	return Open(Config{Path: path, Logger: slog.New(slog.DiscardHandler), Now: c.now})
}

// saved ends the Log's Run.
func saved(t *testing.T, l *Log) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func changed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestFetchesSurviveARestart(t *testing.T) {
	c := &fakeClock{time.Unix(1_800_000_000, 0).UTC()}
	path := filepath.Join(t.TempDir(), "key-sets.json")
	l := open(path, c)
	l.Fetched("zone")
	l.Fetched("zone")
	c.t = c.t.Add(time.Hour)
	l.Fetched("dataplane/payments")
	saved(t, l)
	want := []kds.KeySetUse{{Set: "dataplane/payments", Count: 1, Last: c.t}, {Set: "zone", Count: 2, Last: c.t.Add(-time.Hour)}}
	l = open(path, c)
	if got := l.Uses(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart %v, want %v", got, want)
	}
	l.Fetched("zone")
	if got := l.Uses()[1]; got.Count != 3 {
		t.Errorf("counting began anew: %v", got)
	}
	c.t = c.t.Add(Remembered + time.Second)
	if got := l.Uses(); len(got) != 0 {
		t.Errorf("a month later: %v", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(path, c).Uses(); len(got) != 0 {
		t.Errorf("of a damaged file: %v", got)
	}
}

func TestSetsAreBounded(t *testing.T) {
	c := &fakeClock{time.Unix(1_800_000_000, 0).UTC()}
	l := open(filepath.Join(t.TempDir(), "key-sets.json"), c)
	for i := range maxSets + 10 {
		c.t = c.t.Add(time.Second)
		l.Fetched(fmt.Sprintf("dataplane/m%d", i))
	}
	uses := l.Uses()
	if len(uses) != maxSets || len(l.told) > maxSets {
		t.Errorf("%d sets are remembered, %d as told; want at most %d", len(uses), len(l.told), maxSets)
	}
	for _, u := range uses {
		if u.Set == "dataplane/m9" || u.Set == "dataplane/m0" {
			t.Errorf("%s was fetched longest ago, and is remembered", u.Set)
		}
	}
}

// TestTheGlobalHearsNowAndThen: of a set that is new, and of one that is fetched again
// much later, not of each fetch.
func TestTheGlobalHearsNowAndThen(t *testing.T) {
	c := &fakeClock{time.Unix(1_800_000_000, 0).UTC()}
	l := open(filepath.Join(t.TempDir(), "key-sets.json"), c)
	for i, step := range []struct {
		set   string
		later time.Duration
		news  bool
	}{
		{"zone", 0, true},
		{"zone", time.Second, false},
		{"dataplane/default", 0, true},
		{"zone", toldEvery - 2*time.Second, false},
		{"zone", time.Second, true},
		{"zone", time.Second, false},
	} {
		c.t = c.t.Add(step.later)
		ch := l.Changed()
		l.Fetched(step.set)
		if got := changed(ch); got != step.news {
			t.Errorf("step %d: told %t, want %t", i, got, step.news)
		}
	}
}
