package rollout

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// probePrefix begins the names of probes.
const probePrefix = "meridian-probe/"

// probe stands for a changed listener or cluster that subscribes to something which the
// proxy has not asked for before. Whether the proxy takes that shows only when it asks, and
// it asks only for what it was given: if it then refuses it, the changed resource has taken
// the former one's place already, without routes, endpoints or a filter. So the proxy is
// given the changed resource under another name first, a listener without a port.
type probe struct {
	*envoyres.Resource
	of string // the version of the resource that it stands for
	// until is how long after the probe is in place the proxy may take to ask for what it
	// subscribes to.
	until time.Time
}

// probing returns the probe that a proxy must be given before w, or nil.
func (s *Stream) probing(st *kind, w *envoyres.Resource) *envoyres.Resource {
	h := st.held[w.Name]
	if !st.full() || !st.wildcard || h == nil || h.acked == nil || h.acked.Version == w.Version || strings.HasPrefix(w.Name, probePrefix) {
		return nil
	}
	if p, ok := s.probes[w.Key]; ok && p.of == w.Version {
		return p.Resource // it stays until w is in place
	}
	for next := range referred(s.want, w) {
		by := s.kinds[next.Kind]
		if by.full() || !by.asked || by.subscribed(next.Name) {
			continue
		}
		if r := probeOf(w); r != nil {
			s.probes[w.Key] = probe{Resource: r, of: w.Version}
			return r
		}
		return nil
	}
	return nil
}

// probeOf makes the probe of a listener or cluster; nil where that cannot be.
func probeOf(w *envoyres.Resource) *envoyres.Resource {
	var message types.Resource
	switch m := proto.Clone(w.Message).(type) {
	case *cluster.Cluster:
		if eds := m.GetEdsClusterConfig(); eds != nil && eds.GetServiceName() == "" {
			eds.ServiceName = m.GetName()
		}
		m.Name = probePrefix + m.GetName()
		message = m
	case *listener.Listener:
		if m.GetUdpListenerConfig() != nil || m.GetAddress().GetSocketAddress() == nil && m.GetAddress().GetPipe() == nil {
			return nil
		}
		m.Name = probePrefix + m.GetName()
		m.BindToPort = wrapperspb.Bool(false)
		m.AdditionalAddresses = nil
		m.Address = &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: "@" + probePrefix + w.Version}}}
		message = m
	default:
		return nil
	}
	r, err := envoyres.New(message)
	if err != nil {
		return nil // it was packed before, under its own name
	}
	return r
}

// tried reports whether the proxy has everything that a probe subscribes to, or does not ask
// for it.
func (p *plan) tried(of envoyres.Key, first *envoyres.Resource) bool {
	if p.complete(first, map[envoyres.Key]bool{}) {
		return true
	}
	one := p.s.probes[of]
	if one.until.IsZero() {
		one.until = p.now.Add(unheard)
		p.s.probes[of] = one
	}
	return clock.Ended(one.until, p.now)
}

// probeRefused is why the proxy refuses the probe of a resource; "" where it does not.
func (s *Stream) probeRefused(st *kind, w *envoyres.Resource) string {
	one, ok := s.probes[w.Key]
	if r := st.refused[probePrefix+w.Name]; ok && r.version == one.Version {
		return r.detail
	}
	return ""
}

// endProbes forgets the probes that are not needed any more; then they are removed.
func (p *plan) endProbes() {
	for key, one := range p.s.probes {
		w := p.s.want[key]
		done := w == nil || w.Version != one.of
		if !done && p.s.kinds[key.Kind].has(w) {
			done = key.Kind == types.Cluster || p.isWarm(key.Name)
		}
		if done {
			delete(p.s.probes, key)
		}
	}
}
