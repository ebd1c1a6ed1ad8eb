package cluster

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
)

// Workers of the faults that are aimed, beside those that operate.
const (
	workerAtTheLeader = 200
	workerOfLagging   = 300
)

// leading is a member that takes itself for the leader, nil where none does.
func (s *schedule) leading() *Global {
	for _, g := range s.c.Members {
		if g.Node.Store().IsLeader() {
			return g
		}
	}
	return nil
}

// until waits for what a fault is to lead to, and reports false where other faults, or the
// end of the schedule, keep it from coming.
func (s *schedule) until(condition func() bool) bool {
	patience := time.After(8 * time.Second)
	for !condition() {
		select {
		case <-s.stop:
			return false
		case <-patience:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

// revokeAt revokes an id that nobody ever withdraws, at one member. The revision is "" where
// it is not known that it was made.
func (s *schedule) revokeAt(worker int, g *Global) (id, revision string) {
	id = uuid.NewString()
	s.mu.Lock()
	s.once[id] = ""
	s.mu.Unlock()
	s.record(worker, idOp{kind: "revoke", id: id}, func() (bool, bool, bool) {
		_, answer, known, made := s.write(g, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}}, uuid.NewString())
		var result apitypes.RevokeResult
		if made && json.Unmarshal(answer, &result) == nil {
			revision = result.Revision
		}
		return false, known, made
	})
	s.acknowledged(id, revision)
	return id, revision
}

// readAt reads an id at the first member that leads, other than one.
func (s *schedule) readAt(worker int, other *Global, id string) (done bool) {
	for _, g := range s.c.Members {
		if g == other || done {
			continue
		}
		s.record(worker, idOp{kind: "read", id: id}, func() (bool, bool, bool) {
			if _, err := g.Node.Store().ReadIndex(); err != nil {
				return false, true, false
			}
			done = true
			return g.Node.Store().View().Revoked(cptoken.Zone, "", id), true, true
		})
	}
	return done
}

// cutTheLeader cuts the leader off while it takes writes, which it can tell nobody of, and
// looks at another member what became of them: what was told as done is there.
func (s *schedule) cutTheLeader() {
	leader := s.leading()
	if leader == nil {
		return
	}
	s.c.Net.Cut(leader.Name, true)
	before := s.unknown.Load()
	var writes sync.WaitGroup
	for i := range 4 {
		writes.Go(func() {
			id, _ := s.revokeAt(workerAtTheLeader+i, leader)
			s.until(func() bool { return s.readAt(workerAtTheLeader+i, leader, id) })
		})
	}
	writes.Wait()
	s.untold.Add(s.unknown.Load() - before)
	s.c.Net.Cut(leader.Name, false)
}

// giveAZoneToOneThatLags cuts a member off from the others, and has a zone that has what was
// written meanwhile go over to it. What the zone may not do then, watch holds it to.
func (s *schedule) giveAZoneToOneThatLags() {
	i := len(s.zones) - 1 // no message of its own is lost
	zone, relay, leader := s.zones[i], s.kds[i], s.leading()
	if leader == nil {
		return
	}
	lagging := s.c.Members[(slices.Index(s.c.Members, leader)+1)%len(s.c.Members)]
	s.c.Net.Cut(lagging.Name, true)
	relay.Resume()
	relay.Retarget(leader.KDS())
	relay.Cut()
	_, at := s.revokeAt(workerOfLagging, leader)
	rev, err := federation.ParseRevision(at)
	if err == nil && s.until(func() bool { return zone.Revision().Covers(rev) }) {
		relay.Retarget(lagging.KDS())
		relay.Cut()
		if s.until(func() bool {
			return !zone.Revision().Covers(rev) || slices.ContainsFunc(lagging.Node.Fleet().Sessions(), func(f fleet.Session) bool {
				return f.Zone == zone.Name && f.Member == lagging.Node.Store().NodeID() && f.Open() && f.Nack != ""
			})
		}) {
			s.lagged.Add(1)
		}
	}
	s.c.Net.Cut(lagging.Name, false)
}
