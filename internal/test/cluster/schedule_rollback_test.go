package cluster

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// workerOfDisks records what is done to the disks of all members.
const workerOfDisks = 400

// keptDisks are the disks as they were when the operations began, to be put back later.
type keptDisks struct {
	members map[*Global]putBack
	zones   map[*Zone]string // their copies
	watched map[*Zone]*watched
	at      federation.Revision // where the members stood
	// patience is how long a member that is started waits for the others' word, 0: as ever.
	patience time.Duration
	// restoring is held for writing while members that lost everything since then are not
	// found out yet: a history that is begun on purpose then would hide the loss.
	restoring sync.RWMutex
	// lost are histories of which a part was lost: indexes are given out twice in them.
	lost map[federation.History]bool

	ofMembers, ofZones, ofAll int
}

// keepDisks copies the disks of all members and zones, which are stopped meanwhile.
func (s *schedule) keepDisks() {
	s.record(workerOfDisks, idOp{kind: "keep"}, func() (bool, bool, bool) {
		_, s.disks.at = s.c.Leader().Node.Store().Head()
		for _, g := range s.c.Members {
			g.Stop()
		}
		for _, g := range s.c.Members {
			s.disks.members[g] = g.copyDisk(false)
		}
		for _, z := range s.zones {
			z.Stop()
			s.disks.zones[z] = filepath.Join(TempDir(s.t), "copy")
			copyPrivate(s.t, s.disks.zones[z], z.Dir)
			z.Start()
		}
		return false, true, true
	})
	s.launch(s.c.Members...)
}

// launch starts members, and gives each zone one that runs.
func (s *schedule) launch(globals ...*Global) {
	for _, g := range globals {
		g.starting.Lock()
		g.Launch()
		g.starting.Unlock()
	}
	for _, g := range globals {
		g.AwaitReady()
	}
	for i, relay := range s.kds {
		relay.Resume()
		relay.Retarget(s.c.Members[i].KDS())
	}
}

// acknowledged enters the revision at which an id was revoked for good, "" where that is not
// known. In a past that was lost indexes are given out twice: there they say nothing.
func (s *schedule) acknowledged(id, revision string) {
	rev, err := federation.ParseRevision(revision)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.disks.lost[rev.History] {
		revision = ""
	}
	s.once[id] = revision
}

// rollBackAMember puts the kept disk, or raft.db of it, under one member while the others are
// up: it does not run, whatever it was. Its own disk is put back then.
func (s *schedule) rollBackAMember(r *rand.Rand) {
	s.c.Net.Heal()
	s.messages.Heal()
	back := s.member(r)
	kept := s.disks.members[back]
	kept.logOnly = r.IntN(2) == 0
	last, err := disk.LastIndex(kept.copy)
	if err != nil {
		s.t.Error(err)
		return
	}
	for _, g := range s.c.Members {
		Eventually(s.t, g.Name+" to remember more of "+back.Name, func() bool {
			seen, _ := g.Node.Store().Remembered(back.Node.Store().NodeID())
			return g == back || seen.Raft > last
		})
	}
	back.Stop()
	newest := back.copyDisk(false)
	kept.putBack()
	s.disks.patience = Patience // those who know may be slow to say so
	back.starting.Lock()
	back.Launch()
	back.starting.Unlock()
	s.disks.patience = 0
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := back.Ended(ctx); err == nil || !strings.Contains(err.Error(), "its disk was put back to an earlier state") {
		s.t.Errorf("%s, whose disk went back (raft.db alone: %t), ended with %v", back.Name, kept.logOnly, err)
	}
	back.once.Do(func() {}) // it has ended, as it should
	newest.putBack()
	s.launch(back)
	s.disks.ofMembers++
}

// rollBackAZone puts the kept disk under a zone, which is told of everything anew.
func (s *schedule) rollBackAZone(r *rand.Rand) {
	z := s.zones[r.IntN(len(s.zones))]
	w := s.disks.watched[z]
	w.mu.Lock()
	defer w.mu.Unlock()
	z.Stop()
	if err := os.RemoveAll(z.Dir); err != nil {
		s.t.Error(err)
	}
	copyPrivate(s.t, z.Dir, s.disks.zones[z])
	z.Start()
	w.held, w.last = nil, federation.Revision{}
	s.disks.ofZones++
}

// rollBackAll puts the kept disks under all members: what was done since is lost but to the
// zones. The alarm comes, and an operator confirms it.
func (s *schedule) rollBackAll() {
	s.disks.restoring.Lock()
	defer s.disks.restoring.Unlock()
	s.c.Net.Heal()
	s.messages.Heal()
	if !slices.ContainsFunc(s.zones[1:], func(z *Zone) bool { // the first may be disabled
		at := z.Revision()
		return at.History != s.disks.at.History || at.Index > s.disks.at.Index
	}) {
		return // nobody would know of the loss
	}
	s.record(workerOfDisks, idOp{kind: "go back"}, func() (bool, bool, bool) {
		for _, g := range s.c.Members {
			g.Stop()
		}
		for _, g := range s.c.Members {
			s.disks.members[g].putBack()
		}
		return false, true, true
	})
	s.restored.Add(1)
	s.mu.Lock()
	s.disks.lost[s.disks.at.History] = true
	for id, at := range s.once {
		if rev, err := federation.ParseRevision(at); err == nil && s.disks.lost[rev.History] {
			s.once[id] = ""
		}
	}
	s.mu.Unlock()
	s.launch(s.c.Members...)
	told, made := false, false
	Eventually(s.t, "the loss to be known, and confirmed", func() bool {
		for _, g := range s.c.Members {
			var status apitypes.Cluster
			answer, err := g.ask(http.MethodGet, "/v1/cluster", nil)
			if err != nil || json.Unmarshal(answer.body, &status) != nil {
				continue
			}
			if len(status.Losses)+len(status.NewerHistories) == 0 {
				made = made || told // the answer to the confirmation was lost
				continue
			}
			told, made = true, false
			confirm := apitypes.ConfirmLossRequest{Adopt: len(status.NewerHistories) > 0}
			s.write(g, http.MethodPost, "/v1/cluster/confirm-loss", confirm, uuid.NewString())
		}
		return made
	})
	s.disks.ofAll++
}
