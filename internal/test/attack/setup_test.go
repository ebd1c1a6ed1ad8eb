package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/cluster"
	"github.com/meridiankds/meridian/internal/test/testlog"
	"github.com/meridiankds/meridian/kds/kdspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

const healthCheck = "/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck"

// book is a log that is searched while the nodes run.
type book = testlog.Log

// federation is what is attacked: a global and the zone west.
type federation struct {
	t      *testing.T
	log    *book
	global *cluster.Global
	west   *cluster.Zone
	roots  *x509.CertPool // of the cluster's CA
}

// logger writes everything into the book.
func logger(b *book) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func start(t *testing.T) *federation {
	t.Helper()
	f := &federation{t: t, log: &book{}}
	f.global = cluster.StartGlobal(t, logger(f.log))
	f.west = f.global.StartZone("west", f.global.KDS())
	f.west.WaitCurrent(f.global)
	roots, err := tlsutil.LoadPool(f.global.Node.Endpoints().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	f.roots = roots
	return f
}

// answer is what a port said to a token.
type answer struct {
	ok   bool   // it was let in
	text string // all that came back
}

// http sends a request with a bearer token, over TLS where the CA is given, and with
// more headers, each a name and a value.
func (f *federation) http(method, url, token, body string, headers ...string) answer {
	f.t.Helper()
	config := &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS12}
	if strings.Contains(url, f.west.Node.Endpoints().DP) {
		pool, err := tlsutil.LoadPool(f.west.Node.Endpoints().CAFile)
		if err != nil {
			f.t.Fatal(err)
		}
		config.RootCAs = pool
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{text: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{ok: resp.StatusCode/100 == 2, text: resp.Status + " " + string(text)}
}

// kds makes one call as a zone.
func (f *federation) kds(zone, token string, own *tls.Certificate) answer {
	f.t.Helper()
	config := &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS12}
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	conn, err := grpc.NewClient(f.global.KDS(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	md := []string{"client-id", zone}
	if token != "" {
		md = append(md, "authorization", "Bearer "+token)
	}
	err = conn.Invoke(metadata.NewOutgoingContext(ctx, metadata.Pairs(md...)), healthCheck,
		&kdspb.ZoneHealthCheckRequest{}, &kdspb.ZoneHealthCheckResponse{})
	if err != nil {
		return answer{text: err.Error()}
	}
	return answer{ok: true}
}

// port is a way in: a kind of token that it takes, one of them, and how to show it.
type port struct {
	name  string
	kind  cptoken.Kind
	token string
	show  func(token string) answer
}

// ports are all that take tokens, each with a good one.
func (f *federation) ports() []port {
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	user := func(audience ...string) string {
		return f.global.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}, Audience: audience}, time.Hour)
	}
	get := func(url string) func(string) answer {
		return func(token string) answer { return f.http("GET", url, token, "") }
	}
	proxy := func(proxyType, more string) func(string) answer {
		return func(token string) answer {
			return f.http("POST", "https://"+z.DP+"/v1/authenticate", "", `{"token":"`+token+`","proxyType":"`+proxyType+`"`+more+`}`)
		}
	}
	return []port{
		{"global API", cptoken.User, user(), get("http://" + g.API + "/v1/status")},
		{"global API over TLS", cptoken.User, user(), get("https://" + g.APITLS + "/v1/status")},
		{"zone API", cptoken.User, user(cptoken.ZoneAudience("west")), get("http://" + z.API + "/v1/status")},
		{"KDS", cptoken.ControlPlane, f.global.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"}, time.Hour),
			func(token string) answer { return f.kds("west", token, nil) }},
		{"KDS with a zone token", cptoken.Zone, f.global.ZoneToken("west", cptoken.ScopeCP),
			func(token string) answer { return f.kds("west", token, nil) }},
		{"zone, an egress", cptoken.Zone, f.global.ZoneToken("west", cptoken.ScopeEgress), proxy("egress", "")},
		{"zone, a data plane", cptoken.Dataplane,
			f.global.Issue(cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Name: "dp-1"}, time.Hour),
			proxy("dataplane", `,"mesh":"default","name":"dp-1"`)},
	}
}

// exhausts marks a test that fills memory or holds sockets until something gives up.
func exhausts(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: with -short nothing is exhausted")
	}
}
