package client

import (
	"context"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/wire"
)

// ended returns why a stream ended on which sending failed: gRPC tells that to
// the receiver only.
func (l *link) ended(sendErr error) error {
	if err := l.stream.RecvMsg(&wire.Discard{}); err != nil {
		return err
	}
	return sendErr
}

// receive applies what the member sends, one response after the other.
func (l *link) receive(ctx context.Context) error {
	for {
		in := &wire.Answer{Limit: kds.MaxAnswer}
		if err := l.stream.RecvMsg(in); err != nil {
			return err
		}
		if in.Err != nil {
			return in.Err
		}
		resp := &in.Resp
		l.client.heard()
		if resp.GetTypeUrl() != kds.ChangesType {
			continue // nothing else was asked for
		}
		l.partial.Store(true)
		last, err := l.apply(ctx, resp)
		if ctx.Err() != nil {
			return ctx.Err() // the end of the client is no fault of the set
		}
		if err != nil {
			return l.refuse(resp.GetNonce(), err)
		}
		if last {
			taken, _ := l.client.cfg.Sink.Persisted()
			l.settler.add(flight{nonce: resp.GetNonce(), set: taken.Taken, taken: time.Now(), at: l.client.cfg.Now()})
		}
		l.partial.Store(!last)
	}
}

// apply hands one part to the Sink and reports whether it completed a set.
func (l *link) apply(ctx context.Context, resp *discovery.DeltaDiscoveryResponse) (last bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil {
		return false, nil // the zone takes this from the link that took over
	}
	sink := l.client.cfg.Sink
	p, err := wire.DecodePart(resp)
	if err != nil {
		return false, err
	}
	cluster, rev := sink.Taken()
	if err := l.set.next(p, cluster, rev); err != nil {
		return false, err
	}
	if isEmpty(p) {
		return true, nil // the answer of a member that has nothing new
	}
	return p.Last, sink.Take(ctx, p)
}

// refuse tells the global what was wrong with a set, and ends the connection:
// the next one resumes from what the zone holds.
func (l *link) refuse(nonce string, err error) error {
	nack := &discovery.DeltaDiscoveryRequest{
		TypeUrl:       kds.ChangesType,
		ResponseNonce: nonce,
		ErrorDetail:   &rpcstatus.Status{Code: int32(codes.Internal), Message: err.Error()},
	}
	// A member that does not end the stream must not hide why this side does.
	defer time.AfterFunc(l.client.cfg.AnswerTimeout, func() { l.cancel(err) }).Stop()
	if l.acks.refuse(nack) == nil {
		// Read until the member has seen that this side is done, so that the
		// refusal arrives before the connection goes.
		for l.stream.RecvMsg(&wire.Discard{}) == nil {
		}
	}
	return err
}

// Bounds of the health check's interval, whatever the answer says.
const (
	minHealthInterval = time.Second
	maxHealthInterval = time.Hour
	// firstHealth is how long the first one may wait.
	firstHealth = 10 * time.Second
)

// checkHealth calls HealthCheck within firstHealth, once more within the interval that
// the answer names, and from then on each interval. A member that does not answer is
// left. The first call says nothing that the stream does not say: zones that come all
// at once make it when they have their state, and the later ones not all at once again.
func (l *link) checkHealth(ctx context.Context) {
	select {
	case <-time.After(firstWait(l.client.random(), l.client.cfg.MaxSilence)):
	case <-ctx.Done():
		return
	}
	for first := true; ; first = false {
		asked := l.client.cfg.Now()
		interval, err := l.health(ctx)
		if status.Code(err) == codes.Unimplemented {
			return
		}
		if err != nil {
			l.cancel(err)
			return
		}
		l.client.heard()
		l.client.applied(l, asked)
		if first {
			interval = time.Duration(l.client.random() * float64(interval))
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// firstWait is how long the first call waits, for a random number below 1. Where
// nothing else is said on the stream it comes before the zone counts the global as
// silent.
func firstWait(random float64, maxSilence time.Duration) time.Duration {
	most := firstHealth
	if maxSilence > 0 {
		most = min(most, maxSilence/3)
	}
	return time.Duration(random * float64(most))
}

func (l *link) health(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, l.client.cfg.AnswerTimeout)
	defer cancel()
	var answer kdspb.ZoneHealthCheckResponse
	var header metadata.MD
	if err := l.conn.Invoke(ctx, kds.RPCHealthCheck, &kdspb.ZoneHealthCheckRequest{}, &answer, grpc.Header(&header)); err != nil {
		return 0, err
	}
	l.noteContact(header)
	interval := kds.DefaultHealthInterval
	if answer.GetInterval().IsValid() && answer.GetInterval().AsDuration() > 0 {
		interval = min(max(answer.GetInterval().AsDuration(), minHealthInterval), maxHealthInterval)
	}
	if most := l.client.cfg.MaxSilence / 3; most > 0 {
		interval = max(min(interval, most), minHealthInterval)
	}
	return interval, nil
}
