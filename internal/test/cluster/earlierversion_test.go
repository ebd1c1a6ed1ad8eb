package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/keysync"
	"github.com/meridiankds/meridian/raftstore/state"
)

// upgradeBases names the commits of earlier versions.
const upgradeBases = "testdata/upgrade-bases.txt"

// earlier compiles the programs of an earlier version. Where this clone does not have its
// commit the test is skipped; scripts/test says so.
func earlier(t *testing.T, version string) programs {
	t.Helper()
	data, err := os.ReadFile(upgradeBases)
	if err != nil {
		t.Fatal(err)
	}
	commit := ""
	for line := range strings.Lines(string(data)) {
		if name, at, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == version {
			commit = at
		}
	}
	if commit == "" {
		t.Fatalf("%s names no version %q", upgradeBases, version)
	}
	if out, err := exec.Command("git", "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("skipped: this clone does not have the commit %s (%v %s): git fetch --unshallow", commit, err, out)
	}
	dir := t.TempDir()
	unpack := exec.Command("bash", "-euo", "pipefail", "-c", `git -C "$(git rev-parse --show-toplevel)" archive "$0" | tar -x -C "$1"`, commit, dir)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpacking %s: %v\n%s", commit, err, out)
	}
	// With -trimpath the build's cache knows packages from one run to the next.
	return compiledIn(t, dir, version, "-trimpath", "-buildvcs=false")
}

// take stops a member, or a zone, and starts it with other programs.
func (m *node) take(p programs) {
	m.of.t.Helper()
	m.term()
	m.bin = p
	m.start()
	m.awaitReady()
}

// take kills a zone under load, and starts it with other programs.
func (z *zoneProcess) take(p programs, load *tokenLoad) {
	z.of.t.Helper()
	z.kill()
	z.readDisk(func(view *keysync.View) {
		load.zoneIsKilled(z.name, func(token string) bool {
			return view.Revoked(cptoken.Zone, "", revocationID(z.of.t, token))
		})
	})
	z.bin = p
	z.start()
}

// TestUpgrade takes a federation of an earlier version over, one program after the other, in
// either order and with a step back between, while tokens are issued, verified and revoked.
// No valid token is refused, no zone accepts what it had revoked, nothing that was
// acknowledged is lost, and nobody takes the others' past for another one.
func TestUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: builds programs of an earlier version")
	}
	t.Parallel()
	old, today := earlier(t, "rolling"), binaries(t, "")
	for name, zonesFirst := range map[string]bool{"zones first": true, "globals first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newNodes(t, 3)
			for _, m := range c.all {
				m.bin = old
				m.start()
			}
			c.awaitVoters(3)
			west, east := c.startZoneOf("west", old), c.startZoneOf("east", old)
			zones := []*zoneProcess{west, east}
			load := c.load(zones...)
			load.goesOn("with programs of the earlier version")
			history := west.revision().History
			if zonesFirst {
				west.take(today, load)
				load.goesOn("with a newer zone")
			}
			leader := c.leader()
			order := slices.DeleteFunc(slices.Clone(c.all), func(m *node) bool { return m == leader })
			if zonesFirst {
				order = append(order, leader)
			} else {
				order = append([]*node{leader}, order...)
			}
			order[0].take(today)
			load.goesOn("with one newer member")
			order[0].take(old)
			load.goesOn("after a step back")
			for i, m := range order {
				m.take(today)
				load.goesOn(m.name + " is newer")
				if i < 2 { // beside members of both versions
					c.follower().completes("keys", "rotate", "zone-token", "--wait", "30s", "--yes")
				}
			}
			for _, z := range zones {
				if z.bin != today {
					z.take(today, load)
				}
			}
			load.goesOn("with today's programs")
			Eventually(t, "the cluster to go over", func() bool { return c.all[0].level() == state.Level })
			c.leader().completes("keys", "rotate", "zone-token", "--wait", "30s", "--yes")
			load.goesOn("after a rotation")
			c.hold(load.end())
			c.wantOnePast(history, zones...)
		})
	}
}

// wantOnePast wants members and zones to be where they were, with nothing lost and nobody
// who differs.
func (c *nodes) wantOnePast(history federation.History, zones ...*zoneProcess) {
	c.t.Helper()
	Eventually(c.t, "three live members that are alike, and no loss", func() bool {
		status := c.all[0].status() // empty where the command warns
		return status.Voters == 3 && len(status.Losses) == 0 && len(status.NewerHistories) == 0 &&
			!slices.ContainsFunc(status.Members, func(m apitypes.Member) bool { return m.Diverged || !m.Live })
	})
	for _, z := range zones {
		if now := z.revision().History; now != history {
			c.t.Errorf("zone %s went from history %+v to %+v", z.name, history, now)
		}
	}
}

// TestUpgradeFromUnprovedMembers: a member that proves the seal key and those of the version
// before, which do not, refuse each other with a word on what to do. The others go on. What
// the word and docs/upgrade.md say, to stop all and start all, loses nothing. A zone of that
// version goes on with them; the program of today refuses its file, and begins anew without.
func TestUpgradeFromUnprovedMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: builds programs of an earlier version")
	}
	t.Parallel()
	old, today := earlier(t, "unproved"), binaries(t, "")
	c := newNodes(t, 3)
	for _, m := range c.all {
		m.bin = old
		m.start()
	}
	c.awaitVoters(3)
	west := c.startZoneOf("west", old)
	load := c.load(west)
	load.goesOn("with programs of the earlier version")

	first := c.follower()
	first.term()
	first.bin = today
	first.start()
	Eventually(t, "the newer member to say what to do", func() bool {
		return strings.Contains(first.log.String(), "stop all members, then start all of them with this version")
	})
	load.goesOn("beside a member that is refused")
	older := c.all[slices.IndexFunc(c.all, func(m *node) bool { return m != first })]
	older.term()
	older.start() // it asks all members where its cluster is
	Eventually(t, "the older member to say what it lacks", func() bool {
		return strings.Contains(older.log.String(), "this member takes only nodes that prove the seal key, and the version that asks does not")
	})
	load.goesOn("beside an older one that started anew")

	for _, m := range c.all {
		m.term()
	}
	for _, m := range c.all {
		m.bin = today
		m.start()
	}
	c.awaitVoters(3)
	load.goesOn("with today's members, and a zone of the earlier version")
	Eventually(t, "the cluster to go over", func() bool { return c.all[0].level() == state.Level })
	load.goesOn("at today's level")
	c.hold(load.end())
	Eventually(t, "three members and no loss", func() bool {
		status := c.all[0].status() // empty where the command warns
		return status.Voters == 3 && len(status.Losses) == 0
	})

	// The zone's file is of a format that is not read any more.
	west.kill()
	west.bin = today
	west.launch()
	if err := west.cmd.Wait(); err == nil || !strings.Contains(west.log.String(), "hint: move the file away: the zone begins anew") {
		t.Errorf("a zone with the file of the earlier version ended with %v\n%s", err, west.log.String())
	}
	if err := os.Rename(filepath.Join(west.dir, "zone.db"), c.path("zone.db.away")); err != nil {
		t.Fatal(err)
	}
	west.start()
	load.zones[0].holds()
}
