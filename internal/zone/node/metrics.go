package node

import (
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/metrics"
)

// measure registers what a zone shows at /metrics, all of it read at each scrape.
func (n *Node) measure() {
	m := n.metrics
	m.Build(n.cfg.Version)
	n.budget.Measure(n.metrics)
	m.Gauge("connected", "Whether the stream to the global is open.", nil, func() []metrics.Sample { return metrics.Bool(n.client.Status().Connected) })
	m.Gauge("global_heard_timestamp_seconds", "When the global was last heard; absent: never.", nil, func() []metrics.Sample {
		if _, at := n.store.Contact(); !at.IsZero() {
			return metrics.One(float64(at.UnixMilli()) / 1000)
		}
		return nil
	})
	m.Gauge("unwritten", "Whether this zone cannot write what it is sent: it refuses what was revoked, and acknowledges nothing.", nil, func() []metrics.Sample {
		return metrics.Bool(n.store.Unwritten() != nil)
	})
	m.Gauge("not_held", "What the global sends and this version does not understand: kinds, keys, changes.", nil, func() []metrics.Sample {
		return metrics.One(len(n.store.View().Skipped()))
	})
	m.Gauge("revision_index", "Index of the global's changes up to which this zone holds everything.", nil, func() []metrics.Sample {
		return metrics.One(n.store.View().Revision().Index)
	})
	m.Gauge("keys", "Keys that this zone verifies with, by kind and state.", []string{"kind", "state"}, n.keySamples)
	m.Gauge("proxies_unauthenticated", "Whether proxies of a type are believed without proof (none).", []string{"type"}, func() (samples []metrics.Sample) {
		unproven := n.auth.Unproven()
		for _, t := range []string{cptoken.TypeDataplane, cptoken.TypeEgress, cptoken.TypeIngress} {
			samples = append(samples, metrics.Sample{Labels: []string{t}, Value: metrics.Bool(slices.Contains(unproven, t))[0].Value})
		}
		return samples
	})
	m.Gauge("revocations", "Revoked ids, by kind.", []string{"kind"}, func() (samples []metrics.Sample) {
		view := n.store.View()
		for _, kind := range cptoken.Kinds {
			if kind.AtZones() {
				samples = append(samples, metrics.Sample{Labels: []string{string(kind)}, Value: float64(view.RevocationsOf(kind))})
			}
		}
		return samples
	})
	m.Gauge("certificate_expiry_timestamp_seconds", "When a certificate in use expires.", []string{"file", "subject"}, n.certificateSamples)
	m.Gauge("token_expiry_timestamp_seconds", "When this zone's control plane token expires; absent: it does not, or cannot be read.", nil, n.tokenExpiry)
	n.xdsRefused = m.Counter("xds_refused_total", "Responses of resources that proxies refused, by type.", "type")
	m.Gauge("proxies_connected", "Proxies that are connected, by type.", []string{"type"}, func() (samples []metrics.Sample) {
		counts := n.proxies.Counts()
		for _, t := range []string{cptoken.TypeDataplane, cptoken.TypeEgress, cptoken.TypeIngress} {
			samples = append(samples, metrics.Sample{Labels: []string{t}, Value: float64(counts.Connected[t])})
		}
		return samples
	})
	m.Gauge("proxies_refusing", "Connected proxies that refuse a resource which they are to have.", nil, func() []metrics.Sample {
		return metrics.One(n.proxies.Counts().Refusing)
	})
	m.Gauge("xds_folders_broken", "What is wrong in the folder of resources now: places that keep what they held, and what counts for nobody.", nil, func() []metrics.Sample {
		return metrics.One(len(n.xdsProblems()))
	})
	m.Gauge("sessions", "Open sessions of proxies.", nil, func() []metrics.Sample { return metrics.One(n.sessions.Count()) })
	m.Total("sessions_ended_total", "Sessions of proxies ended because their token held no longer, by reason.", []string{"reason"}, func() []metrics.Sample {
		return metrics.ByLabel(n.sessions.Ended())
	})
}

func (n *Node) certificateSamples() (samples []metrics.Sample) {
	seen := map[[2]string]bool{}
	for _, c := range n.Certificates() {
		if id := [2]string{c.File, c.Subject}; !seen[id] {
			seen[id] = true
			samples = append(samples, metrics.Sample{Labels: id[:], Value: float64(c.NotAfter.Unix())})
		}
	}
	return samples
}

func (n *Node) keySamples() (samples []metrics.Sample) {
	type group struct{ kind, state string }
	count := map[group]int{}
	for _, k := range n.store.View().Keys() {
		count[group{string(k.ID.Kind), string(k.State)}]++
	}
	for _, k := range n.keyring.Own() {
		count[group{string(k.ID.Kind), "static"}]++
	}
	for g, c := range count {
		samples = append(samples, metrics.Sample{Labels: []string{g.kind, g.state}, Value: float64(c)})
	}
	return samples
}

// tokenExpiry reads what the token says of itself; whether it is good is for the
// global to say.
func (n *Node) tokenExpiry() []metrics.Sample {
	if n.cfg.Token == nil {
		return nil
	}
	raw, err := n.cfg.Token()
	if err != nil {
		return nil
	}
	token, err := cptoken.Inspect(raw)
	if err != nil || token.Claims.ExpiresAt.IsZero() {
		return nil
	}
	return metrics.One(token.Claims.ExpiresAt.Unix())
}
