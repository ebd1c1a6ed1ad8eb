package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// subscribeKuma asks for what a zone needs of a global of Kuma's, in the form in
// which Kuma's own zones ask.
func (l *link) subscribeKuma() error {
	cfg := &l.client.cfg
	metadata, err := structpb.NewStruct(map[string]any{
		"config": kuma.StoreConfig(kuma.StoreFile), "control-plane-id": cfg.Instance, "features": []any{"zone-token", kds.FeatureSuffix},
		"version": map[string]any{"kumaCp": map[string]any{
			"version": cfg.Version, "gitTag": "unknown", "gitCommit": "unknown", "buildDate": "unknown",
		}},
	})
	if err != nil {
		return federation.Errorf(federation.Internal, "describing this zone: %w", err)
	}
	for _, typ := range kuma.Types {
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
	for _, typ := range kuma.Types {
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
// durable before it is acknowledged. One that the zone cannot write is in force all the
// same, and refused without an end of the stream: what comes next must not wait.
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
	mirror, begun := kuma.NewMirror(), false
	for {
		in := &wire.Answer{Limit: kds.MaxKumaAnswer, Wipe: true}
		if err := l.stream.RecvMsg(in); err != nil {
			return err
		}
		if in.Err != nil {
			return in.Err
		}
		l.client.heard()
		typ, nonce := in.Resp.GetTypeUrl(), in.Resp.GetNonce()
		if !slices.Contains(kuma.Types[:], typ) {
			continue // nothing else was asked for
		}
		err := mirror.Take(&in.Resp)
		for _, why := range mirror.Skipped {
			l.client.cfg.Logger.Warn("a secret of the global is left out", "cause", why)
		}
		if err == nil {
			err = l.client.sameCluster(mirror.Cluster)
		}
		if err == nil && mirror.Complete() {
			held, err = l.client.followKuma(ctx, mirror, held, begun)
			if l.begun.Store(err == nil); err == nil {
				l.client.applied(l, l.client.cfg.Now())
			}
			if (err == nil || errors.Is(err, errUnwritten)) && !begun {
				begun = begins.Stop()
				l.client.connected(address, "", kds.KindKuma)
				l.client.cfg.Logger.Info("connected to a global of Kuma's", "address", address, "cluster", mirror.Cluster)
			}
			if err == nil {
				l.client.current()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err() // the end of the client is no fault of the answer
		}
		ack := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: l.client.cfg.Zone}, TypeUrl: typ, ResponseNonce: nonce}
		switch {
		case errors.Is(err, errUnwritten):
			ack.ErrorDetail = &rpcstatus.Status{Code: int32(codes.Unavailable), Message: err.Error()}
		case err != nil:
			begins.Stop()
			return l.refuseKuma(typ, nonce, err)
		}
		if err := l.stream.SendMsg(ack); err != nil {
			return l.ended(err)
		}
	}
}

// sameCluster refuses a global of Kuma's that is of another cluster than the zone's
// copy, as soon as it says so. "" is one that has not said it yet.
func (c *Client) sameCluster(cluster string) error {
	mine, _ := c.cfg.Sink.Position()
	if mine == "" || cluster == "" || mine == cluster {
		return nil
	}
	return wire.OtherCluster(mine, cluster)
}

// kumaParting is how long a refusal may take to reach a global of Kuma's, which never
// ends a call that its zone has ended.
const kumaParting = 250 * time.Millisecond

// refuseKuma tells the global what was wrong and ends the connection. The next one
// begins from nothing, as every one does.
func (l *link) refuseKuma(typ, nonce string, err error) error {
	defer time.AfterFunc(kumaParting, func() { l.cancel(err) }).Stop()
	nack := &discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: l.client.cfg.Zone}, TypeUrl: typ, ResponseNonce: nonce,
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.Internal), Message: err.Error()},
	}
	if l.stream.SendMsg(nack) == nil && l.stream.CloseSend() == nil {
		for l.stream.RecvMsg(&wire.Discard{}) == nil {
		}
	}
	return err
}

// heldOfKuma returns what the zone holds: what this client knows from the stream
// before, or else what the Sink tells.
func (c *Client) heldOfKuma() (*kuma.Held, error) {
	held := kuma.NewHeld()
	holder, ok := c.cfg.Sink.(kds.Holder)
	if _, rev := c.cfg.Sink.Position(); rev.IsZero() || !ok && c.kumaHeld == nil {
		return held, nil
	}
	if c.kumaHeld != nil {
		return c.kumaHeld, nil
	}
	err := holder.Held(held.AddKey, held.AddRevoked)
	return held, err
}

// followKuma brings the zone's copy to what the global told, and returns what it
// holds then.
func (c *Client) followKuma(ctx context.Context, m *kuma.Mirror, held *kuma.Held, begun bool) (*kuma.Held, error) {
	// From where the zone was taken to, also where that is not durable: a set to the same
	// index would be taken for the one before.
	cluster, rev := c.cfg.Sink.Taken()
	history := kuma.History(m.Cluster)
	switch {
	case cluster != "" && cluster != m.Cluster:
		return held, wire.OtherCluster(cluster, m.Cluster)
	case !rev.IsZero() && rev.History != history:
		return held, federation.Errorf(federation.Conflict, "this zone holds what a global of Meridian's sent, and the global answers as one of Kuma's does").
			WithHint("something between the two takes the headers of the global's answers away: let it pass gRPC unchanged")
	}
	if rev.IsZero() {
		held = kuma.NewHeld() // also where a damaged copy was begun anew meanwhile
	}
	want := m.Desired(held, begun)
	if !begun {
		c.warnKept(m, held, want)
	}
	index := rev.Index + 1
	part := cptoken.Part{
		Cluster: m.Cluster, From: rev, To: federation.Revision{History: history, Index: index}, Last: true,
		Changes: held.Changes(want, index),
	}
	if rev.IsZero() {
		part.Full, part.From = true, federation.Revision{}
	} else if len(part.Changes) == 0 {
		c.kumaHeld = want
		return want, nil
	}
	if err := c.takeKuma(ctx, part); err != nil {
		c.kumaHeld = nil // what is durable is not known for sure
		if errors.Is(err, errUnwritten) {
			return want, err
		}
		return held, err
	}
	c.kumaHeld = want
	return want, nil
}

// errUnwritten is the error of a set that was taken and cannot be made durable.
var errUnwritten = errors.New("it is in force, and the zone cannot write it")

// takeKuma has the Sink take a set, and waits until that very set is durable.
func (c *Client) takeKuma(ctx context.Context, p cptoken.Part) error {
	before, _ := c.cfg.Sink.Persisted()
	if err := c.cfg.Sink.Take(ctx, p); err != nil {
		return err
	}
	taken, _ := c.cfg.Sink.Persisted()
	for {
		now, changed := c.cfg.Sink.Persisted()
		switch {
		case now.Lost != before.Lost:
			return errSendAgain
		case now.Durable >= taken.Taken:
			return nil
		case now.Err != nil:
			return fmt.Errorf("%w: %w", errUnwritten, now.Err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitDisk ends a link whose zone could not write, once it can: the next one is sent
// everything, and acknowledges it.
func (l *link) awaitDisk(ctx context.Context) {
	begun, _ := l.client.cfg.Sink.Persisted()
	for bad := false; ; {
		now, changed := l.client.cfg.Sink.Persisted()
		bad = bad || now.Err != nil || now.Lost != begun.Lost
		if bad && now.Err == nil && now.Durable == now.Taken {
			l.cancel(errSendAgain)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// warnKept tells what the first answers of a stream did not name and the zone
// keeps all the same.
func (c *Client) warnKept(m *kuma.Mirror, held, want *kuma.Held) {
	kinds, lists := m.Kept(held, want)
	for _, kind := range kinds {
		c.cfg.Logger.Warn("the global names no key of a kind that this zone has keys of; they stay in use", "kind", string(kind))
	}
	for list, n := range lists {
		c.cfg.Logger.Warn("the global has no list of revoked tokens where this zone has one; they stay revoked", "list", list, "revoked", n)
	}
}

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
