package cluster

import (
	"testing"
)

// TestThreeProcesses founds a cluster with the real program and one line, kills the
// leader without warning, writes on, brings it back, and stops each member with
// SIGTERM.
func TestThreeProcesses(t *testing.T) {
	c := startNodes(t, 3)
	for _, m := range c.all {
		if !m.revoke() {
			t.Errorf("member %s does not take a write", m.name)
		}
	}
	lost := c.leader()
	lost.kill()
	Eventually(t, "a write after the leader was killed", func() bool { return c.running()[0].revoke() })
	lost.start()
	lost.endpoints(lost.dir)
	Eventually(t, "the killed one to take a write again", func() bool { return lost.revoke() })

	for i, m := range c.all {
		m.term()
		if i == 0 {
			Eventually(t, "a write after a SIGTERM", func() bool { return c.all[1].revoke() })
		}
	}
}
