package cluster

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken/issue"
)

// TestOldSealKeys: the seal key of a cluster was exchanged for another. A member that still
// has the former one alone does not start, and a backup of before needs the former one; both
// say so, change nothing, and are good again with the seal key that they lack.
func TestOldSealKeys(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3)
	west, good, id := c.startInUse(c.all[0])
	backup := c.path("former.snapshot")
	c.all[0].must("snapshot", "save", backup)

	former, err := os.ReadFile(c.path("seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	fresh = append(bytes.TrimSpace(fresh), '\n')
	both := append(bytes.Clone(fresh), former...)
	with := func(seal []byte) {
		c.file("seal.key", seal)
		for _, m := range c.all {
			m.term()
			m.start()
			m.awaitReady()
		}
		c.awaitVoters(3)
	}
	with(both)
	c.leader().completes("seal", "rotate")
	with(fresh)
	west.await(west.token(c.leader(), "after"), "accepted")

	m := c.follower()
	m.term()
	m.extra = []string{"--seal-key-file", c.file("former.key", former)}
	if said := m.refuses(); !strings.Contains(said, "wrong seal key") {
		t.Errorf("with the former seal key: %s", said)
	}
	if !c.leader().revoke() {
		t.Error("no write beside a member that has the former seal key alone")
	}
	west.expect(good, "accepted")
	m.extra = nil
	m.start()
	m.awaitReady()

	at := c.leader()
	_, said, err := at.cli("snapshot", "restore", backup, "--force")
	if err == nil || !strings.Contains(said, "seal key") || !strings.Contains(said, "global: hint: ") {
		t.Errorf("a backup under the former seal key: %v\n%s", err, said)
	}
	if at.revoked(id) != 1 {
		t.Error("the restore that was refused changed something")
	}
	with(both)
	// The rotation made a new generation of the cluster secret, whose former one is vouched
	// for by the operator alone.
	at = c.leader()
	if _, said, err := at.cli("snapshot", "restore", backup, "--force"); err == nil || !strings.Contains(said, "--secret-generation") {
		t.Errorf("a backup under a former generation: %v\n%s", err, said)
	}
	c.leader().completes("snapshot", "restore", backup, "--force", "--secret-generation", "1")
	c.hold([]string{id})
	west.await(west.token(c.leader(), "restored"), "accepted")
	west.expect(good, "accepted")
}
