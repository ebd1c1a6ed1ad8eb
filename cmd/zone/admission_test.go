package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/test/doctable"
	"github.com/meridiankds/meridian/internal/test/tempdir"
	"github.com/meridiankds/meridian/internal/zone/node"
)

// admitting is a running zone west with a key for zone tokens and for the mesh payments.
type admitting struct {
	t    *testing.T
	key  *rsa.PrivateKey
	dp   string // host:port
	ca   string // file
	pool *x509.CertPool
}

func newAdmitting(t *testing.T) *admitting {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	var settings keyring.Settings
	settings.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []keyring.PublicKey{{KID: "k1", Key: public}}
	for _, mesh := range []string{"default", "payments"} {
		settings.Authn.DPProxy.DPToken.Validator.PublicKeys = append(settings.Authn.DPProxy.DPToken.Validator.PublicKeys,
			keyring.PublicKey{KID: "k1", Mesh: mesh, Key: public})
	}
	n, err := node.New(node.Config{
		Zone: "west", DataDir: tempdir.Short(t), Globals: []string{"127.0.0.1:1"}, GlobalPlain: true, DPAddr: "127.0.0.1:0", Version: "test",
		Authn: settings, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	<-n.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	e := n.Endpoints()
	a := &admitting{t: t, key: key, dp: strings.TrimPrefix(e.DP, "https://"), ca: e.CAFile, pool: x509.NewCertPool()}
	ca, err := os.ReadFile(e.CAFile)
	if err != nil || !a.pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no CA in %s: %v", e.CAFile, err)
	}
	return a
}

func (a *admitting) sign(claims map[string]any) string {
	now := time.Now()
	all := map[string]any{"jti": "id-1", "iat": now.Unix(), "nbf": now.Unix() - 300, "exp": now.Unix() + 3600}
	maps.Copy(all, claims)
	payload, err := json.Marshal(all)
	if err != nil {
		a.t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"k1","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// described is what a row says of a proxy, as a resource.
type described struct {
	proxyType, mesh, name string
	tags                  map[string][]string
}

func describedBy(cell string) described {
	says := doctable.Pairs(cell)
	d := described{proxyType: says["proxyType"], mesh: says["mesh"], name: says["name"], tags: map[string][]string{}}
	for key, value := range says {
		if tag, ok := strings.CutPrefix(key, "tag/"); ok {
			d.tags[tag] = strings.Split(value, ",")
		}
	}
	return d
}

// resource is what the proxy shows. One without a name has any: a resource cannot do
// without.
func (d described) resource() (id, text string) {
	name := d.name
	if name == "" {
		name = "any-1"
	}
	networking := map[string]any{"address": "10.0.0.1"}
	r := map[string]any{"name": name, "networking": networking}
	if d.proxyType != "dataplane" {
		r["type"], networking["port"] = map[string]string{"ingress": "ZoneIngress", "egress": "ZoneEgress"}[d.proxyType], 10001
	} else {
		r["type"], r["mesh"] = "Dataplane", d.mesh
		port := 8080
		var inbounds []map[string]any
		for tag, values := range d.tags {
			for _, value := range values {
				inbounds = append(inbounds, map[string]any{"port": port, "servicePort": 80, "tags": map[string]string{tag: value}})
				port++
			}
		}
		networking["inbound"] = inbounds
	}
	data, _ := json.Marshal(r) // of strings and numbers alone
	return d.mesh + "." + name, string(data)
}

// admissions are the ways in which a proxy describes itself; what it proved is told by
// `zone verify` alone, "" elsewhere.
var admissions = map[string]func(a *admitting, d described, token string) (status int, reason, proved string){
	"bootstrap":   (*admitting).bootstrap,
	"ADS":         func(a *admitting, d described, token string) (int, string, string) { return a.ads(d, token, false) },
	"delta ADS":   func(a *admitting, d described, token string) (int, string, string) { return a.ads(d, token, true) },
	"zone verify": (*admitting).verify,
}

func (a *admitting) bootstrap(d described, token string) (int, string, string) {
	id, resource := d.resource()
	body, _ := json.Marshal(map[string]any{"mesh": d.mesh, "name": strings.TrimPrefix(id, d.mesh+"."), "proxyType": d.proxyType, "dataplaneToken": token, "dataplaneResource": resource})
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, "https://"+a.dp+"/bootstrap", bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/problem+json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	var e struct{ Reason string }
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		a.t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	return resp.StatusCode, e.Reason, ""
}

func (a *admitting) ads(d described, token string, delta bool) (int, string, string) {
	conn, err := grpc.NewClient(a.dp, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: a.pool})))
	if err != nil {
		a.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	id, resource := d.resource()
	node := &core.Node{Id: id, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"dataplane.proxyType": structpb.NewStringValue(d.proxyType), "dataplane.resource": structpb.NewStringValue(resource),
	}}}
	client := discovery.NewAggregatedDiscoveryServiceClient(conn)
	const clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	if delta {
		stream, openErr := client.DeltaAggregatedResources(ctx)
		if err = openErr; err == nil {
			if err = stream.Send(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: clusters, ResourceNamesSubscribe: []string{"*"}}); err == nil || errors.Is(err, io.EOF) {
				_, err = stream.Recv()
			}
		}
	} else {
		stream, openErr := client.StreamAggregatedResources(ctx)
		if err = openErr; err == nil {
			if err = stream.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: clusters}); err == nil || errors.Is(err, io.EOF) {
				_, err = stream.Recv()
			}
		}
	}
	if err == nil {
		return http.StatusOK, "", ""
	}
	st := status.Convert(err)
	code := map[codes.Code]int{codes.Unauthenticated: http.StatusUnauthorized, codes.PermissionDenied: http.StatusForbidden}[st.Code()]
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return code, strings.ToLower(info.GetReason()), ""
		}
	}
	return code, st.Message(), ""
}

func (a *admitting) verify(d described, token string) (int, string, string) {
	file := filepath.Join(a.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		a.t.Fatal(err)
	}
	args := []string{"zone", "verify", "--token-file", file, "--proxy-type", d.proxyType, "--dp-address", "https://" + a.dp, "--ca-file", a.ca, "-o", "json"}
	if d.mesh != "" {
		args = append(args, "--mesh", d.mesh)
	}
	if d.name != "" {
		args = append(args, "--name", d.name)
	}
	for _, tag := range slices.Sorted(maps.Keys(d.tags)) {
		args = append(args, "--tag", tag+"="+strings.Join(d.tags[tag], ","))
	}
	var out, errs bytes.Buffer
	code := console.Run(a.t.Context(), newApp(console.IO{In: strings.NewReader(""), Out: &out, Err: &errs}), args)
	var v verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		a.t.Fatalf("exit %d: %v\n%s%s", code, err, out.String(), errs.String())
	}
	if v.Accepted != (code == 0) {
		a.t.Errorf("accepted %t, exit %d", v.Accepted, code)
	}
	if v.Accepted {
		return http.StatusOK, "", strings.Join(v.Identity.Proved, ", ")
	}
	return 0, v.Reason, ""
}

// TestAdmissionTable walks the table of admission in the documentation for every way in
// which a proxy describes itself, but for /v1/authenticate, which
// internal/zone/statement walks.
func TestAdmissionTable(t *testing.T) {
	a := newAdmitting(t)
	for _, row := range doctable.Rows(t, "../../docs/proxies.md", doctable.Admission) {
		d, token := describedBy(row[0]), a.sign(doctable.Claims(t, row[1]))
		want, reason := doctable.Answer(t, row[2])
		for way, ask := range admissions {
			got, why, proved := ask(a, d, token)
			if got != want && (got != 0 || want == http.StatusOK) || why != reason {
				t.Errorf("%s, %s: %d %s", way, row, got, why)
			}
			if way == "zone verify" && proved != row[3] {
				t.Errorf("%s, %s: proved %s", way, row, proved)
			}
		}
	}
	// What the documents do not accept, no way accepts.
	for way, ask := range admissions {
		if got, why, _ := ask(a, described{proxyType: "egress"}, "garbage"); got == http.StatusOK || why != "malformed" {
			t.Errorf("%s: a token that is none: %d %s", way, got, why)
		}
	}
}
