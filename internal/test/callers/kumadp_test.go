package callers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/test/tempdir"
)

// bootstrapOf asks the zone for a bootstrap as kuma-dp 2.14 does.
func (z *zone) bootstrapOf(t *testing.T, name, workdir string, features ...string) []byte {
	t.Helper()
	ca, err := os.ReadFile(z.ca)
	if err != nil {
		t.Fatal(err)
	}
	resource := `{"type":"Dataplane","mesh":"payments","name":"` + name + `","networking":{"address":"127.0.0.2","inbound":[{"port":` + freePort(t) +
		`,"servicePort":1,"tags":{"kuma.io/service":"ledger"}}]}}`
	body, err := json.Marshal(map[string]any{
		"mesh": "payments", "name": name, "proxyType": "dataplane", "dataplaneToken": sign(t, map[string]any{"Mesh": "payments", "Name": name}),
		"dataplaneResource": resource, "host": "localhost", "caCert": string(ca), "version": map[string]any{"kumaDp": map[string]any{"version": "2.14.3"}},
		"features": features, "workdir": workdir, "otelEnv": map[string]any{}, "dataplaneConfig": map[string]any{}, "ipv6Enabled": true,
		"spireResources": map[string]any{}, "appProbeProxyDisabled": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post("https://"+z.address+"/bootstrap", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Bootstrap []byte }
	if data, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || json.Unmarshal(data, &answer) != nil {
		t.Fatalf("%d %s %v", resp.StatusCode, data, err)
	}
	return answer.Bootstrap
}

// TestBootstrapsOfTwoKumaDPsOnOneHost: a real Envoy with the bootstrap for a kuma-dp of
// 2.14 becomes ready, over either protocol, and says so on the pipe where kuma-dp asks;
// a second one on the host does not take its place. One that answers DNS itself finds that
// there are no records, and a tag that says so again.
func TestBootstrapsOfTwoKumaDPsOnOneHost(t *testing.T) {
	needEnvoy(t)
	z := startZone(t)
	for name, features := range map[string][]string{"ledger-1": {"feature-delta-grpc", "feature-embedded-dns"}, "ledger-2": nil} {
		dir := tempdir.Short(t)
		text := z.bootstrapOf(t, name, dir, features...)
		if delta := bytes.Contains(text, []byte("DELTA_GRPC")); delta != (features != nil) {
			t.Errorf("%s: delta %t\n%s", name, delta, text)
		}
		config := filepath.Join(dir, "bootstrap.yaml")
		// The zone's certificate is for localhost, its port for an address.
		text = bytes.ReplaceAll(text, []byte("address: localhost"), []byte("address: 127.0.0.1"))
		if err := os.WriteFile(config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, ended, stop := runEnvoy(t, config)
		admin := onPipe(t, filepath.Join(dir, "kuma-envoy-admin.sock"))
		for deadline := time.Now().Add(patience); ; {
			resp, err := admin.Get("http://envoy/ready")
			if err == nil {
				state, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode == 200 && strings.TrimSpace(string(state)) == "LIVE" {
					break
				}
			}
			select {
			case <-ended:
				t.Fatalf("envoy ended: %s", out.String())
			case <-time.After(50 * time.Millisecond): // between two looks
			}
			if time.Now().After(deadline) {
				stop()
				t.Fatalf("%s is not ready: %v\n%s", name, err, out.String())
			}
		}
		wantRecords(t, filepath.Join(dir, "kuma-mesh-metric-config.sock"), features != nil)
		resp, err := admin.Get("http://envoy/stats/prometheus")
		if err != nil {
			t.Fatal(err)
		}
		figures, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		// Labels, where Envoy alone makes them a part of the name.
		if features != nil && !regexp.MustCompile(`(?m)^envoy_listener_downstream_cx_active\{.*worker="0".*\}`).Match(figures) {
			t.Errorf("%s: no figure of a worker has a label of it:\n%s", name, regexp.MustCompile(`(?m)^.*worker.*$`).Find(figures))
		}
	}
}

// onPipe is a client of who listens on a pipe.
func onPipe(t *testing.T, path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// wantRecords asks for the records of DNS as kuma-dp does.
func wantRecords(t *testing.T, pipe string, served bool) {
	t.Helper()
	client, tag := onPipe(t, pipe), ""
	for _, status := range []int{200, 304} {
		r, err := http.NewRequest(http.MethodGet, "http://envoy/dns", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		resp, err := client.Do(r)
		if err != nil {
			if served || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("records: %v", err)
			}
			return
		}
		var answer struct{ Records []any }
		data, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		tag = resp.Header.Get("Etag")
		if !served || resp.StatusCode != status || status == 200 && (tag == "" || json.Unmarshal(data, &answer) != nil || answer.Records == nil) {
			t.Errorf("records: %d %q %s", resp.StatusCode, tag, data)
		}
	}
}
