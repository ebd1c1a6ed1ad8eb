package server

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken/issue"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/testlog"
)

// onFreePorts has a node listen wherever the system has room.
var onFreePorts = []string{
	"--api-addr", "127.0.0.1:0", "--api-tls-addr", "127.0.0.1:0", "--kds-addr", "127.0.0.1:0",
	"--peer-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0",
}

// TestCommandsRunUntilTheirContextEnds runs what operators type, in this process: the
// node serves, tells where, and gives everything back.
func TestCommandsRunUntilTheirContextEnds(t *testing.T) {
	secrets := t.TempDir()
	for name, line := range map[string][]string{
		"dev": {"dev"},
		"server": {"server", "--seal-key-file", filepath.Join(secrets, "seal.key"), "--tls-cert-file", filepath.Join(secrets, "node.crt"),
			"--tls-key-file", filepath.Join(secrets, "node.key"), "--ca-file", filepath.Join(secrets, "ca.crt")},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "server" {
				makeSecrets(t, secrets)
			}
			dir := filepath.Join(t.TempDir(), "data")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan int, 1)
			var errs, out output
			go func() {
				app := console.New("global", "test", "v0", console.IO{In: strings.NewReader(""), Out: &out, Err: &errs})
				app.Commands = []*cli.Command{Command(), Dev()}
				ended <- console.Run(ctx, app, append(append(append([]string{"global"}, line...), "--data-dir", dir), onFreePorts...))
			}()
			e := awaitReady(t, dir, ended, &errs)
			for name == "dev" && !strings.Contains(out.String(), e.API) { // it greets when it is ready
				wait(t, ended, &errs)
			}
			stop()
			if code := <-ended; code != console.ExitOK {
				t.Fatalf("exit code %d\n%s", code, errs.String())
			}
			if log := errs.String(); !strings.Contains(log, "msg=stopping") || !strings.Contains(log, "msg=stopped") {
				t.Errorf("it does not say that it stops, and when it has:\n%s", log)
			}
			if _, err := endpoints.Read(dir); err == nil {
				t.Errorf("the node is gone and its data directory still says that it is at %s", e.API)
			}
			if name == "server" && out.String() != "" {
				t.Errorf("on standard output:\n%s", out.String())
			}
		})
	}
}

// awaitReady waits until the node of a data directory is ready, and returns where it
// listens.
func awaitReady(t *testing.T, dir string, ended chan int, errs *output) endpoints.Endpoints {
	t.Helper()
	for {
		if e, err := endpoints.Read(dir); err == nil {
			if resp, err := http.Get("http://" + e.Diagnostics + "/ready"); err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return e
				}
			}
		}
		wait(t, ended, errs)
	}
}

// wait gives a command a moment, and fails where it has ended.
func wait(t *testing.T, ended chan int, errs *output) {
	t.Helper()
	select {
	case code := <-ended:
		t.Fatalf("the command ended with %d\n%s", code, errs.String())
	case <-time.After(20 * time.Millisecond):
	}
}

// output keeps what a command writes, for who looks while it runs.
type output = testlog.Log

// makeSecrets writes what a node of a cluster starts with.
func makeSecrets(t *testing.T, dir string) {
	t.Helper()
	authority, err := tlsutil.NewClusterAuthority("prod", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.IssueFor(tlsutil.Identity{Cluster: "prod", Role: tlsutil.RoleNode, Name: "g1"}, []string{"127.0.0.1"}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	seal, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"ca.crt": authority.CertPEM(), "node.crt": cert, "node.key": key, "seal.key": seal} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
