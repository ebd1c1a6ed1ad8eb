package node

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/metrics"
	kdsserver "github.com/meridiankds/meridian/kds/server"
)

// measure registers what a global shows at /metrics. All of it is read at each
// scrape from what the node keeps anyway, but for the propagation of changes.
func (n *Node) measure() {
	m, s := n.metrics, n.store
	m.Build(n.cfg.Version)
	n.budget.Measure(n.metrics)
	n.propagation = propagation{applied: map[federation.Revision]time.Time{}, acked: map[sessionKey]federation.Revision{},
		seconds: m.Histogram("propagation_seconds", "Time from when this member applied a change to each zone's durable acknowledgement.")}
	m.Gauge("ready", "Whether this node serves.", nil, func() []metrics.Sample { return metrics.Bool(n.isReady()) })
	m.Gauge("leader", "Whether this node leads the cluster.", nil, func() []metrics.Sample { return metrics.Bool(s.IsLeader()) })
	m.Gauge("voter", "Whether this node has a vote, as it knows; one that was started with --non-voter has none.", nil, func() []metrics.Sample { return metrics.Bool(n.votes()) })
	m.Gauge("raft_applied_index", "Last entry of Raft's log that this node applied.", nil, func() []metrics.Sample { return metrics.One(s.Applied()) })
	m.Gauge("revision_index", "Index of the last change that zones see.", nil, func() []metrics.Sample {
		_, rev := s.Head()
		return metrics.One(rev.Index)
	})
	m.Gauge("sealed", "Whether signing keys are sealed under a key outside Raft.", nil, func() []metrics.Sample { return metrics.Bool(n.cfg.Seal != nil) })
	m.Gauge("can_sign", "Whether this member can open every key that signs.", nil, func() []metrics.Sample { return metrics.Bool(s.CanSign() == nil) })
	m.Gauge("keys_broken", "Keys whose sealed private part does not belong to their public part: they sign and verify nothing.", nil, func() []metrics.Sample { return metrics.One(len(s.Broken())) })
	m.Gauge("roles_bindings", "Role bindings in force, by the digest of all of them: members that differ have different files.", []string{"digest"}, func() []metrics.Sample {
		roles := n.cfg.Roles.Roles()
		return []metrics.Sample{{Labels: []string{roles.Digest()}, Value: float64(roles.Len())}}
	})
	m.Gauge("member_clock_ahead_seconds", "How far a member's clock is ahead of what most members agree on; of this member's clock where they do not.", []string{"member"}, n.clockSamples)
	m.Gauge("clock_off", "Whether this member's clock is more than 30 s from what most members agree on: it issues no tokens.", nil, n.clockOff)
	m.Gauge("losses_unconfirmed", "Losses of acknowledged changes that were proved and that no operator has confirmed.", nil, func() []metrics.Sample { return metrics.One(len(s.Losses())) })
	m.Gauge("newer_histories_shown", "Histories that zones hold and that nobody here knows.", nil, func() []metrics.Sample {
		return metrics.One(len(fleet.Histories(n.peers.losses.Doubts(), fleet.DoubtNewer)))
	})
	m.Gauge("losses_in_doubt", "Revisions that were shown, beside those of losses, and that this cluster does not have.", nil, func() []metrics.Sample { return metrics.One(len(n.peers.losses.Doubts())) })
	m.Gauge("members_diverged", "Members that applied something else than others did.", nil, func() []metrics.Sample { return metrics.One(len(n.peers.Diverged())) })
	m.Gauge("positions_ahead", "Positions that were shown to this member and that are not in its past.", nil, func() []metrics.Sample { return metrics.One(n.peers.losses.Waiting()) })
	n.measureRaft()
	m.Gauge("key_state_since_timestamp_seconds", "Since when a key is in its state; keys have no end of their own.", []string{"kind", "mesh", "kid", "state"}, n.keyAges)
	m.Gauge("keys", "Keys by kind, mesh and state.", []string{"kind", "mesh", "state"}, n.keySamples)
	m.Gauge("revocations", "Revoked ids by kind and mesh.", []string{"kind", "mesh"}, n.revocationSamples)
	m.Gauge("certificate_expiry_timestamp_seconds", "When a certificate in use expires.", []string{"file", "subject"}, n.certificateSamples)
	m.Gauge("zones", "Zones by state, as this member knows them.", []string{"state"}, n.zoneSamples)
	m.Gauge("zone_offline", "1 for each zone that is enabled and not online, as this member knows.", []string{"zone"}, n.offlineSamples)
	m.Gauge("zone_behind_changes", "Changes that a connected control plane of a zone has not acknowledged.", []string{"zone", "zone_instance"}, n.lagSamples)
	m.Gauge("zone_token_expiry_timestamp_seconds", "When the credential of a connected control plane of a zone expires.", []string{"zone", "zone_instance"}, n.expirySamples)
	m.Gauge("kds_connections", "Connections of zones that are open.", nil, func() []metrics.Sample { return metrics.One(n.kds.Stats().Connections) })
	for name, about := range map[string]struct {
		help string
		read func(kdsserver.Stats) uint64
	}{
		"kds_authenticated_total":    {"Calls of zones that were admitted.", func(s kdsserver.Stats) uint64 { return s.Authenticated }},
		"kds_displaced_total":        {"Sessions that gave way to a newer one of their instance.", func(s kdsserver.Stats) uint64 { return s.Displaced }},
		"tokens_relayed_total":       {"Tokens issued to users of zones, asked for through their zone.", func(s kdsserver.Stats) uint64 { return s.Relayed }},
		"tokens_relay_refused_total": {"Tokens refused to users of zones, asked for through their zone.", func(s kdsserver.Stats) uint64 { return s.RelayRefused }},
		"kds_slow_total":             {"Zones disconnected because they did not drain or acknowledge.", func(s kdsserver.Stats) uint64 { return s.Slow }},
		"kds_acks_total":             {"Sets of changes that zones acknowledged.", func(s kdsserver.Stats) uint64 { return s.Acks }},
		"kds_nacks_total":            {"Sets of changes that zones refused.", func(s kdsserver.Stats) uint64 { return s.Nacks }},
		"kds_kuma_sent_bytes_total":  {"Bytes of resources that zones of Kuma's were sent.", func(s kdsserver.Stats) uint64 { return s.KumaSentBytes }},
		"kds_unasked_total":          {"Messages of zones that nobody had asked for.", func(s kdsserver.Stats) uint64 { return s.Unasked }},
		"kds_sent_bytes_total":       {"Bytes of changes that were sent.", func(s kdsserver.Stats) uint64 { return s.SentBytes }},
	} {
		m.Total(name, about.help, nil, func() []metrics.Sample { return metrics.One(about.read(n.kds.Stats())) })
	}
	m.Gauge("kds_kuma_list_omitted", "Revoked ids that zones of Kuma's are not sent, because a list is longer than they take.", []string{"list"}, func() []metrics.Sample {
		return metrics.ByLabel(n.kds.Stats().KumaOmitted)
	})
	m.Total("kds_refused_total", "Calls of zones that were refused, by reason.", []string{"reason"}, func() []metrics.Sample {
		return metrics.ByLabel(n.kds.Stats().Refused)
	})
	m.Total("audit_records_total", "Records written to this member's audit log, by class.", []string{"class"}, func() []metrics.Sample {
		return metrics.ByLabel(n.audit.Stats().Records)
	})
	m.Total("audit_suppressed_total", "Refusals that were left out of the audit log because there were too many.", nil, func() []metrics.Sample {
		return metrics.One(n.audit.Stats().Suppressed)
	})
	m.Total("audit_failures_total", "Records that could not be written to the audit log.", nil, func() []metrics.Sample {
		return metrics.One(n.audit.Stats().Failures)
	})
	m.Total("slowed_failures_total", "Failures to prove who one is that were slowed or turned away, of the HTTP API and KDS.", nil, func() []metrics.Sample {
		return metrics.One(n.slow.Slowed())
	})
	m.Total("kds_sessions_ended_total", "Connections of zones cut because their admission held no longer, by reason.", []string{"reason"}, func() []metrics.Sample {
		return metrics.ByLabel(n.kds.Stats().Ended)
	})
}

func (n *Node) votes() bool {
	for _, member := range n.store.Members() {
		if member.ID == n.store.NodeID() {
			return member.Voter
		}
	}
	return false
}

func (n *Node) isReady() bool {
	select {
	case <-n.ready:
		return n.store.CanSign() == nil && n.cfg.TLS.Unready() == nil && n.store.LeaderContact() < silentReady
	default:
		return false
	}
}

func (n *Node) certificateSamples() (samples []metrics.Sample) {
	seen := map[[2]string]bool{}
	for _, c := range n.certificates() {
		if id := [2]string{c.File, c.Subject}; !seen[id] {
			seen[id] = true
			samples = append(samples, metrics.Sample{Labels: id[:], Value: float64(c.NotAfter.Unix())})
		}
	}
	return samples
}

func (n *Node) keySamples() []metrics.Sample {
	type group struct{ kind, mesh, state string }
	count := map[group]int{}
	for _, k := range n.store.Keys() {
		count[group{string(k.ID.Kind), k.ID.Mesh, string(k.State)}]++
	}
	samples := make([]metrics.Sample, 0, len(count))
	for g, c := range count {
		samples = append(samples, metrics.Sample{Labels: []string{g.kind, g.mesh, g.state}, Value: float64(c)})
	}
	return samples
}

func (n *Node) revocationSamples() (samples []metrics.Sample) {
	add := func(kind cptoken.Kind, mesh string) {
		samples = append(samples, metrics.Sample{Labels: []string{string(kind), mesh}, Value: float64(n.store.RevocationCount(kind, mesh))})
	}
	for _, kind := range cptoken.Kinds {
		if !kind.PerMesh() {
			add(kind, "")
			continue
		}
		for _, mesh := range n.store.Meshes() {
			add(kind, mesh.Name)
		}
	}
	return samples
}

// online are the zones that are, as this member knows.
func (n *Node) online() map[string]bool {
	online := map[string]bool{}
	for _, z := range n.fleet.Zones() {
		online[z.Name] = z.Online
	}
	return online
}

// offlineSamples name the zones that an operator expects to be online.
func (n *Node) offlineSamples() (samples []metrics.Sample) {
	online := n.online()
	for _, z := range n.store.Zones() {
		if !z.Deleted && z.Enabled && !online[z.Name] {
			samples = append(samples, metrics.Sample{Labels: []string{z.Name}, Value: 1})
		}
	}
	return samples
}

func (n *Node) zoneSamples() []metrics.Sample {
	online := n.online()
	count := map[string]int{"online": 0, "offline": 0, "disabled": 0}
	for _, z := range n.store.Zones() {
		switch {
		case z.Deleted:
		case !z.Enabled:
			count["disabled"]++
		case online[z.Name]:
			count["online"]++
		default:
			count["offline"]++
		}
	}
	return metrics.ByLabel(count)
}

// lagSamples and expirySamples are of the sessions at this member: of the others'
// each member tells its own.
func (n *Node) lagSamples() []metrics.Sample {
	_, head := n.store.Head()
	return n.perSession(func(s kdsserver.Session) (float64, bool) {
		if s.Acked == head {
			return 0, true
		}
		changes, _, ok := n.store.Lag(s.Acked)
		return float64(changes), ok
	})
}

func (n *Node) expirySamples() []metrics.Sample {
	return n.perSession(func(s kdsserver.Session) (float64, bool) {
		return float64(s.Admission.Expires.Unix()), !s.Admission.Expires.IsZero()
	})
}

// perSession makes one sample for each instance that has an authenticated session:
// who proved nothing chooses its own name.
func (n *Node) perSession(value func(kdsserver.Session) (float64, bool)) (samples []metrics.Sample) {
	seen := map[sessionKey]bool{}
	for _, s := range n.kds.Sessions() {
		key := sessionKey{s.Zone, s.Instance}
		if !s.Online() || !s.Admission.Authenticated || seen[key] {
			continue
		}
		if v, ok := value(s); ok {
			seen[key] = true
			samples = append(samples, metrics.Sample{Labels: []string{s.Zone, s.Instance}, Value: v})
		}
	}
	return samples
}

// sessionKey names one control plane of a zone.
type sessionKey struct{ zone, instance string }

// propagation measures how long changes take to zones. Only the loop that reports
// sessions uses it.
type propagation struct {
	applied map[federation.Revision]time.Time // of the last few revisions
	order   []federation.Revision
	acked   map[sessionKey]federation.Revision
	seconds metrics.Histogram
}

// maxApplied is how many revisions are remembered: a zone that takes longer than
// so many changes is counted with a later one.
const maxApplied = 1024

// head notes when a revision was applied here.
func (p *propagation) head(rev federation.Revision, now time.Time) {
	if _, known := p.applied[rev]; known {
		return
	}
	p.applied[rev] = now
	p.order = append(p.order, rev)
	if len(p.order) > maxApplied {
		delete(p.applied, p.order[0])
		p.order = p.order[1:]
	}
}

// sessions notes what zones acknowledged since the last call. What was there when a zone
// connected, it had or not, says nothing about how long changes take.
func (p *propagation) sessions(sessions []kdsserver.Session, now time.Time) {
	open := make(map[sessionKey]federation.Revision, len(sessions))
	for i := range sessions {
		s := &sessions[i]
		if !s.Online() {
			continue
		}
		key := sessionKey{s.Zone, s.Instance}
		open[key] = s.Acked
		before, known := p.acked[key]
		if at, ok := p.applied[s.Acked]; ok && known && !before.IsZero() && before != s.Acked && !clock.Earlier(at, s.Connected) {
			p.seconds.Observe(clock.Elapsed(at, now).Seconds())
		}
	}
	p.acked = open
}
