package callers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/xds"
)

// grpcTargets has, in the process that a test starts, the targets and where each is served;
// the library reads its settings when the process begins.
const grpcTargets = "MERIDIAN_TEST_GRPC_TARGETS"

// grpcChild is a program that serves every target with grpc-go's xDS server, and calls every
// target with its xDS client. It prints what became of each call.
func grpcChild(t *testing.T, text string) {
	targets, outcome := map[string]string{}, map[string]string{}
	if err := json.Unmarshal([]byte(text), &targets); err != nil {
		t.Fatal(err)
	}
	for name, address := range targets {
		server, err := xds.NewGRPCServer()
		if err != nil {
			t.Fatal(err)
		}
		own := health.NewServer()
		own.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING) // and of no other
		healthpb.RegisterHealthServer(server, own)
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		defer func() { server.Stop(); <-served }()
	}
	for name := range targets {
		conn, err := grpc.NewClient("xds:///"+name, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// Until a target and its server have been given everything a call fails for reasons of
		// its own; where the zone refuses, it goes on failing for that one.
		for outcome[name] == "" {
			got, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name})
			switch {
			case err == nil:
				outcome[name] = got.GetStatus().String()
			case strings.Contains(err.Error(), "wrong_name"):
				outcome[name] = err.Error()
			default:
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
					outcome[name] = ctx.Err().Error() + ": " + err.Error()
				}
			}
		}
	}
	text2, err := json.Marshal(outcome)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\noutcome: %s\n", text2)
}

// TestGRPCWithoutAProxy runs the documented bootstrap and resources with grpc-go's xDS
// client and server: five targets in one process. What a zone refuses reaches the program.
func TestGRPCWithoutAProxy(t *testing.T) {
	if text := os.Getenv(grpcTargets); text != "" {
		grpcChild(t, text)
		return
	}
	if testing.Short() {
		t.Skip("skipped with -short: starts this test's program once more, as grpc-go reads its environment when it begins")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "dataplane/meshes/payments/proxies/ledger-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	targets := map[string]string{}
	for _, name := range []string{"ledger", "audit", "mail", "search", "web"} {
		port := freePort(t)
		targets[name] = "127.0.0.1:" + port
		text := edited(t, "grpc/resources.yaml", [2]string{"9000", port}, [2]string{"name: ledger", "name: " + name}, [2]string{"cluster: ledger", "cluster: " + name})
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	z := startZoneWith(t, root)
	good := sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1", "Tags": map[string]any{"kuma.io/service": []string{"ledger"}}})
	other := sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-2"})
	for _, tc := range []struct{ token, want string }{{good, "SERVING"}, {other, "wrong_name"}} {
		asked := targets
		if tc.token == other {
			asked = map[string]string{"ledger": targets["ledger"]}
		}
		bootstrap := written(t, "bootstrap.json", edited(t, "grpc/bootstrap.json", [2]string{"zone.example:5678", strings.Replace(z.address, "127.0.0.1", "localhost", 1)},
			[2]string{"/etc/meridian/zone-ca.crt", z.ca}, [2]string{"/etc/meridian/ledger-1.token", written(t, "token", tc.token)}))
		text, err := json.Marshal(asked)
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestGRPCWithoutAProxy$")
		cmd.Env = append(os.Environ(), grpcTargets+"="+string(text), "GRPC_XDS_BOOTSTRAP="+bootstrap, "GRPC_EXPERIMENTAL_XDS_BOOTSTRAP_CALL_CREDS=true")
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		runErr := cmd.Run()
		_, line, found := strings.Cut(out.String(), "\noutcome: ")
		line, _, _ = strings.Cut(line, "\n")
		outcome := map[string]string{}
		if err := json.Unmarshal([]byte(line), &outcome); !found || err != nil || runErr != nil {
			t.Fatalf("%v %v: %s\n%s\n%s", runErr, err, out.String(), stderr.String(), z.log.String())
		}
		for name := range asked {
			if !strings.Contains(outcome[name], tc.want) || strings.Contains(outcome[name], "eyJ") {
				t.Errorf("%s: %s", name, outcome[name])
			}
		}
	}
}
