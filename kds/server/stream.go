package server

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// stream is one GlobalToZoneSync stream. Its handler owns everything here and is
// the only one that sends; a second goroutine receives. Whoever wants the stream
// to end kicks its call; where that does not get through because the zone does
// not read, closing the connection does.
type stream struct {
	srv  *Server
	ss   grpc.ServerStream
	call *call

	session *session // nil until the first request
	other   subscriptions
	feed    feed
	kuma    kumaFeeds

	opened   time.Time
	watchdog *time.Timer
	slow     atomic.Bool
}

// globalToZone serves one GlobalToZoneSync stream until it ends.
func (s *Server) globalToZone(ss grpc.ServerStream) error {
	c, err := callOf(ss.Context())
	if err != nil {
		return wire.StatusOf(err)
	}
	st := &stream{srv: s, ss: ss, call: c, opened: time.Now(), other: subscriptions{limits: &s.limits}}
	requests := make(chan *wire.Request)
	ended := make(chan error, 1)
	s.receivers.Go(func() { ended <- receive(ss, &s.limits, requests) })
	err = st.run(ss.Context(), requests, ended)
	st.end(err)
	return err
}

// receive hands on requests until the stream ends.
func receive(ss grpc.ServerStream, limits *kds.Limits, requests chan<- *wire.Request) error {
	for first := true; ; first = false {
		r := wire.NewRequest(limits, first)
		if err := ss.RecvMsg(r); err != nil {
			return err
		}
		select {
		case requests <- r:
		case <-ss.Context().Done():
			return ss.Context().Err()
		}
	}
}

// run is the stream's only loop. It returns a status for the zone, or nil where
// the zone hung up.
func (st *stream) run(ctx context.Context, requests <-chan *wire.Request, ended <-chan error) error {
	timer := time.NewTimer(st.untilDeadline())
	defer timer.Stop()
	for {
		changed, err := st.push(ctx)
		if err != nil {
			return st.fail(err)
		}
		kumaChanged, err := st.pushKuma()
		if err != nil {
			return st.fail(err)
		}
		timer.Reset(st.untilDeadline())
		select {
		case r := <-requests:
			err = st.handle(r)
		case <-changed:
		case <-kumaChanged:
		case <-timer.C:
			err = st.overdue()
		case <-st.call.kicked:
			return wire.StatusOf(st.call.cause)
		case err := <-ended:
			return endOf(err)
		case <-ctx.Done():
			return endOf(ctx.Err())
		}
		if err != nil {
			return st.fail(err)
		}
	}
}

// idleCheck is when the loop wakes with nothing to wait for, expiryCheck where a
// credential expires: it does by the wall clock, which may be set meanwhile.
const (
	idleCheck   = time.Hour
	expiryCheck = time.Minute
)

// untilDeadline returns how long until something is overdue.
func (st *stream) untilDeadline() time.Duration {
	wait := idleCheck
	if !st.call.admission.Expires.IsZero() {
		wait = expiryCheck
	}
	if at, _ := st.deadline(); !at.IsZero() {
		wait = max(min(wait, clock.Left(at, time.Now())), 0)
	}
	for _, at := range [...]time.Time{st.kuma.again, st.feed.again} {
		if !at.IsZero() {
			wait = max(min(wait, clock.Left(at, time.Now())), 0)
		}
	}
	return wait
}

// deadline returns what is due first, and how to say that it was not met: the loop
// asks after every message, and nearly always only for the time.
func (st *stream) deadline() (at time.Time, late func() *federation.Error) {
	due := func(t time.Time, err func() *federation.Error) {
		if at.IsZero() || clock.Earlier(t, at) {
			at, late = t, err
		}
	}
	if st.session == nil {
		due(st.opened.Add(st.srv.limits.FirstRequest), st.silent)
	}
	if len(st.feed.inflight) > 0 {
		due(st.feed.inflight[0].sent.Add(st.srv.limits.Ack), st.unacknowledged)
	}
	if e := st.call.admission.Expires; !e.IsZero() {
		due(time.Now().Add(clock.Left(e, st.srv.cfg.Now())), st.expired)
	}
	return at, late
}

func (st *stream) silent() *federation.Error {
	return federation.Errorf(federation.Unavailable, "no request within %v", st.srv.limits.FirstRequest)
}

func (st *stream) unacknowledged() *federation.Error {
	return federation.Errorf(federation.Unavailable, "revision %s was not acknowledged within %v",
		st.feed.inflight[0].to, st.srv.limits.Ack).WithReason(kds.ReasonSlow)
}

func (st *stream) expired() *federation.Error {
	return federation.Errorf(federation.Unauthenticated, "the credential of the session expired").WithReason(string(cptoken.Expired))
}

// overdue returns the error of the deadline that passed, if one did.
func (st *stream) overdue() error {
	at, why := st.deadline()
	if !clock.Ended(at, time.Now()) {
		return nil
	}
	late := why()
	switch late.Reason {
	case kds.ReasonSlow:
		st.srv.stats.slow.Add(1)
	case string(cptoken.Expired):
		// The zone's other calls showed the same credential, also one that is being
		// admitted now.
		st.srv.epoch.Add(1)
		n := st.srv.registry.kick(st.call.creds.Zone, late, func(c *call) bool { return c.conn == st.call.conn && c != st.call })
		st.srv.cut(st.call, late, n+1)
		return wire.StatusOf(late)
	}
	return late
}

// handle acts on one request.
func (st *stream) handle(r *wire.Request) error {
	if r.Err != nil {
		return r.Err
	}
	if err := st.checkNode(r); err != nil {
		return err
	}
	if st.session == nil {
		if err := st.begin(r); err != nil {
			return err
		}
	}
	st.session.heard(st.srv.cfg.Now())
	if r.TypeURL == kds.KeepaliveType {
		return st.send(&discovery.DeltaDiscoveryResponse{TypeUrl: kds.KeepaliveType})
	}
	if r.TypeURL == kds.KeySetsType {
		if st.session.keySets(kds.JoinKeySets(r.KeySets, r.LiveKeys)) {
			st.srv.registry.touch()
		}
		return nil
	}
	first, err := st.other.note(r)
	if err != nil {
		return err
	}
	if r.TypeURL == kds.ChangesType {
		return st.handleChanges(r, first)
	}
	if st.srv.kuma.Serves(r.TypeURL) {
		st.handleKuma(r, first)
		return nil
	}
	return st.handleOther(r, first)
}

// checkNode holds node.id against the zone that authenticated. The first request
// must have it.
func (st *stream) checkNode(r *wire.Request) error {
	zone := st.call.creds.Zone
	if r.NodeID == zone || st.session != nil && r.NodeID == "" {
		return nil
	}
	return federation.Errorf(federation.Forbidden, "node.id is %.80q, %s is %s", r.NodeID, kds.MDZone, zone).WithReason(kds.ReasonNodeID)
}

// begin opens the session, now that the instance is known, and tells those that
// it displaces.
func (st *stream) begin(r *wire.Request) error {
	instance := st.call.creds.Instance
	if instance == "" {
		instance = wire.Printable(r.Instance)
	}
	s := newSession(st.call, instance, st.srv.cfg.Member, st.srv.cfg.Now())
	if v := wire.Printable(r.Version); v != "" && v != "unknown" && !st.call.creds.Meridian {
		s.view.Version = v // nobody else knows the session yet
	}
	if s.view.Store = r.Store; st.call.creds.Meridian {
		s.view.Store = kuma.StoreFile
	}
	displaced, err := st.srv.registry.begin(s)
	for _, old := range displaced {
		st.srv.displace(old, s)
	}
	if err != nil {
		return err
	}
	st.session = s
	if st.call.conn != nil {
		st.call.conn.add(s)
	}
	return nil
}

// send sends one message, and hangs up on a zone that does not drain.
func (st *stream) send(m any) error {
	limit := st.srv.limits.Send
	if st.watchdog == nil {
		st.watchdog = time.AfterFunc(limit, func() {
			st.slow.Store(true)
			st.call.hangUp()
		})
	} else {
		st.watchdog.Reset(limit)
	}
	err := st.ss.SendMsg(m)
	st.watchdog.Stop()
	if err != nil && st.slow.Load() {
		st.srv.stats.slow.Add(1)
		return federation.Errorf(federation.Unavailable, "the zone did not drain within %v", limit).WithReason(kds.ReasonSlow)
	}
	return err
}

// fail turns an error into the handler's result.
func (st *stream) fail(err error) error {
	if _, ok := status.FromError(err); ok {
		return err // gRPC's own, from sending
	}
	switch federation.CodeOf(err) {
	case federation.Unauthenticated, federation.Forbidden:
		st.srv.refuse(st.call, err)
	case federation.Internal:
		st.srv.cfg.Logger.Error("serving a zone failed", "zone", st.call.creds.Zone, "err", err)
	}
	return wire.StatusOf(err)
}

// end closes the session.
func (st *stream) end(err error) {
	if len(st.kuma.feeds) > 0 {
		st.srv.kuma.Leave()
	}
	if st.session == nil {
		return
	}
	if st.call.conn != nil {
		st.call.conn.remove(st.session)
	}
	st.srv.registry.end(st.session, st.srv.cfg.Now())
	v := st.session.snapshot()
	attrs := []any{"zone", v.Zone, "instance", v.Instance, "remote", v.Remote, "acknowledged", v.Acked.String()}
	if err != nil {
		attrs = append(attrs, "cause", status.Convert(err).Message())
	}
	st.srv.cfg.Logger.Info("Remote CP disconnected", attrs...)
}

// endOf turns the end of a stream that its peer brought about into the handler's
// result.
func endOf(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}
