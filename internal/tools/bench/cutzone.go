package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// sessionCutZone opens the ADS streams of many proxies at a real zone, each with a
// dataplane token of its own, revokes the tokens one by one at the global, and
// measures from the moment the revoke has returned until the proxy's stream has
// ended. It must end because the token is revoked, and no other one may.
func sessionCutZone(ctx context.Context, s *scope) error {
	cuts, stay := s.pick(100, 5), s.pick(10, 3)
	c, z, _, err := s.startAccepting(ctx)
	if err != nil {
		return err
	}
	all, err := c.openProxies(ctx, z, cuts+stay)
	if err != nil {
		return z.failure(err)
	}
	var took, fromCall []time.Duration
	for i, p := range all[:cuts] {
		asked := time.Now()
		if _, err := c.members[0].api.Revoke(ctx, apitypes.RevokeRequest{Kind: "dataplane-token", Mesh: proxyMesh, Token: p.token, Reason: agent}); err != nil {
			return c.members[0].failure(err)
		}
		returned := time.Now()
		if err := p.wait(ctx); err != nil {
			return z.failure(fmt.Errorf("proxy %d: %w", i, err))
		}
		// The zone may have been told before the answer is here.
		took, fromCall = append(took, max(0, p.ended.Sub(returned))), append(fromCall, p.ended.Sub(asked))
		for other, q := range all[i+1:] {
			if q.over() {
				return z.failure(fmt.Errorf("the stream of proxy %d ended with that of proxy %d: %w", i+1+other, i, q.err))
			}
		}
	}
	for i, p := range all[cuts:] { // they are served, not only open
		if err := p.answers(ctx, listenerURL); err != nil {
			return z.failure(fmt.Errorf("proxy %d, whose token stands: %w", cuts+i, err))
		}
	}
	again := newProxy(ctx, 0, all[0].token)
	if err := again.open(all[0].conn); err != nil {
		return err
	}
	if err := again.ask(clusterURL); err != nil {
		return err
	}
	if err := again.wait(ctx); err != nil {
		return z.failure(fmt.Errorf("a proxy that comes back with a revoked token: %w", err))
	}
	return s.report.add(
		measured("session-cut/zone", ms(percentile(took, 99)), "ms"),
		measured("session-cut/zone/p50", ms(median(took)), "ms"),
		measured("session-cut/zone/from-call", ms(percentile(fromCall, 99)), "ms"),
	)
}

const (
	proxyMesh   = "default"
	clusterURL  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	listenerURL = "type.googleapis.com/envoy.config.listener.v3.Listener"
)

// proxy is one proxy's stream. Everything in it ends with its context.
type proxy struct {
	number int
	token  string
	conn   *grpc.ClientConn
	ads    discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	ctx    context.Context
	got    chan *discovery.DiscoveryResponse

	done  chan struct{}
	ended time.Time // err and it are to be read after done
	err   error
}

func newProxy(ctx context.Context, number int, token string) *proxy {
	return &proxy{number: number, token: token, ctx: ctx, got: make(chan *discovery.DiscoveryResponse, 16), done: make(chan struct{})}
}

// openProxies connects n proxies to a zone and waits until each is answered.
func (c *cluster) openProxies(ctx context.Context, z *zone, n int) ([]*proxy, error) {
	ends, err := endpoints.Read(z.dir)
	if err != nil {
		return nil, err
	}
	pool, err := tlsutil.LoadPool(ends.CAFile)
	if err != nil {
		return nil, err
	}
	streams, cancel := context.WithCancel(context.Background())
	var all []*proxy
	c.onClose(func() {
		cancel()
		for _, p := range all {
			<-p.done
			_ = p.conn.Close()
		}
	})
	for i := range n {
		issued, err := c.members[0].api.DataplaneToken(ctx, apitypes.DataplaneTokenRequest{Mesh: proxyMesh, Name: proxyName(i)})
		if err != nil {
			return nil, err
		}
		conn, err := grpc.NewClient("passthrough:///"+ends.DP, grpc.WithTransportCredentials(credentials.NewTLS(tlsutil.Client(pool))))
		if err != nil {
			return nil, err
		}
		p := newProxy(streams, i, issued.Token)
		if err := p.open(conn); err != nil {
			_ = conn.Close()
			return nil, err
		}
		all = append(all, p)
		if err := p.answers(ctx, clusterURL); err != nil {
			return nil, fmt.Errorf("proxy %d: %w", i, err)
		}
	}
	return all, nil
}

func proxyName(i int) string { return fmt.Sprintf("backend-%d", i) }

// open begins the stream over a connection.
func (p *proxy) open(conn *grpc.ClientConn) (err error) {
	p.conn = conn
	p.ads, err = discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(metadata.AppendToOutgoingContext(p.ctx, "authorization", p.token))
	if err != nil {
		return err
	}
	go p.receive()
	return nil
}

// receive takes what the zone sends until the stream ends, which the stream's
// context sees to.
func (p *proxy) receive() {
	defer close(p.done)
	for {
		m, err := p.ads.Recv()
		if err != nil {
			p.ended, p.err = time.Now(), err
			return
		}
		select {
		case p.got <- m:
		default: // nobody asked
		}
	}
}

func (p *proxy) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ask asks for a type of resources. Why it failed is for the stream's end to tell.
func (p *proxy) ask(url string) error {
	node, err := p.node()
	if err == nil {
		_ = p.ads.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: url})
	}
	return err
}

// answers asks for a type that the proxy has not asked for, waits for the answer, and
// acknowledges it: listeners come after the clusters that they may refer to are acknowledged.
func (p *proxy) answers(ctx context.Context, url string) error {
	if err := p.ask(url); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case m := <-p.got:
			_ = p.ads.Send(&discovery.DiscoveryRequest{TypeUrl: m.GetTypeUrl(), VersionInfo: m.GetVersionInfo(), ResponseNonce: m.GetNonce()})
			if m.GetTypeUrl() == url {
				return nil
			}
		case <-p.done:
			return fmt.Errorf("the stream ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for an answer: %w", context.Cause(ctx))
		}
	}
}

// node is who the proxy says it is, as its bootstrap would have it.
func (p *proxy) node() (*core.Node, error) {
	resource := fmt.Sprintf(`{"type":"Dataplane","mesh":%q,"name":%q,"networking":{"address":"127.0.0.1","inbound":[{"port":8080,"servicePort":8081,"tags":{"kuma.io/service":"backend"}}]}}`,
		proxyMesh, proxyName(p.number))
	fields, err := structpb.NewStruct(map[string]any{"dataplane.proxyType": "dataplane", "dataplane.resource": resource})
	return &core.Node{Id: proxyMesh + "." + proxyName(p.number), Cluster: "backend", Metadata: fields}, err
}

// wait waits until the stream has ended, and checks why it did.
func (p *proxy) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("waited in vain for its stream to end: %w", context.Cause(ctx))
	}
	s := status.Convert(p.err)
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && s.Code() == codes.Unauthenticated && strings.EqualFold(info.GetReason(), "revoked") {
			return nil
		}
	}
	return fmt.Errorf("its stream did not end because the token is revoked: %w", p.err)
}
