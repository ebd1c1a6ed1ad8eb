package cluster

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	zonenode "github.com/meridiankds/meridian/internal/zone/node"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// kumaGlobal stands in for a global of Kuma's that answers each subscription once,
// with what it has of the type.
type kumaGlobal struct {
	t     *testing.T
	key   *rsa.PrivateKey
	state map[string][]*discovery.Resource
	addr  string
	stop  func()
}

func startKumaGlobal(t *testing.T) *kumaGlobal {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g := &kumaGlobal{t: t, key: key}
	public := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
	g.state = map[string][]*discovery.Resource{
		"Config":       {g.resource("kuma-cluster-id", "", &kdspb.Config{Config: "d0748056-0000-4000-8000-345600dcd4b2"})},
		"GlobalSecret": {g.resource("zone-token-signing-public-key-3", "", &kdspb.Secret{Data: wrapperspb.Bytes(public)})},
		"Secret":       {g.resource("dataplane-token-revocations-default", "default", &kdspb.Secret{Data: wrapperspb.Bytes([]byte("gone"))})},
	}
	g.addr = "127.0.0.1:0"
	g.start()
	t.Cleanup(func() { g.stop() })
	return g
}

func (g *kumaGlobal) start() {
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.addr = l.Addr().String()
	s := grpc.NewServer(grpc.UnknownServiceHandler(g.serve))
	var done sync.WaitGroup
	done.Go(func() { s.Serve(l) }) //nolint:errcheck // ends with Stop
	g.stop = sync.OnceFunc(func() { s.Stop(); done.Wait() })
}

func (g *kumaGlobal) resource(name, mesh string, spec proto.Message) *discovery.Resource {
	inner, err := anypb.New(spec)
	if err != nil {
		g.t.Fatal(err)
	}
	outer, err := anypb.New(&kdspb.KumaResource{Meta: &kdspb.KumaResource_Meta{Name: name, Mesh: mesh}, Spec: inner})
	if err != nil {
		g.t.Fatal(err)
	}
	return &discovery.Resource{Version: name, Resource: outer}
}

func (g *kumaGlobal) serve(_ any, ss grpc.ServerStream) error {
	switch method, _ := grpc.MethodFromServerStream(ss); method {
	case kumaHealth:
		return ss.SendMsg(&kdspb.ZoneHealthCheckResponse{})
	case kumaDown:
	default:
		<-ss.Context().Done()
		return nil
	}
	for {
		var r discovery.DeltaDiscoveryRequest
		if err := ss.RecvMsg(&r); err != nil {
			return nil
		}
		if r.GetResponseNonce() != "" {
			continue
		}
		err := ss.SendMsg(&discovery.DeltaDiscoveryResponse{
			TypeUrl: r.GetTypeUrl(), Nonce: "1" + r.GetTypeUrl(), Resources: g.state[r.GetTypeUrl()],
			ControlPlane: &core.ControlPlane{Identifier: "global"},
		})
		if err != nil {
			return nil
		}
	}
}

// token is a zone token as Kuma's global issues one.
func (g *kumaGlobal) token(zone, jti string) string {
	enc := base64.RawURLEncoding
	claims := `{"Zone":"` + zone + `","Scope":["ingress","egress"],"exp":4102444800,"nbf":1700000000,"iat":1700000300,"jti":"` + jti + `"}`
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"3","typ":"JWT"}`)) + "." + enc.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, g.key, crypto.SHA256, sum[:])
	if err != nil {
		g.t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// TestZoneNodeUnderKumasGlobal: a whole zone control plane joins a global of Kuma's,
// lets in whom that vouches for, says whose global it has, and goes on without it.
func TestZoneNodeUnderKumasGlobal(t *testing.T) {
	g := startKumaGlobal(t)
	z := &Zone{Name: "west", Dir: TempDir(t), t: t, log: quiet, plain: true}
	node, err := zonenode.New(zonenode.Config{
		Zone: z.Name, DataDir: z.Dir, Globals: []string{g.addr}, GlobalPlain: true,
		DPAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", DiagnosticsAddr: "127.0.0.1:0",
		LocalhostIsAdmin: true, Version: "test", Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	z.Node, z.run, z.once = node, run(node), &sync.Once{}
	t.Cleanup(z.Stop)
	Eventually(t, "the zone to be in step", func() bool { return z.Node.Link().Current })
	if l := z.Node.Link(); l.Kind != "kuma" || !l.Connected {
		t.Errorf("link %+v", l)
	}
	z.Expect("a token of Kuma's", g.token("west", "a"), "egress", Accepted)
	z.Expect("another zone's", g.token("east", "b"), "egress", Refused("wrong_zone"))
	held := z.Revision()
	g.stop()
	Eventually(t, "the zone to notice", func() bool { return !z.Node.Link().Connected })
	z.Expect("a token of Kuma's with its global away", g.token("west", "c"), "ingress", Accepted)
	g.start()
	Eventually(t, "the zone to be back", func() bool { return z.Node.Link().Current })
	if got := z.Revision(); got != held || time.Since(z.Node.Link().LastHeard) > time.Minute {
		t.Errorf("back at %s, held %s, heard %s", got, held, z.Node.Link().LastHeard)
	}
}
