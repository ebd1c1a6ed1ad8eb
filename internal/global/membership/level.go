package membership

import (
	"context"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// A cluster of mixed versions speaks the oldest one's language. It goes over to a newer
// feature level once every member has told this leader, in a report that still counts,
// that it knows it. A member that is away holds that up until it is back or removed:
// were it older, it could not read the log any more.

// spoken is the feature level that a node names; one that names none knows the first.
func spoken(level uint32) uint32 { return max(1, level) }

// Heard notes what a member reported of itself: the feature level that it knows, whether it
// wants a vote, and which run of its process says so.
func (m *Membership) Heard(r peer.Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.levels[r.Member] = spoken(r.Level)
	m.nonVoters[r.Member] = r.NonVoter
	m.boots[r.Member] = r.Boot
}

// raise has the cluster go over to the newest level that all members know.
func (m *Membership) raise(ctx context.Context, servers []server) {
	level, waits := m.commonLevel(servers)
	if have := m.store.FeatureLevel(); have == 0 || level <= have {
		if have < state.Level && waits != "" {
			m.cfg.Logger.Debug("the feature level stays", "level", have, "because of", waits)
		}
		return
	}
	if err := m.store.RaiseLevel(ctx, raftstore.Origin{By: "meridian"}, level); err != nil {
		m.say("level", "the feature level could not be raised: "+err.Error())
		return
	}
	m.say("level", "")
	m.cfg.Logger.Info("every member knows the feature level: the cluster goes over to it", "level", level)
}

// commonLevel is the newest level that every member knows, and who keeps it below this
// program's.
func (m *Membership) commonLevel(servers []server) (level uint32, waits string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	level = state.Level
	for _, s := range servers {
		known := m.levels[s.id]
		switch {
		case s.self:
			known = state.Level
		case !s.live:
			known = 0
		}
		if known < level {
			level, waits = known, s.id
		}
	}
	return level, waits
}

// knowsLevel refuses a node that cannot read what the cluster writes.
func (m *Membership) knowsLevel(r peer.JoinRequest) error {
	have := m.store.FeatureLevel()
	if spoken(r.Level) >= have {
		return nil
	}
	return federation.Errorf(federation.Conflict, "the node at %s knows feature level %d, and the cluster is at %d", r.Address, spoken(r.Level), have).
		WithReason("level").WithHint("start the node with the version that the other members run")
}

// level is the newest feature level that this node and all that it sees know.
func (p *prospect) level() uint32 {
	level := uint32(state.Level)
	for _, a := range p.answers {
		level = min(level, spoken(a.Level))
	}
	return level
}
