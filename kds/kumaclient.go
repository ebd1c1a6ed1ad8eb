package kds

import (
	"context"
	"slices"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// The kinds of global that a zone may have, as [ClientStatus.Kind] names them.
const (
	KindMeridian = "meridian"
	KindKuma     = "kuma"
)

// MaxKumaAnswer bounds what a zone takes from a global of Kuma's in one message. It
// sends lists whole.
const MaxKumaAnswer = 16 << 20

// Holder may be implemented by a [Sink] that can tell what it holds. A zone under
// Kuma's global needs it after a start, to see what is gone since: Kuma sends lists,
// not changes. Each key and each revoked id comes once.
type Holder interface {
	Held(key func(*cptoken.PublicKey), revoked func(kind cptoken.Kind, mesh, id string)) error
}

// subscribeKuma asks for what a zone needs of a global of Kuma's, in the form in
// which Kuma's own zones ask.
func (l *link) subscribeKuma() error {
	cfg := &l.client.cfg
	metadata, err := structpb.NewStruct(map[string]any{
		"config": "{}", "control-plane-id": cfg.Instance, "features": []any{"zone-token", featureSuffix},
		"version": map[string]any{"kumaCp": map[string]any{
			"version": cfg.Version, "gitTag": "unknown", "gitCommit": "unknown", "buildDate": "unknown",
		}},
	})
	if err != nil {
		return federation.Errorf(federation.Internal, "describing this zone: %w", err)
	}
	for _, typ := range kumaTypes {
		err := l.stream.SendMsg(&discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: cfg.Zone, Metadata: metadata}, TypeUrl: typ, ResourceNamesSubscribe: []string{"*"},
		})
		if err != nil {
			return l.ended(err)
		}
	}
	return nil
}

// unsubscribeKuma takes subscribeKuma back, at a global of Meridian's that was slow
// to say that it is one.
func (l *link) unsubscribeKuma() error {
	for _, typ := range kumaTypes {
		err := l.stream.SendMsg(&discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: l.client.cfg.Zone}, TypeUrl: typ, ResourceNamesUnsubscribe: []string{"*"},
		})
		if err != nil {
			return l.ended(err)
		}
	}
	return nil
}

// receiveKuma applies what a global of Kuma's sends, one answer after the other. The
// first answers are acted on when all that matters is there; from then on each is
// durable before it is acknowledged.
func (l *link) receiveKuma(ctx context.Context, address string) error {
	held, err := l.client.heldOfKuma()
	if err != nil {
		return err
	}
	begins := time.AfterFunc(l.client.cfg.AnswerTimeout, func() {
		l.cancel(federation.Errorf(federation.Invalid, "what answers there is not a Meridian global, and does not answer as one of Kuma's either").
			WithHint("--global-address takes the KDS port of a global, 5685 unless told otherwise"))
	})
	defer begins.Stop()
	mirror, begun := newKumaMirror(), false
	for {
		in := &answer{limit: MaxKumaAnswer, wipe: true}
		if err := l.stream.RecvMsg(in); err != nil {
			return err
		}
		if in.err != nil {
			return in.err
		}
		l.client.heard(l.member)
		typ, nonce := in.resp.GetTypeUrl(), in.resp.GetNonce()
		if !slices.Contains(kumaTypes[:], typ) {
			continue // nothing else was asked for
		}
		err := mirror.take(&in.resp)
		for _, why := range mirror.skipped {
			l.client.cfg.Logger.Warn("a secret of the global is left out", "cause", why)
		}
		if err == nil && mirror.complete() {
			if held, err = l.client.followKuma(ctx, mirror, held, begun); err == nil && !begun {
				begun = begins.Stop()
				l.client.connected(address, "", KindKuma)
				l.client.current()
				l.client.cfg.Logger.Info("connected to a global of Kuma's", "address", address, "cluster", mirror.cluster)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err() // the end of the client is no fault of the answer
		}
		if err != nil {
			return l.refuseKuma(typ, nonce, err)
		}
		ack := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: l.client.cfg.Zone}, TypeUrl: typ, ResponseNonce: nonce}
		if err := l.stream.SendMsg(ack); err != nil {
			return l.ended(err)
		}
	}
}

// refuseKuma tells the global what was wrong and ends the connection. The next one
// begins from nothing, as every one does.
func (l *link) refuseKuma(typ, nonce string, err error) error {
	defer l.deadline().Stop()
	nack := &discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: l.client.cfg.Zone}, TypeUrl: typ, ResponseNonce: nonce,
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.Internal), Message: err.Error()},
	}
	if l.stream.SendMsg(nack) == nil && l.stream.CloseSend() == nil {
		for l.stream.RecvMsg(&discard{}) == nil {
		}
	}
	return err
}

// heldOfKuma returns what the zone holds: what this client knows from the stream
// before, or else what the Sink tells.
func (c *Client) heldOfKuma() (*kumaHeld, error) {
	held := newKumaHeld()
	holder, ok := c.cfg.Sink.(Holder)
	if _, rev := c.cfg.Sink.Position(); rev.IsZero() || !ok && c.kumaHeld == nil {
		return held, nil
	}
	if c.kumaHeld != nil {
		return c.kumaHeld, nil
	}
	err := holder.Held(
		func(k *cptoken.PublicKey) { held.keys[k.ID] = k },
		func(kind cptoken.Kind, mesh, id string) {
			list := kumaListID{kind, mesh}
			if held.lists[list] == nil {
				held.lists[list] = map[string]bool{}
			}
			held.lists[list][id] = true
		})
	return held, err
}

// followKuma brings the zone's copy to what the global told, and returns what it
// holds then.
func (c *Client) followKuma(ctx context.Context, m *kumaMirror, held *kumaHeld, begun bool) (*kumaHeld, error) {
	cluster, rev := c.cfg.Sink.Position()
	history := kumaHistory(m.cluster)
	switch {
	case cluster != "" && cluster != m.cluster:
		return held, otherCluster(cluster, m.cluster)
	case !rev.IsZero() && rev.History != history:
		return held, federation.Errorf(federation.Conflict, "this zone holds what a global of Meridian's sent, and the global answers as one of Kuma's does").
			WithHint("something between the two takes the headers of the global's answers away: let it pass gRPC unchanged")
	}
	if rev.IsZero() {
		held = newKumaHeld() // also where a damaged copy was begun anew meanwhile
	}
	want := m.desired(held, begun)
	if !begun {
		c.warnKept(m, held, want)
	}
	index := rev.Index + 1
	part := cptoken.Part{
		Cluster: m.cluster, From: rev, To: federation.Revision{History: history, Index: index}, Last: true,
		Changes: held.changes(want, index),
	}
	if rev.IsZero() {
		part.Full, part.From = true, federation.Revision{}
	} else if len(part.Changes) == 0 {
		c.kumaHeld = want
		return want, nil
	}
	if err := c.cfg.Sink.Apply(ctx, part); err != nil {
		c.kumaHeld = nil // what is held is not known for sure
		return held, err
	}
	c.kumaHeld = want
	return want, nil
}

// warnKept tells what the first answers of a stream did not name and the zone
// keeps all the same.
func (c *Client) warnKept(m *kumaMirror, held, want *kumaHeld) {
	named := map[cptoken.Kind]bool{}
	for _, k := range m.keys {
		named[k.key.ID.Kind] = true
	}
	told := map[cptoken.Kind]bool{}
	for id := range held.keys {
		if want.keys[id] != nil && !named[id.Kind] && !told[id.Kind] {
			told[id.Kind] = true
			c.cfg.Logger.Warn("the global names no key of a kind that this zone has keys of; they stay in use", "kind", string(id.Kind))
		}
	}
	listed := map[kumaListID]bool{}
	for _, l := range m.lists {
		listed[l.id] = true
	}
	for id, ids := range held.lists {
		if !listed[id] && len(ids) > 0 {
			c.cfg.Logger.Warn("the global has no list of revoked tokens where this zone has one; they stay revoked",
				"list", kumaListName(id.kind, id.mesh), "revoked", len(ids))
		}
	}
}

// The other calls that a zone makes at a global of Kuma's.
var kumaAsks = []string{
	"/" + globalService + "/StreamXDSConfigs", "/" + globalService + "/StreamStats", "/" + globalService + "/StreamClusters",
}

const methodZoneToGlobal = "/" + syncService + "/ZoneToGlobalSync"

// serveKuma makes one of the other calls that a global of Kuma's expects of its
// zones, and answers what it asks there with nothing. A call that such a global does
// not have, or ends, is done without: nothing that the zone needs comes from there.
func (l *link) serveKuma(ctx context.Context, method string) {
	if err := l.answerKuma(ctx, method); ctx.Err() == nil {
		l.client.cfg.Logger.Info("a global of Kuma's ended a call that this zone does without", "method", method, "cause", err)
	}
}

func (l *link) answerKuma(ctx context.Context, method string) error {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	s, err := l.conn.NewStream(ctx, desc, method)
	if err != nil {
		return err
	}
	for {
		answer, err := l.kumaAnswer(s, method)
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		if err := s.SendMsg(answer); err != nil {
			return err
		}
	}
}

// detectAfter is how long a global of Meridian's may take to say that it is one,
// which it does as soon as it admits a zone. One of Kuma's says nothing before it
// is asked.
const detectAfter = 2 * time.Second

// kumaKindOf reads the kind of global off a position: what a zone holds tells whom
// it had before.
func kumaKindOf(rev federation.Revision) string {
	switch {
	case rev.IsZero():
		return ""
	case rev.History.Created == 1 && strings.Trim(rev.History.ID, "0123456789abcdef") == "":
		return KindKuma
	}
	return KindMeridian
}
