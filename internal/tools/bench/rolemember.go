package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/endpoints"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
)

// memberStart is how a global of the role begins that is one of several.
type memberStart struct {
	Secrets  string   `json:"secrets"` // folder that `global certs cluster` made
	Peer     string   `json:"peer"`
	Join     []string `json:"join"` // the voters, which found the cluster
	NonVoter bool     `json:"nonVoter"`
}

// stabilize is short, so that a member that is promoted against its will is seen.
const stabilize = 200 * time.Millisecond

func (m memberStart) prepare(cfg *globalnode.Config) (err error) {
	secret := func(name string) string { return filepath.Join(m.Secrets, name) }
	cfg.Bootstrap, cfg.Expect, cfg.Join, cfg.NonVoter, cfg.Stabilize = false, len(m.Join), m.Join, m.NonVoter, stabilize
	cfg.Peer = endpoints.Addr{HostPort: m.Peer}
	if cfg.Seal, err = issue.LoadSealKeys(secret("seal.key")); err != nil {
		return err
	}
	cfg.TLS, err = globalnode.LoadTLS(secret("node.crt"), secret("node.key"), secret("ca.crt"), cfg.Logger)
	return err
}

// standing is a member among the others, as it knows them.
type standing struct {
	Leads   bool `json:"leads"`
	Votes   bool `json:"votes"`
	Voters  int  `json:"voters"`
	Members int  `json:"members"`
}

func (g *globalRole) standing(context.Context, none) (s standing, err error) {
	store := g.node.Store()
	s.Leads = store.IsLeader()
	for _, m := range store.Members() {
		s.Members++
		if m.Voter {
			s.Voters++
			s.Votes = s.Votes || m.ID == store.NodeID()
		}
	}
	return s, nil
}

// spread is a cluster of such globals with zones at every member.
type spread struct {
	*scope
	members []*global // the voters, then the replicas
	voters  int
	zones   *zones
}

// startSpread starts voters that found a cluster, and replicas that join it.
func (s *scope) startSpread(ctx context.Context, name string, voters, replicas int) (*spread, error) {
	c := &spread{scope: s, voters: voters}
	dir := filepath.Join(s.dir, name)
	args := []string{"certs", "cluster", "--cluster", name, "--trust", filepath.Join(dir, "trust")}
	var starts []memberStart
	var peers, names []string
	for i := range voters + replicas {
		member := fmt.Sprintf("%s-%d", name, i+1)
		m := memberStart{Secrets: filepath.Join(dir, member+".secrets"), NonVoter: i >= voters}
		var err error
		if m.Peer, err = freePort(); err != nil {
			return nil, err
		}
		if !m.NonVoter {
			peers = append(peers, m.Peer)
		}
		args = append(args, "--node", member+"="+m.Secrets)
		starts, names = append(starts, m), append(names, member)
	}
	if _, err := s.run(ctx, "global", args...); err != nil {
		return nil, err
	}
	for i := range starts {
		starts[i].Join = peers
		child, err := s.role("global", names[i])
		if err != nil {
			return nil, err
		}
		c.members = append(c.members, &global{child: child})
	}
	if err := each(c.members, func(i int, g *global) (err error) {
		g.ends, err = ask[endpoints.Endpoints](ctx, g.child, "start", globalStart{filepath.Join(dir, names[i]), true, &starts[i]})
		return err
	}); err != nil {
		return nil, err
	}
	return c, c.await(ctx)
}

// each does something with every member at once, and returns one of the errors.
func each(members []*global, f func(i int, g *global) error) error {
	var wait sync.WaitGroup
	failed := make([]error, len(members))
	for i, g := range members {
		wait.Go(func() { failed[i] = f(i, g) })
	}
	wait.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// await waits until all are members and the voters vote.
func (c *spread) await(ctx context.Context) error {
	return until(ctx, "all members to be there", func() (bool, error) {
		for _, g := range c.members {
			s, err := ask[standing](ctx, g.child, "standing", none{})
			if err != nil || s.Members != len(c.members) || s.Voters != c.voters {
				return false, fmt.Errorf("%s: %+v, %w", g.name, s, err)
			}
		}
		return true, nil
	})
}

// leader is the member that leads. A replica that votes or leads is an error.
func (c *spread) leader(ctx context.Context) (leader *global, err error) {
	err = until(ctx, "a leader", func() (bool, error) {
		leader = nil
		for i, g := range c.members {
			s, err := ask[standing](ctx, g.child, "standing", none{})
			if err != nil {
				return false, err
			}
			if i >= c.voters && (s.Votes || s.Leads) || s.Voters != c.voters {
				return false, fmt.Errorf("%s: %+v", g.name, s)
			}
			if s.Leads {
				leader = g
			}
		}
		return leader != nil, nil
	})
	return leader, err
}
