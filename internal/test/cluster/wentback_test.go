package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/test/raftfake"
)

// watchRaft tells of the members that are started from now on whether Raft began at one. With
// lost it loses every request of Raft's that they make, so that nobody can be elected.
func (c *Globals) watchRaft(lost bool) *atomic.Bool {
	ran := new(atomic.Bool)
	lose := raftfake.Wrap(func(raftfake.RPC, func() error) error { return errors.New("lost") })
	c.Configure = func(cfg *globalnode.Config) {
		cfg.AskPeers = Patience // a busy machine's peers answer late, and then bar nobody
		cfg.WrapTransport = func(self string, t raft.Transport) raft.Transport {
			ran.Store(true)
			if lost {
				return lose(self, t)
			}
			return t
		}
	}
	return ran
}

// wantNotRun starts a member and wants it to refuse before it could vote, naming where its
// log ends.
func (r *rolled) wantNotRun(t *testing.T, g *Global, by string) {
	t.Helper()
	ran := r.c.watchRaft(false)
	r.wantRefused(t, g, "and "+by)
	if err := g.run.err.Error(); !strings.Contains(err, fmt.Sprintf("ends at index %d, ", g.Node.Store().LastIndex())) {
		t.Errorf("%s does not name where its log ends: %s", g.Name, err)
	}
	if ran.Load() {
		t.Errorf("%s ran, and could vote, before it refused to", g.Name)
	}
	r.c.Configure = nil
}

// TestAMemberThatWentBackAndIsAlone: its own record is enough where nobody answers. Where that
// went back as well it runs, until it meets the first one that saw more.
func TestAMemberThatWentBackAndIsAlone(t *testing.T) {
	r := startRolled(t, false)
	back, other := r.all[0], r.all[1]
	for _, g := range r.all {
		g.Stop()
	}
	whole := r.disks[back]
	logOnly := whole
	logOnly.logOnly = true
	logOnly.putBack()
	r.wantNotRun(t, back, "its own record")

	whole.putBack()
	ran := r.c.watchRaft(true)
	back.Launch()
	Eventually(t, "the member to run, since nobody knows better", ran.Load)
	other.Launch()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	err := back.Ended(ctx)
	if err == nil || !strings.Contains(err.Error(), "node "+other.Node.Store().NodeID()+" saw it at") {
		t.Errorf("%s, at the first contact with who saw more: %v", back.Name, err)
	}
	back.once.Do(func() {}) // it has ended, as it should
}
