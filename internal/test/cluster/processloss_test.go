package cluster

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// killedDuring runs a command at a member that does not lead, kills the leader with
// SIGKILL at some moment of it, and brings it back. It reports whether the command
// succeeded.
func (c *nodes) killedDuring(args ...string) (ok bool, at *node) {
	c.t.Helper()
	at = c.follower()
	lost := c.leader()
	done := make(chan error, 1)
	go func() {
		_, _, err := at.cli(args...)
		done <- err
	}()
	time.Sleep(rand.N(200 * time.Millisecond)) // the moment is the test's input, not something that it waits for
	lost.kill()
	err := <-done
	c.leader()
	lost.start()
	return err == nil, at
}

// completes runs a command until it succeeds.
func (m *node) completes(args ...string) {
	m.of.t.Helper()
	Eventually(m.of.t, "global "+args[0]+" to complete", func() bool {
		_, said, err := m.cli(args...)
		if err != nil {
			m.of.t.Logf("tried again: %s", said)
		}
		return err == nil
	})
}

// keys are the zone keys by state.
func (m *node) keys() map[string][]apitypes.Key {
	m.of.t.Helper()
	var list struct {
		Items []apitypes.Key `json:"items"`
	}
	if err := json.Unmarshal([]byte(m.must("keys", "list", "-o", "json")), &list); err != nil {
		m.of.t.Fatal(err)
	}
	states := map[string][]apitypes.Key{}
	for _, k := range list.Items {
		if k.Kind == "zone" {
			states[k.State] = append(states[k.State], k)
		}
	}
	return states
}

// TestLeaderKilledDuringCommands: with the real programs, at some moment of a list of
// revocations, a rotation and a restore. What the command says is so, and running it
// again completes it.
func TestLeaderKilledDuringCommands(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3)
	west := c.startZone("west")
	first := west.token(c.all[0], "first")
	west.await(first, "accepted")
	backup := c.path("meridian.snapshot")
	c.all[0].must("snapshot", "save", backup)
	for round := range 2 {
		ids := make([]string, 20_000)
		for i := range ids {
			ids[i] = uuid.NewString()
		}
		bulk := []string{"revoke", "--kind", "zone-token", "--ids-file", c.file("ids", []byte(strings.Join(ids, "\n")))}
		ok, at := c.killedDuring(bulk...)
		if n := at.revoked(ids...); n != 0 && n != len(ids) || ok && n != len(ids) {
			t.Errorf("round %d: the command succeeded: %v, and %d of %d ids are revoked", round, ok, n, len(ids))
		}
		at.completes(bulk...)
		if n := at.revoked(ids...); n != len(ids) {
			t.Errorf("round %d: %d of %d ids are revoked", round, n, len(ids))
		}

		rotate := []string{"keys", "rotate", "zone-token", "--wait", "20s", "--yes"}
		signed := at.keys()["active"][0]
		ok, at = c.killedDuring(rotate...)
		if now := at.keys()["active"]; len(now) != 1 || ok && now[0].Serial <= signed.Serial {
			t.Errorf("round %d: the rotation succeeded: %v, %+v signs after key %d", round, ok, now, signed.Serial)
		}
		if !ok {
			at.completes(rotate...)
		}
		fresh := west.token(at, "fresh")
		west.await(fresh, "accepted")
		west.expect(first, "accepted")

		since := uuid.NewString()
		at.completes("revoke", "--kind", "zone-token", since)
		lost := west.token(at, "lost")
		at.completes("revoke", "--token-file", lost)
		west.await(lost, "revoked")
		restore := []string{"snapshot", "restore", backup, "--force"}
		ok, at = c.killedDuring(restore...)
		if n := at.revoked(since); ok && n != 0 {
			t.Errorf("round %d: the restore succeeded and what it lacks is there", round)
		}
		at.completes(restore...)
		if n := at.revoked(since, ids[0]); n != 0 {
			t.Errorf("round %d: %d revocations that the backup lacks are there", round, n)
		}
		west.await(first, "accepted")
		// Of a key that the backup lacks; whoever has that key again refuses it as revoked.
		if said := west.verify(lost); said == "accepted" {
			t.Errorf("round %d: the zone accepts what it had revoked", round)
		}
	}
	c.awaitVoters(3)
}
