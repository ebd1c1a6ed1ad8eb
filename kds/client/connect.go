package client

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/wire"
)

// pingTimeout is how long the answer to a ping may take.
const pingTimeout = 15 * time.Second

// streamWindow is what the global may send ahead of what the zone has read: room
// for two parts, or 20 MB a second over a path of 50 ms.
const streamWindow = 2 * kds.MaxPart

// link is the connection to one member: what a Client has between two backoffs.
type link struct {
	client *Client
	conn   *grpc.ClientConn
	ctx    context.Context // of its calls, with their metadata
	cancel context.CancelCauseFunc
	md     metadata.MD // of its calls
	token  string      // what it showed
	trusts string      // what it said that the zone trusts
	over   func()      // what TLS wants to be told at the end
	stream grpc.ClientStream
	member string
	// cluster is the member's, "" where it did not say.
	cluster string
	set     setReader
	acks    *acks // nil until the stream is held
	settler settler
	kuma    bool   // it is a global of Kuma's
	asked   uint64 // of ZoneToGlobalSync alone: how often it was asked
	// partial says that a set has begun to come and is not taken, begun that one is
	// durable: see caughtUp.
	partial, begun atomic.Bool
	// said is how often something is said on the stream; 0: only what there is to say.
	said time.Duration
	// contact is how long ago the member had heard the leader when it last said so.
	contact atomic.Int64

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
	defer c.use(nil)
	c.use(l)     // before Status says that the zone is connected
	if !l.kuma { // of Kuma's it is not certain yet what it is
		c.connected(address, l.member, kds.KindMeridian)
		c.cfg.Logger.Info("connected to the global", "address", address, "member", l.member, "cluster", l.cluster)
	}
	for l != nil && err == nil {
		c.use(l)
		l, err = l.hold(ctx, address)
	}
	return err
}

// open makes a link that has said nothing yet. The caller closes it.
func (c *Client) open(ctx context.Context, address string) (*link, error) {
	trusts := c.trusts()
	md, token, err := c.metadata(trusts)
	if err != nil {
		return nil, err
	}
	l := &link{client: c, md: md, token: token, trusts: trusts, settler: settler{added: make(chan struct{}, 1)}}
	l.ctx, l.cancel = context.WithCancelCause(metadata.NewOutgoingContext(ctx, md))
	if l.conn, l.over, err = c.dial(address, l.cancel); err != nil {
		l.cancel(nil)
		return nil, err
	}
	return l, nil
}

// trusts names the CAs of this moment; "" where the client does not say.
func (c *Client) trusts() string {
	if c.cfg.Trusts == nil {
		return ""
	}
	return c.cfg.Trusts()
}

func (l *link) close() {
	l.cancel(nil)
	_ = l.conn.Close() // its calls are over
	l.over()
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
		beside.Go(func() { l.awaitDisk(l.ctx) })
		for _, method := range append([]string{kds.RPCZoneToGlobal}, kds.KumaAdminRPCs[:]...) {
			beside.Go(func() { l.serveKuma(l.ctx, method) })
		}
	} else {
		beside.Go(func() { l.follow(ctx, address) })
		l.acks = newAcks(l.stream, l.client.cfg.AckAfter, l.client.notHeld)
		beside.Go(func() { l.acks.run(l.ctx) })
		beside.Go(func() { l.settle(l.ctx) })
		if l.said > 0 {
			beside.Go(func() { l.keepAlive(l.ctx) })
		}
		if l.client.cfg.KeySets != nil {
			beside.Go(func() { l.reportKeySets(l.ctx, l.client.cfg.KeySets) })
		}
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

func (c *Client) dial(address string, end func(error)) (conn *grpc.ClientConn, over func(), err error) {
	security, over := insecure.NewCredentials(), func() {}
	if c.cfg.TLS != nil {
		config, done := c.cfg.TLS(end)
		security, over = credentials.NewTLS(config), done
	}
	conn, err = grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: c.cfg.AnswerTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: c.cfg.Keepalive.Pings(), Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec{}), grpc.MaxCallRecvMsgSize(kds.MaxAnswer)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		// Of one size from the start: measuring the path, as gRPC does otherwise,
		// answers every change with a ping, which the member answers in turn.
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(2*streamWindow),
	)
	if err != nil {
		over()
		return nil, nil, federation.Errorf(federation.Invalid, "the address %.200q of the global: %w", address, err)
	}
	return conn, over, nil
}

// metadata is what every call of a connection carries, and the token in it.
func (c *Client) metadata(trusts string) (metadata.MD, string, error) {
	md := metadata.Pairs(
		kds.MDZone, c.cfg.Zone,
		kds.MDKDSVersion, kds.KDSVersion,
		kds.MDVersion, c.cfg.Version,
		kds.MDFeatures, kds.FeatureHealth,
		kds.MDFeatures, kds.FeatureSuffix,
		kds.MDFeatures, kds.FeatureMeridian,
	)
	md.Set(kds.MDVocabulary, strconv.Itoa(cptoken.Vocabulary))
	if c.cfg.Instance != "" {
		md.Set(kds.MDInstance, c.cfg.Instance)
	}
	md.Set(kds.MDConnection, strconv.FormatUint(c.connections.Add(1), 10))
	if trusts != "" {
		md.Set(kds.MDTrusts, trusts)
	}
	if c.cfg.Sink != nil {
		if proof := c.cfg.Sink.Proof(); len(proof) > 0 {
			md.Set(kds.MDPosition, base64.StdEncoding.EncodeToString(proof))
		}
	}
	token, err := c.readToken()
	if token != "" {
		md.Set(kds.MDAuthorization, "Bearer "+token)
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
