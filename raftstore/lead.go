package raftstore

import (
	"context"
	"encoding/hex"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// defaultMesh is there from the start, as Kuma's users know it.
const defaultMesh = "default"

// followLeadership takes up each leadership that Raft announces and ends it when
// Raft says so.
func (s *Store) followLeadership(ctx context.Context, p *process) error {
	found := sync.OnceValues(s.makeFounding)
	group, ctx := errgroup.WithContext(ctx)
	if p.fresh {
		// Keys take longer to make than a lone node takes to elect itself.
		group.Go(func() error { _, err := found(); return err })
	}
	group.Go(func() error { s.electAlone(p); return nil })

	end, done := context.CancelFunc(func() {}), make(chan struct{})
	close(done)
	stop := func() { end(); <-done }
	group.Go(func() error {
		defer func() { stop() }()
		for {
			select {
			case leads := <-p.notify:
				stop()
				if !leads {
					s.log.Info("this node no longer leads", "node", s.node.ID)
					continue
				}
				var term context.Context
				term, end = context.WithCancel(ctx)
				done = make(chan struct{})
				finished := done
				group.Go(func() error { defer close(finished); return s.takeLead(term, p.raft, found) })
			case <-ctx.Done():
				return nil
			}
		}
	})
	return group.Wait()
}

// electAlone spares a lone voter the wait for a leader that cannot exist. Raft lets a
// follower look at once whether it has heard of one when its heartbeat timeout gets
// shorter, be it by a nanosecond; nothing is sent, so that it works under a new
// address, too.
func (s *Store) electAlone(p *process) {
	servers := members(p.raft)
	if len(servers) != 1 || servers[0].ID != raft.ServerID(s.node.ID) || servers[0].Suffrage != raft.Voter {
		return
	}
	conf := p.raft.ReloadableConfig()
	conf.HeartbeatTimeout--
	if err := p.raft.ReloadConfig(conf); err != nil {
		s.log.Debug("waiting for the election timeout", "error", err)
	}
}

// takeLead makes the state complete and the keys proven, and then lets work begin.
func (s *Store) takeLead(ctx context.Context, r *raft.Raft, found func() (*storepb.Found, error)) error {
	for ctx.Err() == nil {
		err := s.prepareLead(ctx, r, found)
		if err == nil {
			s.withheld.Store(false)
			s.lead.begin(ctx)
			if err := s.ensureSecret(ctx); err != nil { // the next leader tries again
				s.log.Warn("the cluster has no secret yet", "error", err)
			}
			s.log.Info("this node leads", "node", s.node.ID, "cluster", s.ClusterID())
			return nil
		}
		if federation.AsError(err).Reason == reasonSealed {
			s.withholdLead(ctx, r)
			continue
		}
		if s.hopeless(err) {
			return err
		}
		s.log.Warn("cannot take the lead yet", "error", err)
		select {
		case <-time.After(s.cfg.ElectionTimeout):
		case <-ctx.Done():
		}
	}
	return nil
}

// withholdLead passes the leadership of a node that lacks a seal key on to another
// voter. A lone one keeps it and takes no writes until its state has changed, or it
// is started again with the key.
func (s *Store) withholdLead(ctx context.Context, r *raft.Raft) {
	progress := s.fsm.progress.next()
	s.withheld.Store(true)
	wait := time.After(2 * s.cfg.ElectionTimeout) // where all lack it, they need not race
	if voters(r) == 1 {
		wait = nil
	}
	select {
	case <-wait:
		if err := r.LeadershipTransfer().Error(); err != nil {
			s.log.Info("the leadership could not be handed over", "error", err)
		}
	case <-progress:
	case <-ctx.Done():
	}
}

// hopeless reports whether trying again cannot help.
func (s *Store) hopeless(err error) bool {
	switch federation.CodeOf(err) {
	case federation.Unavailable, federation.UnknownOutcome:
		return false
	}
	return true
}

func (s *Store) prepareLead(ctx context.Context, r *raft.Raft, found func() (*storepb.Found, error)) error {
	if err := r.Barrier(0).Error(); err != nil {
		return s.replicationError(err)
	}
	if !s.fsm.current().Founded() {
		if err := s.found(ctx, found); err != nil {
			return err
		}
	}
	return s.canServe()
}

// canServe proves that this node has every seal key and tests every signing key. One
// that is broken is no reason not to lead: a cluster without a leader could not remove it.
func (s *Store) canServe() error {
	if err := s.CanSign(); err != nil {
		return err
	}
	s.brokenIn(s.fsm.current())
	return nil
}

func (s *Store) found(ctx context.Context, found func() (*storepb.Found, error)) error {
	if err := s.mayFound(); err != nil {
		return err
	}
	founding, err := found()
	if err != nil {
		return err
	}
	cmd := &storepb.Command{Level: s.foundAt.Load(), Op: &storepb.Command_Found{Found: founding}}
	_, err = s.replicate(ctx, Origin{By: "founding"}, "", cmd)
	if err != nil && !(federation.CodeOf(err) == federation.Conflict && s.fsm.current().Founded()) {
		return err
	}
	s.log.Info("the cluster is founded", "cluster", s.ClusterID(), "keys", len(s.Keys()))
	return nil
}

// makeFounding makes what a cluster begins with: its id, its first history and its
// first keys, in parallel.
func (s *Store) makeFounding() (*storepb.Found, error) {
	id, err := uuid.NewRandomFromReader(s.cfg.Rand)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "no randomness for a cluster id: %w", err)
	}
	var history [8]byte
	if _, err := io.ReadFull(s.cfg.Rand, history[:]); err != nil {
		return nil, federation.Errorf(federation.Internal, "no randomness for a history id: %w", err)
	}
	refs := []issue.Ref{
		{Kind: cptoken.ControlPlane, Serial: 1},
		{Kind: cptoken.Zone, Serial: 1},
		{Kind: cptoken.User, Serial: 1},
		{Kind: cptoken.Dataplane, Mesh: defaultMesh, Serial: 1},
	}
	founding := &storepb.Found{
		ClusterId: id.String(),
		History:   &storepb.History{Id: hex.EncodeToString(history[:]), CreatedMs: s.cfg.Now().UnixMilli()},
		SealCheck: &storepb.SealCheck{Sealed: sealedTo(issue.Sealed(s.node.SealCheck))},
		Meshes:    []string{defaultMesh},
		Keys:      make([]*storepb.PrepareKey, len(refs)),
	}
	if s.foundAt.Load() >= state.LevelSecret {
		seal, err := s.sealer()
		if err != nil {
			return nil, err
		}
		if founding.Secret, err = newSecret(seal, founding.ClusterId, 1); err != nil {
			return nil, err
		}
	}
	var group errgroup.Group
	for i, ref := range refs {
		group.Go(func() error {
			var err error
			founding.Keys[i], err = s.firstKey(founding.ClusterId, ref)
			return err
		})
	}
	return founding, group.Wait()
}

// firstKey makes a key of the founding, or takes over the one that the operator
// brings.
func (s *Store) firstKey(cluster string, ref issue.Ref) (*storepb.PrepareKey, error) {
	imported := ref.Kind == cptoken.ControlPlane && s.cfg.ControlPlaneKey != nil
	makeKey := issue.Generate
	if imported {
		makeKey = func(ref issue.Ref) (*issue.SigningKey, error) { return issue.Import(ref, s.cfg.ControlPlaneKey) }
	}
	key, err := makeKey(ref)
	if err != nil {
		return nil, err
	}
	p, err := s.sealKey(cluster, s.foundAt.Load(), key)
	if err != nil {
		return nil, err
	}
	p.Imported = imported
	return p, nil
}
