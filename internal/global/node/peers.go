package node

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/clocks"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/loss"
	"github.com/meridiankds/meridian/internal/global/membership"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/raftstore"
)

// peers is this node among the others: the port, what it asks them, and what it
// answers them.
type peers struct {
	membership *membership.Membership
	port       *peer.Port
	gate       *peer.Gate
	source     *tlsutil.Source
	dialer     *peer.Dialer
	client     *peer.Client
	store      *raftstore.Store
	fleet      *fleet.Fleet
	audit      *audit.Log
	losses     *loss.Watch
	standings  standings
	advertise  string
	preflights bool
	patience   time.Duration // with peers that are asked; 0: standingTimeout
	nonVoter   bool
	now        func() time.Time
	clocks     *clocks.Table

	// own is this member's report.
	own func() fleet.Report

	mu    sync.Mutex
	lead  context.Context     // the leadership for which the fleet began anew
	heard map[string]digested // what members reported in it

	refreshing refreshing
	catching   catching
}

// digested are sessions under the digest that their member has for them.
type digested struct {
	digest   string
	sessions []fleet.Session
}

func (n *Node) newPeers(cluster string) *peers {
	log := n.cfg.Logger.With("component", "peers")
	p := &peers{
		source: n.cfg.TLS,
		fleet:  n.fleet, advertise: n.cfg.Advertise, now: n.cfg.Now, clocks: clocks.New(n.cfg.Now), heard: map[string]digested{}, catching: catching{turn: make(chan struct{}, 1)},
		preflights: !n.cfg.Bootstrap, patience: n.cfg.AskPeers, nonVoter: n.cfg.NonVoter, own: n.latest,
	}
	if p.advertise == "" {
		p.advertise = endpoints.Dialable(n.listeners.peer)
	}
	p.gate = peer.NewGate(peer.GateConfig{
		Node: func() string { return p.store.NodeID() }, Seal: n.cfg.Seal, Admission: p, Logger: log,
		Verify: func(chain []*x509.Certificate) error { return n.cfg.TLS.VerifyPeer(chain, cluster) },
	})
	p.port = peer.NewPort(n.listeners.peer, func() tlsutil.PeerEnd { return n.cfg.TLS.PeerServer(cluster, peer.Protocols...) }, p.gate, n.budget, log)
	p.dialer = peer.NewDialer(func(protocol string) tlsutil.PeerEnd { return n.cfg.TLS.PeerClient(cluster, protocol) }, p.gate, n.cfg.DialPeers)
	p.client = peer.NewClient(p.dialer, func() string { return p.store.ClusterID() })
	p.membership = membership.New(membership.Config{
		Peers: p.client, Fleet: n.fleet, Advertise: p.advertise, Version: n.cfg.Version,
		Expect: max(1, n.cfg.Expect), Join: n.cfg.Join, NonVoter: n.cfg.NonVoter, Stabilize: n.cfg.Stabilize, DeadAfter: n.cfg.DeadAfter,
		Logger: log, Now: n.cfg.Now,
	})
	return p
}

func (p *peers) attach(s *raftstore.Store) {
	p.store = s
	p.source.Refuse(p.expelledCertificate)
	p.membership.Attach(s)
}

func (p *peers) dialRaft(ctx context.Context, addr string) (net.Conn, error) {
	return p.dialer.Connect(ctx, "", addr, tlsutil.ALPNRaft)
}

// preflight refuses to start beside a node that runs under the same id. It runs
// before anything of this node does.
func (p *peers) preflight(ctx context.Context) error {
	if !p.preflights {
		return nil
	}
	if err := p.membership.Preflight(ctx); err != nil {
		return err
	}
	return p.startStanding(ctx)
}

func (p *peers) close() { p.client.Close() }

// leading reports whether this node leads. Before it first says so in a leadership
// it has the fleet begin anew: what members reported to another leader opens no gate
// here.
func (p *peers) leading() bool {
	lead := p.store.Leadership()
	if lead == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lead != lead {
		p.lead = lead
		clear(p.heard)
		p.fleet.Lead()
		p.fleet.Update(p.own())
	}
	return lead.Err() == nil
}

// leader returns who the leader is and where, or an Unavailable error.
func (p *peers) leader() (peer.Target, error) {
	id, addr := p.store.Leader()
	if id == "" || id == p.store.NodeID() {
		e := federation.Errorf(federation.Unavailable, "no leader is known at present, nothing was changed").WithReason("no_leader")
		if id != "" {
			e.Detail = "this node has just become the leader and is not ready yet"
		}
		e.RetryAfter = time.Second
		return peer.Target{}, e.WithHint("try again in a moment; with a majority of the members gone there is no leader")
	}
	return peer.Target{Node: id, Addr: addr}, nil
}

// MemberIDs are all members, with and without a vote: all of them carry zones.
func (p *peers) MemberIDs() []string {
	var ids []string
	for _, m := range p.store.Members() {
		ids = append(ids, m.ID)
	}
	return ids
}

func notLeading() error {
	e := federation.Errorf(federation.Unavailable, "this node is not the leader").WithReason("not_leader")
	e.RetryAfter = time.Second
	return e.WithHint("try again in a moment")
}

// What follows answers other members: peer.Node.

func (p *peers) ClusterID() string                { return p.store.ClusterID() }
func (p *peers) Applied() uint64                  { return p.store.Applied() }
func (p *peers) Hello(from peer.Hello) peer.Hello { return p.membership.Hello(from) }
func (p *peers) Promise(q peer.Promise) error     { return p.membership.Promise(q) }

func (p *peers) Join(ctx context.Context, r peer.JoinRequest) error {
	return p.membership.Join(ctx, r)
}

func (p *peers) ReadIndex() (uint64, error) { return p.store.ReadIndex() }

// CheckMember is part of peer.Node.
func (p *peers) CheckMember(ctx context.Context, node string) error {
	members := p.MemberIDs()
	if !p.store.IsLeader() {
		to, err := p.leader()
		if err != nil {
			return err
		}
		at, err := p.client.ReadIndex(ctx, to)
		if err != nil {
			return err
		}
		members = at.Members
	}
	return peer.AmongMembers(members, node)
}

func (p *peers) SeeZone(ctx context.Context, name string) (federation.Zone, error) {
	if err := federation.ValidateName("zone", name); err != nil {
		return federation.Zone{}, err
	}
	if !p.store.IsLeader() {
		return federation.Zone{}, notLeading()
	}
	return p.store.SeeZone(ctx, name)
}

// Report takes a member's report into the fleet.
func (p *peers) Report(r peer.Report) (peer.ReportAnswer, error) {
	if !p.leading() {
		return peer.ReportAnswer{}, notLeading()
	}
	if err := peer.AmongMembers(p.MemberIDs(), r.Member); err != nil {
		return peer.ReportAnswer{}, err
	}
	p.membership.Heard(r)
	for _, s := range r.Shown {
		p.losses.Note(s)
	}
	p.mu.Lock()
	known := p.heard[r.Member]
	if r.Full {
		known = digested{r.Digest, r.Sessions}
		p.heard[r.Member] = known
	}
	p.mu.Unlock()
	if known.digest != r.Digest {
		return peer.ReportAnswer{Full: true}, nil
	}
	p.fleet.Update(fleet.Report{
		Member: r.Member, Applied: r.Applied, LeaseUntil: p.now().Add(lease), Sessions: known.sessions, Trusts: r.Trusts, Shows: r.Shows,
	})
	return peer.ReportAnswer{}, nil
}
