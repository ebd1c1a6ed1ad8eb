package xds

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/httpserver"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/testlog"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/sessions"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"))
}

// patience bounds what a test waits for: machines may be busy.
const patience = time.Minute

var signer = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// sign makes a token with kid "1"; a claim of value nil is left out.
func sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{"jti": "id-1", "iat": now.Unix(), "nbf": now.Unix() - 300, "exp": now.Unix() + 3600}
	for name, v := range claims {
		all[name] = v
		if v == nil {
			delete(all, name)
		}
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, signer(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// copyOf is a zone's copy of keys and revocations that a test writes.
type copyOf struct {
	mu      sync.Mutex
	view    *fakeView
	changed chan struct{}
}

type fakeView struct {
	keys    map[cptoken.KeyID]*cptoken.PublicKey
	revoked map[string]bool
}

func (v *fakeView) Key(id cptoken.KeyID) *cptoken.PublicKey       { return v.keys[id] }
func (v *fakeView) Revoked(_ cptoken.Kind, _, id string) bool     { return v.revoked[id] }
func (v *fakeView) CutOff(cptoken.Kind, string, string) time.Time { return time.Time{} }

// Empty implements cptoken.EmptyView.
func (v *fakeView) Empty() bool { return len(v.keys) == 0 }

func (*fakeView) Pruned() (none time.Time) { return none }

func newCopy(t testing.TB) *copyOf {
	der, err := x509.MarshalPKIXPublicKey(&signer().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	v := &fakeView{keys: map[cptoken.KeyID]*cptoken.PublicKey{}}
	for _, id := range []cptoken.KeyID{{Kind: cptoken.Zone, KID: "1"}, {Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}} {
		if v.keys[id], err = cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, der, nil); err != nil {
			t.Fatal(err)
		}
	}
	return &copyOf{view: v, changed: make(chan struct{})}
}

func (c *copyOf) View() cptoken.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

func (c *copyOf) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// revoke publishes a view in which the ids are revoked. tell says it to who waits.
func (c *copyOf) revoke(tell bool, ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &fakeView{keys: c.view.keys, revoked: map[string]bool{}}
	for _, id := range ids {
		next.revoked[id] = true
	}
	c.view = next
	if tell {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// logBook is a log that a test may read while the server runs.
type logBook = testlog.Log

// bench is a zone's port for proxies.
type bench struct {
	t       testing.TB
	copy    *copyOf
	server  *Server
	proxies *proxies.Registry
	log     *logBook
	refused atomic.Int64 // as it is counted
	address string
	stop    func()
}

func newBench(t testing.TB, edit func(*Config, *keyring.Settings)) *bench {
	t.Helper()
	b := &bench{t: t, copy: newCopy(t), log: &logBook{}}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	cfg := Config{Zone: "west", Logger: log}
	var settings keyring.Settings
	if edit != nil {
		edit(&cfg, &settings)
	}
	if err := settings.Complete(); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Config{Source: b.copy, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := proxyauth.New(proxyauth.Config{Zone: "west", Settings: settings, Keyring: ring,
		Verified: func(labels ...string) {
			if labels[1] != "accepted" {
				b.refused.Add(1)
			}
		},
		Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{CacheBytes: 1 << 20})})
	if err != nil {
		t.Fatal(err)
	}
	open := sessions.New(sessions.Config{Source: ring, Logger: log})
	b.proxies = proxies.New(proxies.Config{Sessions: open, Logger: log})
	cfg.Auth, cfg.Proxies = auth, b.proxies
	b.server = New(cfg)
	b.serve(log, open)
	return b
}

// serve runs everything as a zone does.
func (b *bench) serve(log *slog.Logger, open *sessions.Registry) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.address = l.Addr().String()
	source, err := tlsutil.OpenSelfMade(b.t.TempDir(), tlsutil.Identity{Cluster: "zone-own", Role: tlsutil.RoleZone, Name: "west"},
		[]string{"127.0.0.1"}, tlsutil.Options{Logger: log})
	if err != nil {
		b.t.Fatal(err)
	}
	port := httpserver.Server{Name: "proxies", Listener: l, Handler: b.server, Logger: log,
		TLS: source.Server(tlsutil.ALPNHTTP2, tlsutil.ALPNHTTP1)}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	run := []func(context.Context) error{port.Run, open.Run, b.server.Run}
	if b.server.cfg.Dir != nil {
		run = append(run, b.server.cfg.Dir.Run)
	}
	for _, part := range run {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				b.t.Error(err)
			}
		})
	}
	b.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	b.t.Cleanup(b.stop)
}

func (b *bench) dial() *grpc.ClientConn {
	b.t.Helper()
	// Which certificate the port shows is not what is tried here.
	conn, err := grpc.NewClient(b.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

const backend = `{"type":"Dataplane","mesh":"default","name":"backend-1","networking":{"address":"10.0.0.1","inbound":[{"port":8080,"servicePort":80,"tags":{"kuma.io/service":"backend"}}]}}`

// node is what an Envoy with a bootstrap of ours says of itself.
func node(id, proxyType, resource string) *core.Node {
	fields := map[string]*structpb.Value{metaType: structpb.NewStringValue(proxyType)}
	if resource != "" {
		fields[metaResource] = structpb.NewStringValue(resource)
	}
	return &core.Node{Id: id, Cluster: "backend", Metadata: &structpb.Struct{Fields: fields}}
}

func backendNode() *core.Node { return node("default.backend-1", "dataplane", backend) }

var (
	backendClaims = map[string]any{"Mesh": "default", "Name": "backend-1", "Tags": map[string][]string{"kuma.io/service": {"backend"}}}
	clusterType   = resourcev3.ClusterType
	endpointType  = resourcev3.EndpointType
	listenerType  = resourcev3.ListenerType
	secretType    = resourcev3.SecretType
)

// ads is a stream of the state of the world.
type ads struct {
	discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	t      testing.TB
	cancel context.CancelFunc
}

// open begins a stream with the tokens as authorization.
func (b *bench) open(conn *grpc.ClientConn, tokens ...string) *ads {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	b.t.Cleanup(cancel)
	for _, token := range tokens {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	}
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return &ads{stream, b.t, cancel}
}

func (a *ads) ask(m *discovery.DiscoveryRequest) {
	a.t.Helper()
	if err := a.Send(m); err != nil && !errors.Is(err, io.EOF) { // why it ended is for Recv to tell
		a.t.Fatal(err)
	}
}

func (a *ads) next() *discovery.DiscoveryResponse {
	a.t.Helper()
	m, err := a.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	return m
}

func (a *ads) ack(m *discovery.DiscoveryResponse) {
	a.ask(&discovery.DiscoveryRequest{TypeUrl: m.GetTypeUrl(), VersionInfo: m.GetVersionInfo(), ResponseNonce: m.GetNonce()})
}

// ends returns what the stream ends with, and fails where anything comes before.
func (a *ads) ends() (code codes.Code, reason, text string) {
	a.t.Helper()
	m, err := a.Recv()
	if err == nil {
		a.t.Fatalf("a message came: %v", m)
	}
	return endOf(err)
}

func endOf(err error) (code codes.Code, reason, text string) {
	st := status.Convert(err)
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reason = strings.ToLower(info.GetReason())
		}
	}
	return st.Code(), reason, st.Message()
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// hurry runs a test of a deadline with longer and longer ones: f reports whether what
// must happen before the deadline did, which on a busy machine a short one does not
// allow.
func hurry(t *testing.T, shortest time.Duration, f func(d time.Duration) bool) {
	t.Helper()
	for d := shortest; d < patience; d *= 3 {
		if f(d) {
			return
		}
	}
	t.Fatal("this machine never met the deadline")
}

func openDir(t testing.TB, path string) *xdsdir.Dir {
	t.Helper()
	dir, err := xdsdir.Open(xdsdir.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
