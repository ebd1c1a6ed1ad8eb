package agent

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// fakeEnvoy is a program that tells what it was started with, and of signals; it
// ends with the status in $FAKE_STATUS once told to.
func fakeEnvoy(t *testing.T, body string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const patient = `
trap 'echo got HUP' HUP
trap 'echo got TERM; exit 0' TERM
echo "args $1 $3 $4"
echo "mode $(stat -c %a "$2") in $(stat -c %a "$(dirname "$2")")"
echo "folder $(dirname "$2")"
grep -c value: "$2"
echo "env [$KUMA_DATAPLANE_RUNTIME_TOKEN]"
echo running
while :; do sleep 0.01; done
`

func TestEnvoyIsRunAndTold(t *testing.T) {
	t.Setenv(EnvVarToken, tokenB)
	z := newZone(t)
	b := newBench(t, z, nil)
	signals := make(chan os.Signal, 1)
	// As the command does. Without it a SIGHUP that whoever started the tests has
	// ignored, nohup for one, stays ignored in the program.
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &buffer{}
	done := make(chan error, 1)
	go func() {
		done <- b.RunEnvoy(ctx, Envoy{Path: fakeEnvoy(t, patient), Args: []string{"--log-level", "debug"}, Out: out, Err: out, Signals: signals})
	}()
	eventually(t, "envoy", func() bool { return strings.Contains(out.String(), "running") })
	for _, want := range []string{"args --config-path --disable-hot-restart --log-level", "mode 600 in 700", "\n1\n", "env []"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	signals <- syscall.SIGHUP
	eventually(t, "the signal", func() bool { return strings.Contains(out.String(), "got HUP") })
	replace(t, b.tokenFile, tokenB)
	eventually(t, "a word on the token", func() bool { return strings.Contains(b.log.String(), "useTokenPath") })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "got TERM") {
		t.Errorf("it was not told to end:\n%s", out)
	}
	_, folder, _ := strings.Cut(out.String(), "folder ")
	folder, _, _ = strings.Cut(folder, "\n")
	if _, err := os.Stat(folder); folder == "" || !os.IsNotExist(err) {
		t.Errorf("the bootstrap stays behind in %q: %v", folder, err)
	}
}

func TestAgentEndsWithEnvoy(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, nil)
	if err := b.RunEnvoy(t.Context(), Envoy{Path: fakeEnvoy(t, "exit 0")}); err != nil {
		t.Error(err)
	}
	err := b.RunEnvoy(t.Context(), Envoy{Path: fakeEnvoy(t, "exit 3")})
	if e := federation.AsError(err); e == nil || e.Detail != "envoy ended: exit status 3" || e.Hint == "" {
		t.Errorf("got %+v", e)
	}
	if err := b.RunEnvoy(t.Context(), Envoy{Path: "/nowhere/envoy"}); err == nil || !strings.Contains(err.Error(), "--envoy /nowhere/envoy cannot be run: no such file") {
		t.Errorf("got %v", err)
	}
	if err := b.RunEnvoy(t.Context(), Envoy{Path: b.tokenFile}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
}

// A token of the environment lies in a file for an Envoy that reads it itself.
func TestTokenOfTheEnvironmentForEnvoy(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, func(c *Config) { c.TokenPath = "" })
	var content, mode string
	z.bootstrap = func(_ http.ResponseWriter, q bootstrapRequest) bool {
		data, err := os.ReadFile(q.DataplaneTokenPath)
		if err != nil {
			t.Error(err)
			return false
		}
		info, _ := os.Stat(q.DataplaneTokenPath)
		content, mode = string(data), info.Mode().String()
		return false
	}
	if err := b.RunEnvoy(t.Context(), Envoy{Path: fakeEnvoy(t, "exit 0")}); err != nil {
		t.Fatal(err)
	}
	if content != tokenA || mode != "-rw-------" {
		t.Errorf("%d bytes, mode %s", len(content), mode)
	}
}

func TestEnvoyIsNotStartedWithoutABootstrap(t *testing.T) {
	z := newZone(t)
	z.bootstrap = func(w http.ResponseWriter, _ bootstrapRequest) bool { w.WriteHeader(http.StatusForbidden); return true }
	b := newBench(t, z, nil)
	out := &buffer{}
	if err := b.RunEnvoy(t.Context(), Envoy{Path: fakeEnvoy(t, "echo started"), Out: out}); federation.CodeOf(err) != federation.Forbidden || out.String() != "" {
		t.Errorf("%v, %s", err, out)
	}
}
