package cluster

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore/state"
)

// olderLevel builds programs of the feature level before this one.
const olderLevel = "meridian_level_1"

// level is the feature level of the cluster.
func (m *node) level() (level uint32) {
	m.of.t.Helper()
	Eventually(m.of.t, "the status of the cluster at "+m.name, func() bool {
		out, _, _ := m.cli("cluster", "status", "-o", "json") // its exit code is about the members
		var status apitypes.Cluster
		err := json.Unmarshal([]byte(out), &status)
		level = status.FeatureLevel
		return err == nil && level > 0
	})
	return level
}

// TestRollingUpgrade takes a cluster of programs of the older feature level over, one
// member after the other, under a zone. It speaks the older level's language to the last
// one, and then goes over by itself; what is older does not come back.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	c := newNodes(t, 3)
	for _, m := range c.all {
		m.bin = binaries(t, olderLevel)
		m.start()
	}
	c.awaitVoters(3)
	west := c.startZone("west")
	token := west.token(c.all[0], "token")
	west.await(token, "accepted")
	if level := c.all[0].level(); level != 1 {
		t.Fatalf("the older programs founded at level %d", level)
	}
	var revoked []string
	for i, m := range c.all {
		if level := c.all[0].level(); level != 1 {
			t.Errorf("with %d members of the newer level the cluster is at level %d", i, level)
		}
		m.term()
		m.bin = binaries(t, "")
		m.start()
		m.awaitReady()
		for _, at := range c.all {
			file := west.token(at, "of-"+at.name)
			at.completes("revoke", "--token-file", file)
			west.await(file, "revoked")
			revoked = append(revoked, tokenID(t, file))
		}
		west.expect(token, "accepted")
	}
	Eventually(t, "the cluster to go over", func() bool { return c.all[0].level() == state.Level })
	if n := c.all[1].revoked(revoked...); n != len(revoked) {
		t.Errorf("%d of %d revocations outlived the upgrade", n, len(revoked))
	}
	west.await(west.token(c.all[2], "after"), "accepted")

	// An older program neither opens that folder nor joins.
	back := c.all[0]
	back.term()
	back.bin = binaries(t, olderLevel)
	back.start()
	if err := back.cmd.Wait(); err == nil {
		t.Error("an older program ended without an error")
	}
	if said := back.log.String(); !strings.Contains(said, "newer version") || strings.Count(said, "global: error: ") != 1 {
		t.Errorf("an older program said\n%s", said)
	}
	back.bin = binaries(t, "")
	back.start()
	back.awaitReady()

	late := c.add()
	late.bin = binaries(t, olderLevel)
	late.start()
	Eventually(t, "the older program to be told why it cannot join", func() bool {
		return strings.Contains(late.log.String(), fmt.Sprintf("knows feature level 1, and the cluster is at %d", state.Level))
	})
	if !c.follower().revoke() {
		t.Error("no write beside an older program that wants to join")
	}
}
