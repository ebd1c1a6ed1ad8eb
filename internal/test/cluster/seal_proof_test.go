package cluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
)

// sealLine is one line of a seal key file.
func sealLine(t *testing.T) []byte {
	t.Helper()
	line, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func sealKeys(t *testing.T, lines ...[]byte) *issue.SealKeys {
	t.Helper()
	keys, err := issue.ParseSealKeys([]byte(strings.Join(stringsOf(lines), "")))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func stringsOf(lines [][]byte) (all []string) {
	for _, l := range lines {
		all = append(all, string(l))
	}
	return all
}

// TestSealRotationAmongMembers restarts three members one after the other with both seal
// keys, rotates, and restarts them with the new one alone. Every write is taken all the
// while, and once the new key is the cluster's, a node with the former one is no peer.
func TestSealRotationAmongMembers(t *testing.T) {
	older, newer := sealLine(t), sealLine(t)
	c := NewGlobals(t, quiet, 3)
	c.seal = sealKeys(t, older)
	c.Launch(3)
	restart := func(with *issue.SealKeys) {
		t.Helper()
		c.seal = with
		for _, g := range c.Members {
			g.Stop()
			revokeSomething(t, c)
			g.Start()
		}
	}
	restart(sealKeys(t, newer, older))
	if _, err := c.Leader().Node.Store().Reseal(context.Background(), operator); err != nil {
		t.Fatal(err)
	}
	revokeSomething(t, c)
	for _, g := range c.Members { // what a start looks at before anything else
		Eventually(t, "a member to have noted the new seal key", func() bool {
			identity, err := os.ReadFile(filepath.Join(g.Dir, "node.json"))
			return err == nil && strings.Contains(string(identity), sealKeys(t, newer).ActiveID())
		})
	}
	restart(sealKeys(t, newer))

	// A node with the former seal key is told why, and becomes no member.
	leader := c.Leader()
	late := c.Add()
	c.seal = sealKeys(t, older)
	log := &journal{}
	c.Configure = func(cfg *globalnode.Config) { cfg.Logger = slog.New(slog.NewTextHandler(log, nil)) }
	late.Launch()
	Eventually(t, "the node with the former seal key to be told why", func() bool {
		return log.Has("proves no seal key that the cluster uses")
	})
	for _, m := range leader.Node.Store().Members() {
		if m.ID == late.Node.Store().NodeID() {
			t.Error("a node with the former seal key is a member")
		}
	}
}

// revokeSomething has the leader take a write; elections are waited for.
func revokeSomething(t *testing.T, c *Globals) {
	t.Helper()
	Eventually(t, "a write", func() bool {
		_, err := c.Leader().Node.Store().SeeZone(context.Background(), "seen")
		return federation.CodeOf(err) == ""
	})
}
