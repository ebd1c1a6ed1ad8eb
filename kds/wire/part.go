package wire

import (
	"strconv"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// partNonce is the nonce of a part: the same on every stream and member, so that
// the encoded response can be shared.
func partNonce(to federation.Revision, part uint32) string {
	return to.String() + "#" + strconv.FormatUint(uint64(part), 10)
}

// ResumeVersion is what a zone sends as the initial version of its copy.
func ResumeVersion(cluster string, rev federation.Revision) string {
	return cluster + "/" + rev.String()
}

// partHeader is what the parts of a set share, in wire form.
func partHeader(d cptoken.Delta) *kdspb.Changes {
	m := &kdspb.Changes{
		Cluster:          d.Cluster,
		History:          d.To.History.ID,
		HistoryCreatedMs: d.To.History.Created,
		To:               d.To.Index,
		Full:             d.Full,
		HistoryIndex:     d.Began,
		Position:         d.Position,
		Merging:          d.Merging,
	}
	if !d.Full {
		m.From = d.From.Index
	}
	if !d.Watermark.IsZero() {
		m.WatermarkMs = d.Watermark.UnixMilli()
	}
	return m
}

// DecodePart reads a response of ChangesType. Whatever is wrong with it is an
// Invalid error.
func DecodePart(resp *discovery.DeltaDiscoveryResponse) (cptoken.Part, error) {
	bad := func(format string, args ...any) (cptoken.Part, error) {
		return cptoken.Part{}, federation.Errorf(federation.Invalid, format, args...)
	}
	if n := len(resp.GetResources()); n != 1 || len(resp.GetRemovedResources()) != 0 {
		return bad("a response of %s with %d resources, want exactly one and none removed", kds.ChangesType, n)
	}
	res := resp.GetResources()[0]
	if res.GetName() != kds.ResourceName {
		return bad("a resource named %.40q, want %q", res.GetName(), kds.ResourceName)
	}
	if url := res.GetResource().GetTypeUrl(); url != kds.ChangesURL {
		return bad("a resource of type %.80q, want %q", url, kds.ChangesURL)
	}
	var m kdspb.Changes
	if err := proto.Unmarshal(res.GetResource().GetValue(), &m); err != nil {
		return bad("unreadable changes: %w", err)
	}
	p, err := partFromWire(&m)
	if err != nil {
		return cptoken.Part{}, err
	}
	if v := res.GetVersion(); v != p.To.String() {
		return bad("a resource of version %.80q that leads to %s", v, p.To)
	}
	return p, nil
}

func partFromWire(m *kdspb.Changes) (cptoken.Part, error) {
	bad := func(format string, args ...any) (cptoken.Part, error) {
		return cptoken.Part{}, federation.Errorf(federation.Invalid, format, args...)
	}
	history := federation.History{ID: m.GetHistory(), Created: m.GetHistoryCreatedMs()}
	p := cptoken.Part{
		Cluster:  m.GetCluster(),
		To:       federation.Revision{History: history, Index: m.GetTo()},
		Full:     m.GetFull(),
		Began:    m.GetHistoryIndex(),
		Merging:  m.GetMerging(),
		Position: m.GetPosition(),
		Number:   m.GetPart(),
		Last:     m.GetLast(),
	}
	if p.Cluster == "" || len(p.Cluster) > MaxClusterLen {
		return bad("a cluster id of %d bytes", len(p.Cluster))
	}
	if back, err := federation.ParseRevision(p.To.String()); err != nil || back != p.To || p.To.IsZero() {
		return bad("%.80q is not a revision to lead to", p.To)
	}
	switch {
	case p.Began > p.To.Index:
		return bad("a history that began at index %d in a set that leads to %s", p.Began, p.To)
	case len(p.Position) > cptoken.MaxPosition:
		return bad("a position of %d bytes", len(p.Position))
	case p.Merging && !p.Full:
		return bad("changes that merge, and no full state")
	case p.Full && m.GetFrom() != 0:
		return bad("a full state that begins at index %d", m.GetFrom())
	case m.GetFrom() > m.GetTo():
		return bad("a set that leads from index %d back to %d", m.GetFrom(), m.GetTo())
	case !p.Full:
		p.From = federation.Revision{History: history, Index: m.GetFrom()}
	}
	if ms := m.GetWatermarkMs(); ms != 0 {
		p.Watermark = time.UnixMilli(ms)
	}
	for _, c := range m.GetChanges() {
		if c.GetIndex() > p.To.Index || (!p.Full && c.GetIndex() <= p.From.Index) {
			return bad("a change at index %d in a set from %d to %d", c.GetIndex(), p.From.Index, p.To.Index)
		}
		changes, err := fromWire(c)
		if err != nil {
			return cptoken.Part{}, err
		}
		p.Changes = append(p.Changes, changes...)
	}
	return p, nil
}

// MaxClusterLen bounds a cluster's id, which is a UUID.
const MaxClusterLen = 64
