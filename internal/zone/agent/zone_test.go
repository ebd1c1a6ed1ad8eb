package agent

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/meridiankds/meridian/internal/apierr/grpcerr"
	"github.com/meridiankds/meridian/internal/test/testlog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Tokens of these tests, which look like real ones.
const (
	tokenA = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2lnbmF0dXJl"
	tokenB = "eyJhbGciOiJSUzI1NiJ9.eyJiIjoxfQ.c2lnbmF0dXJl"
)

// zone stands in for a zone control plane, as interop/kuma-wire.md describes one.
type zone struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	url, ca string

	mu        sync.Mutex
	bootstrap func(w http.ResponseWriter, q bootstrapRequest) bool // true: it has answered
	refuse    map[string]error                                     // by token
	streams   map[string]chan error                                // open, by token: what is sent ends one
	asked     []bootstrapRequest
	log       []string // "open A", "close A", in order
	acks      []string // "type version"
}

func newZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{refuse: map[string]error{}, streams: map[string]chan error{}}
	calls := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(calls, z)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			calls.ServeHTTP(w, r)
			return
		}
		z.serveBootstrap(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(func() { calls.Stop(); server.Close() })
	z.url = server.URL
	z.ca = write(t, t.TempDir(), "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	return z
}

const bootstrapYAML = `node:
  id: default.backend-1
  cluster: backend
  metadata: {dataplane.proxyType: dataplane}
dynamicResources:
  adsConfig:
    grpcServices:
    - initialMetadata:
      - {key: authorization, value: "TOKEN"}
`

func (z *zone) serveBootstrap(w http.ResponseWriter, r *http.Request) {
	var q bootstrapRequest
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &q); err != nil || r.URL.Path != "/bootstrap" {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	z.mu.Lock()
	z.asked = append(z.asked, q)
	answer := z.bootstrap
	z.mu.Unlock()
	if answer != nil && answer(w, q) {
		return
	}
	config := strings.Replace(bootstrapYAML, "TOKEN", q.DataplaneToken, 1)
	_ = json.NewEncoder(w).Encode(map[string]any{"bootstrap": base64.StdEncoding.EncodeToString([]byte(config))})
}

// StreamAggregatedResources serves a cluster with endpoints and a listener.
func (z *zone) StreamAggregatedResources(s discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	token := strings.Join(md.Get("authorization"), "|")
	name := map[string]string{tokenA: "A", tokenB: "B"}[token]
	end := make(chan error, 1)
	z.mu.Lock()
	err := z.refuse[token]
	z.log = append(z.log, "open "+name)
	z.streams[name] = end
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		z.log = append(z.log, "close "+name)
	}()
	if err != nil {
		return err
	}
	requests := make(chan *discovery.DiscoveryRequest)
	go func() {
		defer close(requests)
		for {
			q, err := s.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- q:
			case <-s.Context().Done():
				return
			}
		}
	}()
	first := true
	for {
		select {
		case err := <-end:
			return err
		case q, ok := <-requests:
			if !ok {
				return nil
			}
			if first && q.GetNode().GetId() != "default.backend-1" {
				return status.Error(codes.InvalidArgument, "no node")
			}
			first = false
			if q.GetResponseNonce() != "" {
				z.mu.Lock()
				z.acks = append(z.acks, q.GetTypeUrl()+" "+q.GetVersionInfo())
				z.mu.Unlock()
				continue
			}
			if err := s.Send(respond(q)); err != nil {
				return err
			}
		}
	}
}

func respond(q *discovery.DiscoveryRequest) *discovery.DiscoveryResponse {
	var list []proto.Message
	switch q.GetTypeUrl() {
	case clusters:
		list = append(list, &cluster.Cluster{Name: "backend", ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
			EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{ServiceName: "backend-endpoints"}})
	case listeners:
		list = append(list, &listener.Listener{Name: "inbound", StatPrefix: "Bearer " + tokenA})
	case endpoints:
		for _, name := range q.GetResourceNames() {
			list = append(list, &endpoint.ClusterLoadAssignment{ClusterName: name})
		}
	}
	resp := &discovery.DiscoveryResponse{TypeUrl: q.GetTypeUrl(), VersionInfo: "7", Nonce: "n"}
	for _, m := range list {
		packed, err := anypb.New(m)
		if err != nil {
			panic(err)
		}
		resp.Resources = append(resp.Resources, packed)
	}
	return resp
}

// refusal is a status as the zone sends it.
func refusal(code codes.Code, reason, detail string) error {
	return grpcerr.New(code, detail, reason, "").Err()
}

func (z *zone) set(change func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	change()
}

func (z *zone) history() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return strings.Join(z.log, ", ")
}

// end ends the stream that was opened with the named token.
func (z *zone) end(name string, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.streams[name] <- err
}

// buffer is what is printed, for tests to read along.
type buffer = testlog.Log

const resourceYAML = `type: Dataplane
mesh: default
name: {{ name }}
networking:
  address: 10.0.0.1
  inbound:
  - {port: 8080, tags: {kuma.io/service: backend}}
`

// bench is an agent of the zone z.
type bench struct {
	*Agent
	out, log  *buffer
	tokenFile string
}

func newBench(t *testing.T, z *zone, change func(*Config)) *bench {
	t.Helper()
	b := &bench{out: &buffer{}, log: &buffer{}}
	dir := t.TempDir()
	b.tokenFile = write(t, dir, "token", tokenA+"\n")
	r, err := ReadResource(write(t, dir, "dp.yaml", resourceYAML), map[string]string{"name": "backend-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Addresses: []string{z.url}, CAFile: z.ca, Resource: r, Kind: r.Kind, Mesh: r.Mesh, Name: r.Name,
		Token: func() (string, error) {
			data, err := os.ReadFile(b.tokenFile)
			return strings.TrimSpace(string(data)), err
		},
		TokenPath: b.tokenFile, Version: "test", Output: NewPrinter(b.out, false),
		Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	if b.Agent, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	b.firstBackoff, b.longBackoff, b.lookEvery = time.Millisecond, 5*time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() {
		for _, secret := range []string{tokenA, tokenB} {
			if strings.Contains(b.out.String()+b.log.String(), secret) {
				t.Errorf("a token was printed:\n%s\n%s", b.out, b.log)
			}
		}
	})
	return b
}

// start runs the agent until the test ends or calls what is returned.
func (b *bench) start(t *testing.T) (end func() error) {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := contextOf(t)
	go func() { done <- b.RunADS(ctx) }()
	var once sync.Once
	var err error
	end = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = end() })
	return end
}

// eventually waits for a condition, and sleeps between two looks at it.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func write(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replace puts text where path is, as a whole.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
