package disk_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiankds/meridian/internal/disk"
)

// desk is files in memory, and what became of them.
type desk struct {
	holds  string
	used   []string
	failed []string
}

func (d *desk) following() disk.Following[string] {
	return disk.Following[string]{
		Read: func() (string, error) {
			if d.holds == "gone" {
				return "", errors.New("no such file")
			}
			return d.holds, nil
		},
		Same: func(a, b string) bool { return a == b },
		Use: func(c string) error {
			if c == "bad" {
				return errors.New("not usable")
			}
			d.used = append(d.used, c)
			return nil
		},
		Failed: func(err error) { d.failed = append(d.failed, err.Error()) },
	}
}

func TestFollowerTakesOverWhatChanged(t *testing.T) {
	for name, tc := range map[string]struct {
		settled bool
		looks   []string
		used    []string
		failed  []string
	}{
		"nothing new":                     {looks: []string{"1", "1"}, used: []string{"1"}},
		"new contents":                    {looks: []string{"2", "2", "3"}, used: []string{"1", "2", "3"}},
		"a look between two replacements": {looks: []string{"bad", "2"}, used: []string{"1", "2"}},
		"bad contents are told once":      {looks: []string{"bad", "bad", "bad", "bad"}, used: []string{"1"}, failed: []string{"not usable"}},
		"each cause is told":              {looks: []string{"bad", "bad", "gone", "gone", "bad", "bad"}, used: []string{"1"}, failed: []string{"not usable", "no such file", "not usable"}},
		"former contents are no news":     {looks: []string{"bad", "bad", "1", "bad", "bad"}, used: []string{"1"}, failed: []string{"not usable", "not usable"}},
		"settled: half a file":            {settled: true, looks: []string{"half", "whole", "whole"}, used: []string{"1", "whole"}},
		"settled: gone between":           {settled: true, looks: []string{"2", "gone", "2", "2"}, used: []string{"1", "2"}},
		"settled: bad contents":           {settled: true, looks: []string{"bad", "bad", "bad", "bad"}, used: []string{"1"}, failed: []string{"not usable"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{holds: "1"}
			cfg := d.following()
			cfg.Settled = tc.settled
			f, err := disk.Follow(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, d.holds = range tc.looks {
				f.Check()
			}
			if !slices.Equal(d.used, tc.used) || !slices.Equal(d.failed, tc.failed) {
				t.Errorf("used %q, failed %q; want %q, %q", d.used, d.failed, tc.used, tc.failed)
			}
		})
	}
}

func TestFollowWantsGoodFilesFirst(t *testing.T) {
	for _, holds := range []string{"bad", "gone"} {
		d := &desk{holds: holds}
		if f, err := disk.Follow(d.following()); err == nil || f != nil || d.failed != nil {
			t.Errorf("%s: %v", holds, err)
		}
	}
}

func TestFollowerRunsUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{holds: "1"}
		f, err := disk.Follow(d.following())
		if err != nil {
			t.Fatal(err)
		}
		d.holds = "2"
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Second)
		defer cancel()
		if err := f.Run(ctx, time.Minute); err != nil || !slices.Equal(d.used, []string{"1", "2"}) {
			t.Errorf("%v, used %q", err, d.used)
		}
	})
}
