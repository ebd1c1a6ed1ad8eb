package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/raftstore"
)

// globalRole is a whole global in the child, wired and configured as `global dev`
// is, so that the moment of a commit can be stamped where it happens.
type globalRole struct {
	node   *globalnode.Node
	cancel context.CancelFunc
	done   chan error
	room   func() // that a global's process has

	mu      sync.Mutex
	commits map[federation.Revision]time.Time // when a revision became the head
	watched sync.WaitGroup
}

// globalStart is how it begins.
type globalStart struct {
	Dir   string `json:"dir"`
	Plain bool   `json:"plain"` // KDS without TLS
	// Member: it is one of several; nil: it is alone.
	Member *memberStart `json:"member,omitempty"`
}

// committed is a write: when it was asked for, when the member had applied it, and
// when the call returned. Times are wall clock, in nanoseconds: they are compared
// with those of other processes of this machine.
type committed struct {
	ID       string              `json:"id"` // the last of the ids
	Revision federation.Revision `json:"revision"`
	Asked    int64               `json:"asked"`
	Applied  int64               `json:"applied"`
	Returned int64               `json:"returned"`
}

func newGlobalRole() (methods, func()) {
	g := &globalRole{commits: map[federation.Revision]time.Time{}, done: make(chan error, 1)}
	return methods{
		"start":    method(g.start),
		"tokens":   method(g.tokens),
		"revoke":   method(g.revoke),
		"sessions": method(g.sessions),
		"standing": method(g.standing),
	}, g.stop
}

func (g *globalRole) start(_ context.Context, in globalStart) (endpoints.Endpoints, error) {
	free := endpoints.Addr{HostPort: "127.0.0.1:0"}
	cfg := globalnode.Config{
		DataDir: in.Dir, API: free, APITLS: free, KDS: free, Peer: free, Diagnostics: free,
		KDSAuth: federation.AuthToken, KDSPlain: in.Plain, LocalhostIsAdmin: true, Bootstrap: true,
		Version: agent, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	prepare := cfg.PrepareDev
	if in.Member != nil {
		prepare = func() error { return in.Member.prepare(&cfg) }
	}
	if err := prepare(); err != nil {
		return endpoints.Endpoints{}, err
	}
	g.room = globalnode.Headroom()
	node, err := globalnode.New(cfg)
	if err != nil {
		return endpoints.Endpoints{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.node, g.cancel = node, cancel
	go func() { g.done <- node.Run(ctx) }()
	select {
	case <-node.Ready():
	case err := <-g.done:
		g.done <- err
		return endpoints.Endpoints{}, fmt.Errorf("the global ended: %w", err)
	}
	g.watched.Go(func() { g.watch(ctx) })
	return node.Endpoints(), nil
}

func (g *globalRole) stop() {
	if g.cancel == nil {
		return
	}
	g.cancel()
	<-g.done
	g.watched.Wait()
	g.room()
}

// watch stamps every head. It waits on the channel on which the streams wait too,
// and is the first in that queue, since it is the first to take the next one.
func (g *globalRole) watch(ctx context.Context) {
	for {
		changed := g.node.Store().Watch()
		now := time.Now()
		_, rev := g.node.Store().Head()
		g.mu.Lock()
		if _, known := g.commits[rev]; !known {
			g.commits[rev] = now
		}
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// tokens issues a control plane token for each zone.
func (g *globalRole) tokens(_ context.Context, zones []string) ([]string, error) {
	key, err := g.node.Store().Signer(cptoken.ControlPlane, "")
	if err != nil {
		return nil, err
	}
	tokens := make([]string, len(zones))
	for i, zone := range zones {
		if tokens[i], _, err = key.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: zone}, time.Hour, time.Now()); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

// revocation is what to revoke: so many new ids, or the token itself.
type revocation struct {
	IDs   int    `json:"ids"`
	Token string `json:"token,omitempty"` // a control plane token
}

func (g *globalRole) revoke(ctx context.Context, in revocation) (c committed, err error) {
	kind, ids := cptoken.Zone, make([]cptoken.RevokedID, in.IDs)
	for i := range ids {
		ids[i].ID = uuid.NewString()
	}
	if in.Token != "" {
		parsed, err := cptoken.Parse(in.Token)
		if err != nil {
			return c, err
		}
		kind, ids = cptoken.ControlPlane, []cptoken.RevokedID{{ID: parsed.Claims.ID}}
	}
	c.ID = ids[len(ids)-1].ID
	origin := raftstore.Origin{By: agent, RequestID: uuid.NewString()}
	c.Asked = time.Now().UnixNano()
	change, err := g.node.Store().Revoke(ctx, origin, kind, "", ids, agent)
	c.Returned = time.Now().UnixNano()
	c.Applied, c.Revision = c.Returned, change.Revision
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, ok := g.commits[change.Revision]; ok && kind == cptoken.Zone {
		c.Applied = min(c.Applied, at.UnixNano())
	}
	clear(g.commits)
	return c, err
}

// held counts the sessions that are online, and those of them that acknowledged a
// revision.
type held struct {
	Online, Holding int
	Zones           []string // that are online, where they are few
}

func (g *globalRole) sessions(_ context.Context, rev federation.Revision) (h held, err error) {
	for _, s := range g.node.Sessions() {
		if !s.Online() {
			continue
		}
		h.Online++
		if s.Full && (rev.IsZero() || s.Acked.Covers(rev)) {
			h.Holding++
		}
		if len(h.Zones) < 100 {
			h.Zones = append(h.Zones, s.Zone)
		}
	}
	return h, nil
}

// global is that role, seen from the parent.
type global struct {
	*child
	ends endpoints.Endpoints
}

func (s *scope) startGlobal(ctx context.Context, name string, plain bool) (*global, error) {
	c, err := s.role("global", name)
	if err != nil {
		return nil, err
	}
	g := &global{child: c}
	g.ends, err = ask[endpoints.Endpoints](ctx, c, "start", globalStart{Dir: s.dir + "/" + name, Plain: plain})
	return g, err
}

// revoke makes one revocation and checks that it did.
func (g *global) revoke(ctx context.Context, ids int) (committed, error) {
	c, err := ask[committed](ctx, g.child, "revoke", revocation{IDs: ids})
	if err == nil && (c.Revision.IsZero() || c.Applied < c.Asked || !strings.Contains(c.ID, "-")) {
		err = fmt.Errorf("the revocation came to %+v", c)
	}
	return c, err
}
