package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// stranger is whoever talks to a zone's port for proxies from a loopback address of
// its own.
type stranger struct {
	t    *testing.T
	zone *Zone
	from string
}

func (s stranger) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.from)}}).DialContext(ctx, network, address)
}

func (s stranger) tls() *tls.Config {
	pool, err := tlsutil.LoadPool(s.zone.Node.Endpoints().CAFile)
	if err != nil {
		s.t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1"}
}

// bootstrap asks for one; the answer is its status and the reason, or the text.
func (s stranger) bootstrap(body map[string]any, headers ...string) (int, string) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://"+s.zone.Node.Endpoints().DP+"/bootstrap", bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/problem+json")
	for _, h := range headers {
		req.Header.Add("Authorization", h)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.tls(), DialContext: s.dial, DisableKeepAlives: true}, Timeout: Patience}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		s.t.Fatal(err)
	}
	var said struct{ Reason, Detail string }
	_ = json.Unmarshal(data, &said)
	if said.Reason != "" {
		return resp.StatusCode, said.Reason
	}
	return resp.StatusCode, said.Detail
}

// stream opens an ADS stream and sends its first request; the error is of the first
// answer.
func (s stranger) stream(ctx context.Context, resource string, tokens ...string) error {
	conn, err := grpc.NewClient("passthrough:///"+s.zone.Node.Endpoints().DP,
		grpc.WithTransportCredentials(credentials.NewTLS(s.tls())),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return s.dial(ctx, "tcp", address) }))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	for _, token := range tokens {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	}
	ads, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return err
	}
	meta, err := structpb.NewStruct(map[string]any{"dataplane.proxyType": "dataplane", "dataplane.resource": resource})
	if err != nil {
		return err
	}
	err = ads.Send(&discovery.DiscoveryRequest{
		Node: &core.Node{Id: "default.backend-1", Metadata: meta}, TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	})
	if err != nil && err != io.EOF {
		return err
	}
	_, err = ads.Recv()
	return err
}

// TestBadInputAtTheProxiesPort holds what a stranger can send against what the zone
// must say: the typed reason to the client, a line without a token to the operator,
// and nothing else disturbed.
func TestBadInputAtTheProxiesPort(t *testing.T) {
	log := &journal{}
	g := StartGlobal(t, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	z := g.StartZone("west", g.KDS())
	z.WaitCurrent(g)
	issue := func(c cptoken.Claims) string {
		c.Kind = cptoken.Dataplane
		if c.Mesh == "" {
			c.Mesh = "default"
		}
		return g.Issue(c, time.Hour)
	}
	good := issue(cptoken.Claims{Name: "backend-1"})
	tokens := map[string]string{
		"good": good, "mesh alone": issue(cptoken.Claims{}), "another mesh alone": issue(cptoken.Claims{}),
		"another name": issue(cptoken.Claims{Name: "backend-2"}),
		"another tag":  issue(cptoken.Claims{Tags: map[string][]string{"kuma.io/service": {"web"}}}),
		"of a zone":    g.ZoneToken("west"),
	}
	resource := `{"type":"Dataplane","mesh":"default","name":"backend-1","networking":{"address":"127.0.0.1","inbound":[{"port":18080,"tags":{"kuma.io/service":"backend"}}]}}`
	s := stranger{t, z, "127.0.0.1"}
	ask := func(change func(map[string]any), headers ...string) (int, string) {
		body := map[string]any{"mesh": "default", "name": "backend-1", "proxyType": "dataplane", "dataplaneToken": good, "dataplaneResource": resource}
		change(body)
		return s.bootstrap(body, headers...)
	}
	with := func(field string, value any) func(map[string]any) {
		return func(b map[string]any) { b[field] = value }
	}
	for name, tt := range map[string]struct {
		change  func(map[string]any)
		headers []string
		status  int
		reason  string
	}{
		"good":             {func(map[string]any) {}, nil, 200, ""},
		"a newline behind": {with("dataplaneToken", good+"\n"), nil, 200, ""},
		"unknown fields":   {with("dataplaneResource", strings.Replace(resource, `"networking"`, `"future":[1],"networking"`, 1)), nil, 200, ""},
		"in the header":    {with("dataplaneToken", ""), []string{"Bearer " + good}, 200, ""},
		"two headers":      {with("dataplaneToken", ""), []string{good, good}, 401, "malformed"},
		"an empty file":    {with("dataplaneToken", " \n"), nil, 401, "missing_token"},
		"two tokens":       {with("dataplaneToken", good+"\n"+good), nil, 401, "malformed"},
		"another mesh": {func(b map[string]any) {
			b["mesh"], b["dataplaneResource"] = "other", strings.Replace(resource, `"default"`, `"other"`, 1)
		}, nil, 403, "wrong_mesh"},
		"two meshes":        {with("mesh", "other"), nil, 400, ""},
		"another name":      {with("dataplaneToken", tokens["another name"]), nil, 403, "wrong_name"},
		"another tag value": {with("dataplaneToken", tokens["another tag"]), nil, 403, "tag_mismatch"},
		"another kind":      {with("dataplaneToken", tokens["of a zone"]), nil, 401, "wrong_kind"},
		"changed":           {with("dataplaneToken", good[:len(good)-8]+"AAAAAAAA"), nil, 401, "bad_signature"},
		"two documents":     {with("dataplaneResource", resource+"\n---\n"+resource), nil, 400, ""},
		"10 MB":             {with("dataplaneResource", resource+strings.Repeat(" ", 10<<20)), nil, 413, ""},
		"no resource":       {with("dataplaneResource", "hello"), nil, 400, ""},
		"another port":      {with("adminPort", 70000), nil, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, reason := ask(tt.change, tt.headers...)
			if status != tt.status || tt.reason != "" && reason != tt.reason {
				t.Errorf("%d %q, want %d %q", status, reason, tt.status, tt.reason)
			}
			if tt.reason != "" && !log.Has("refused a bootstrap", "reason="+tt.reason) {
				t.Error("the operator is not told")
			}
		})
	}
	for name, tt := range map[string]struct {
		resource string
		tokens   []string
		reason   string
		line     string // in the log: of a stream that presents no token, nothing is read
	}{
		"two headers":       {resource, []string{good, good}, "malformed", "refused a stream"},
		"no token":          {resource, nil, "missing_token", "refused a stream"},
		"another name":      {resource, []string{tokens["another name"]}, "wrong_name", "refused a proxy"},
		"another tag value": {resource, []string{"Bearer " + tokens["another tag"]}, "tag_mismatch", "refused a proxy"},
	} {
		t.Run("ADS, "+name, func(t *testing.T) {
			err := s.stream(t.Context(), tt.resource, tt.tokens...)
			if text := grpcstatus.Convert(err).Message(); !strings.HasPrefix(text, tt.reason+": ") {
				t.Errorf("got %v", err)
			}
			if !log.Has(tt.line, "reason="+tt.reason) {
				t.Error("the operator is not told")
			}
		})
	}
	t.Run("a name that another holds", func(t *testing.T) { nameOfAnother(t, g, z, tokens, resource) })
	for name, token := range tokens {
		if log.Has(token) || log.Has(token[strings.LastIndexByte(token, '.')+1:]) {
			t.Errorf("the token %q stands in the log", name)
		}
	}
}

// nameOfAnother has one proxy connected, and another claim its name from another
// machine with a token that is as good.
func nameOfAnother(t *testing.T, g *Global, z *Zone, tokens map[string]string, resource string) {
	file := filepath.Join(t.TempDir(), "token")
	writeToken(t, file, tokens["mesh alone"])
	a, _, log := z.agent(t, file)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.RunADS(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("who was there first ended with %v", err)
		}
		if log.Has("ended") {
			t.Errorf("who was there first was disturbed: %s", log.String())
		}
	}()
	Eventually(t, "the first to be connected", func() bool { return len(z.Node.Proxies().Proxies()) == 1 })
	second := stranger{t, z, "127.0.0.2"}
	body := map[string]any{"mesh": "default", "name": "backend-1", "proxyType": "dataplane", "dataplaneToken": tokens["another mesh alone"], "dataplaneResource": resource}
	if status, reason := second.bootstrap(body); status != 409 || reason != "name_taken" {
		t.Errorf("bootstrap: %d %q", status, reason)
	}
	err := second.stream(t.Context(), resource, tokens["another mesh alone"])
	if text := grpcstatus.Convert(err).Message(); !strings.HasPrefix(text, "name_taken: ") {
		t.Errorf("ADS: %v", err)
	}
	if n := len(z.Node.Proxies().Proxies()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestConnectionsThatSayNothing opens many that never send a first request, and has
// a proxy connected beside them.
func TestConnectionsThatSayNothing(t *testing.T) {
	const silent, halfOpen = 1500, 300
	log := &journal{}
	g := StartGlobal(t, slog.New(slog.NewTextHandler(log, nil)))
	z := g.StartZone("west", g.KDS())
	z.WaitCurrent(g)
	s := stranger{t, z, "127.0.0.3"}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for n := range silent + halfOpen {
		conn, err := s.dial(t.Context(), "tcp", z.Node.Endpoints().DP)
		if err != nil {
			t.Fatal(err)
		}
		if n >= silent {
			// These speak TLS, and begin a stream of which nothing comes.
			secure := tls.Client(conn, s.tls())
			_ = conn.SetDeadline(time.Now().Add(Patience))
			if err := secure.Handshake(); err == nil {
				_, _ = io.WriteString(secure, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			}
		}
		conns = append(conns, conn)
	}
	file := filepath.Join(t.TempDir(), "token")
	writeToken(t, file, g.dataplaneToken(time.Hour))
	a, out, _ := z.agent(t, file)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.RunADS(ctx) }()
	Eventually(t, "a proxy to be configured beside them", func() bool { return out.Has("portValue: 18080") })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	body := map[string]any{"mesh": "default", "name": "backend-1", "proxyType": "dataplane",
		"dataplaneToken": g.dataplaneToken(time.Hour), "dataplaneResource": strings.TrimSpace(backendResource)}
	if status, reason := (stranger{t, z, "127.0.0.1"}).bootstrap(body); status != http.StatusOK {
		t.Errorf("beside them: %d %s", status, reason)
	}
}
