package kds

import (
	"context"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// Pings of a zone; the interval is the shortest that gRPC allows a client times
// three, and far above what the server tolerates.
const (
	pingEvery   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// streamWindow is what the global may send ahead of what the zone has read: room
// for two parts, or 20 MB a second over a path of 50 ms.
const streamWindow = 2 * MaxPart

// link is the connection to one member: what a Client has between two backoffs.
type link struct {
	client *Client
	conn   *grpc.ClientConn
	ctx    context.Context // of its calls, with their metadata
	cancel context.CancelCauseFunc
	md     metadata.MD // of its calls
	token  string      // what it showed
	stream grpc.ClientStream
	member string
	// cluster is the member's, "" where it did not say.
	cluster string
	set     setReader
	kuma    bool   // it is a global of Kuma's
	asked   uint64 // of ZoneToGlobalSync alone: how often it was asked

	mu   sync.Mutex // held while a part is applied
	next *link      // took over; nothing is applied from here any more
}

// connect dials a member, joins, and applies what it sends until the connection
// ends. The error says why it did. A token that is replaced meanwhile leads to
// another connection to the same member, and the first one goes.
func (c *Client) connect(ctx context.Context, address string) error {
	l, err := c.open(ctx, address)
	if err != nil {
		return err
	}
	if err := l.join(); err != nil {
		defer l.close()
		return causeOf(l.ctx, err)
	}
	if !l.kuma { // of Kuma's it is not certain yet what it is
		c.connected(address, l.member, KindMeridian)
		c.cfg.Logger.Info("connected to the global", "address", address, "member", l.member, "cluster", l.cluster)
	}
	defer c.use(nil)
	for l != nil && err == nil {
		c.use(l)
		l, err = l.hold(ctx, address)
	}
	return err
}

// open makes a link that has said nothing yet. The caller closes it.
func (c *Client) open(ctx context.Context, address string) (*link, error) {
	md, token, err := c.metadata()
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(address)
	if err != nil {
		return nil, err
	}
	l := &link{client: c, conn: conn, md: md, token: token}
	l.ctx, l.cancel = context.WithCancelCause(metadata.NewOutgoingContext(ctx, md))
	return l, nil
}

func (l *link) close() {
	l.cancel(nil)
	_ = l.conn.Close() // its calls are over
}

// hold applies what the member sends until the connection ends, which the error
// explains, or another link took over, which is returned.
func (l *link) hold(ctx context.Context, address string) (*link, error) {
	defer l.close()
	var beside sync.WaitGroup
	beside.Go(func() { l.checkHealth(l.ctx) })
	receive := l.receive
	if l.kuma {
		// The token is read anew at the next connect: such a global does not say whom it
		// admits before it is asked for everything.
		receive = func(ctx context.Context) error { return l.receiveKuma(ctx, address) }
		for _, method := range append([]string{methodZoneToGlobal}, kumaAsks...) {
			beside.Go(func() { l.serveKuma(l.ctx, method) })
		}
	} else {
		beside.Go(func() { l.followToken(ctx, address) })
	}
	err := causeOf(l.ctx, receive(l.ctx))
	l.cancel(nil)
	beside.Wait()
	if l.next != nil {
		return l.next, nil
	}
	return nil, err
}

// causeOf prefers what made this side give up over the "canceled" that gRPC
// makes of it.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (c *Client) dial(address string) (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if c.cfg.TLS != nil {
		security = credentials.NewTLS(c.cfg.TLS())
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: c.cfg.AnswerTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(MaxAnswer)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		// Of one size from the start: measuring the path, as gRPC does otherwise,
		// answers every change with a ping, which the member answers in turn.
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(2*streamWindow),
	)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "the address %.200q of the global: %w", address, err)
	}
	return conn, nil
}

// metadata is what every call of a connection carries, and the token in it.
func (c *Client) metadata() (metadata.MD, string, error) {
	md := metadata.Pairs(
		mdZone, c.cfg.Zone,
		mdKDSVersion, kdsVersion,
		mdVersion, c.cfg.Version,
		mdFeatures, featureHealth,
		mdFeatures, featureSuffix,
		mdFeatures, featureMeridian,
	)
	if c.cfg.Instance != "" {
		md.Set(mdInstance, c.cfg.Instance)
	}
	token, err := c.readToken()
	if token != "" {
		md.Set(mdAuthorization, "Bearer "+token)
	}
	return md, token, err
}

// readToken returns the token of now, "" where the zone presents none.
func (c *Client) readToken() (string, error) {
	if c.cfg.Token == nil {
		return "", nil
	}
	token, err := c.cfg.Token()
	if err != nil {
		return "", federation.Errorf(federation.Unavailable, "reading the control plane token: %w", err)
	}
	return strings.TrimSpace(token), nil
}

// join opens the stream, subscribes and waits for the global to admit the zone. A
// zone that has had a global of Meridian's subscribes at once; one that does not
// know waits a moment for the global to say that it is one, because one of Kuma's
// must not be asked for what it does not know.
func (l *link) join() error {
	defer l.deadline().Stop()
	if err := l.openStream(); err != nil {
		return err
	}
	if l.client.expected() == KindMeridian {
		if err := l.subscribe(); err != nil {
			return err
		}
		err := l.welcome()
		if err != nil {
			l.client.unmet() // the next attempt looks first
		}
		return err
	}
	patience := l.client.cfg.DetectAfter
	if l.client.expected() == KindKuma {
		patience = 0
	}
	said := make(chan struct{})
	go func() { // ends with the stream at the latest
		_, _ = l.stream.Header()
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(patience):
		if patience > 0 {
			l.client.cfg.Logger.Info("the global does not say that it is one of Meridian's: asking as zones of Kuma's do")
		}
		if err := l.subscribeKuma(); err != nil {
			return err
		}
		<-said
		l.kuma = true
	case <-l.ctx.Done():
		<-said
	}
	return l.greet()
}

// greet goes on once the global has answered, with what it turned out to be.
func (l *link) greet() error {
	asked := l.kuma
	header, err := l.stream.Header()
	if err != nil {
		return err
	}
	l.kuma = one(header, mdMember) == ""
	switch {
	case !l.kuma:
		// One of Meridian's; answers to what Kuma's would have been asked are dropped.
		if err := l.welcome(); err != nil {
			return err
		}
		if asked {
			if err := l.unsubscribeKuma(); err != nil {
				return err
			}
		}
		return l.subscribe()
	case !asked:
		return l.subscribeKuma()
	}
	return nil
}

// expected is the kind of global that the zone should meet: the one that it had, or
// that it holds the state of. "" where nothing tells.
func (c *Client) expected() string {
	c.mu.Lock()
	kind, unexpected := c.kind, c.unexpected
	c.mu.Unlock()
	if kind != "" || unexpected {
		return kind
	}
	_, rev := c.cfg.Sink.Position()
	return kumaKindOf(rev)
}

func (l *link) openStream() (err error) {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	l.stream, err = l.conn.NewStream(l.ctx, desc, methodGlobalToZone, grpc.MaxCallRecvMsgSize(MaxKumaAnswer))
	return err
}

// subscribe asks for changes from where the zone stands. With this the session
// begins, and that of an earlier connection of this instance ends.
func (l *link) subscribe() error {
	cluster, rev := l.client.cfg.Sink.Position()
	first := &discovery.DeltaDiscoveryRequest{
		Node:                   &core.Node{Id: l.client.cfg.Zone},
		TypeUrl:                ChangesType,
		ResourceNamesSubscribe: []string{"*"},
	}
	if cluster != "" && !rev.IsZero() {
		first.InitialResourceVersions = map[string]string{resourceName: resumeVersion(cluster, rev)}
	}
	if err := l.stream.SendMsg(first); err != nil {
		return l.ended(err)
	}
	return nil
}

// welcome waits until the member admits the zone, and sees who it is.
func (l *link) welcome() error {
	header, err := l.stream.Header()
	if err != nil {
		return err
	}
	l.member, l.cluster = one(header, mdMember), one(header, mdCluster)
	if l.member == "" {
		// A stream that failed before its header has no header either.
		if err := l.stream.RecvMsg(&discard{}); err != nil {
			return err
		}
		return federation.Errorf(federation.Invalid, "what answers there is not a Meridian global").
			WithHint("--global-address takes the KDS port of a Meridian global, 5685 unless told otherwise")
	}
	if cluster, _ := l.client.cfg.Sink.Position(); cluster != "" && l.cluster != "" && cluster != l.cluster {
		return otherCluster(cluster, l.cluster)
	}
	return nil
}

// deadline ends the connection unless the timer is stopped in time.
func (l *link) deadline() *time.Timer {
	d := l.client.cfg.AnswerTimeout
	return time.AfterFunc(d, func() { l.cancel(federation.Errorf(federation.Unavailable, "no answer within %v", d)) })
}

func one(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) == 1 {
		return printable(v[0])
	}
	return ""
}

func otherCluster(mine, theirs string) error {
	return federation.Errorf(federation.Conflict, "this zone holds the state of cluster %.64q, the global is cluster %.64q", mine, theirs).
		WithReason(reasonOtherCluster).WithHint("%s", hintFor(reasonOtherCluster))
}

// ended returns why a stream ended on which sending failed: gRPC tells that to
// the receiver only.
func (l *link) ended(sendErr error) error {
	if err := l.stream.RecvMsg(&discard{}); err != nil {
		return err
	}
	return sendErr
}

// receive applies what the member sends, one response after the other.
func (l *link) receive(ctx context.Context) error {
	for {
		in := &answer{limit: MaxAnswer}
		if err := l.stream.RecvMsg(in); err != nil {
			return err
		}
		if in.err != nil {
			return in.err
		}
		resp := &in.resp
		l.client.heard(l.member)
		if resp.GetTypeUrl() != ChangesType {
			continue // nothing else was asked for
		}
		last, err := l.apply(ctx, resp)
		if ctx.Err() != nil {
			return ctx.Err() // the end of the client is no fault of the set
		}
		if err != nil {
			return l.refuse(resp.GetNonce(), err)
		}
		if !last {
			continue
		}
		if err := l.acknowledge(resp.GetNonce()); err != nil {
			return err
		}
		l.client.current()
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
	p, err := decodePart(resp)
	if err != nil {
		return false, err
	}
	cluster, rev := sink.Position()
	if err := l.set.next(p, cluster, rev); err != nil {
		return false, err
	}
	if isEmpty(p) {
		return true, nil // the answer of a member that has nothing new
	}
	return p.Last, sink.Apply(ctx, p)
}

// refuse tells the global what was wrong with a set, and ends the connection:
// the next one resumes from what the zone holds.
func (l *link) refuse(nonce string, err error) error {
	nack := &discovery.DeltaDiscoveryRequest{
		TypeUrl:       ChangesType,
		ResponseNonce: nonce,
		ErrorDetail:   &rpcstatus.Status{Code: int32(codes.Internal), Message: err.Error()},
	}
	defer l.deadline().Stop()
	if l.stream.SendMsg(nack) == nil && l.stream.CloseSend() == nil {
		// Read until the member has seen that this side is done, so that the
		// refusal arrives before the connection goes.
		for l.stream.RecvMsg(&discard{}) == nil {
		}
	}
	return err
}

func (l *link) acknowledge(nonce string) error {
	ack := &discovery.DeltaDiscoveryRequest{TypeUrl: ChangesType, ResponseNonce: nonce}
	if err := l.stream.SendMsg(ack); err != nil {
		return l.ended(err)
	}
	return nil
}

// Bounds of the health check's interval, whatever the answer says.
const (
	minHealthInterval = time.Second
	maxHealthInterval = time.Hour
	// firstHealth is how long the first one may wait.
	firstHealth = 10 * time.Second
)

// checkHealth calls HealthCheck within firstHealth and then as often as the answers
// say. A member that does not answer is left. The first call says nothing that the
// stream does not say: zones that come all at once make it when they have their
// state, and not all at once again.
func (l *link) checkHealth(ctx context.Context) {
	select {
	case <-time.After(time.Duration(l.client.random() * float64(firstHealth))):
	case <-ctx.Done():
		return
	}
	for {
		interval, err := l.health(ctx)
		if status.Code(err) == codes.Unimplemented {
			return
		}
		if err != nil {
			l.cancel(err)
			return
		}
		l.client.heard(l.member)
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) health(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, l.client.cfg.AnswerTimeout)
	defer cancel()
	var answer kdspb.ZoneHealthCheckResponse
	if err := l.conn.Invoke(ctx, methodHealthCheck, &kdspb.ZoneHealthCheckRequest{}, &answer); err != nil {
		return 0, err
	}
	interval := DefaultHealthInterval
	if answer.GetInterval().IsValid() && answer.GetInterval().AsDuration() > 0 {
		interval = min(max(answer.GetInterval().AsDuration(), minHealthInterval), maxHealthInterval)
	}
	return interval, nil
}
