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
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/resource"
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
echo "args $1 $3 $4 $5 $6 $7 $8"
echo "mode $(stat -c %a "$2") in $(stat -c %a "$(dirname "$2")")"
echo "folder $(dirname "$2")"
echo "env [$KUMA_DATAPLANE_RUNTIME_TOKEN]"
echo running
while :; do sleep 0.01; done
`

func TestEnvoyIsRunAndTold(t *testing.T) {
	t.Setenv(EnvVarToken, tokenB)
	z := newZone(t)
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	ca, err := os.ReadFile(z.ca)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, caFile, string(ca))
	b := newBench(t, z, func(c *Config) { c.CAFile = caFile })
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
		done <- b.RunEnvoy(ctx, Envoy{
			Path: fakeEnvoy(t, patient), Args: []string{"--log-level=debug"}, Out: out, Err: out, Signals: signals,
			DrainTime: 7 * time.Second, LogLevel: "warn",
		})
	}()
	eventually(t, "envoy", func() bool { return strings.Contains(out.String(), "running") })
	for _, want := range []string{"args --config-path --disable-hot-restart --drain-time-s 7 --log-level=debug", "mode 600 in 700", "env []"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	_, folder, _ := strings.Cut(out.String(), "folder ")
	folder, _, _ = strings.Cut(folder, "\n")
	in := func(file string) (content string) {
		for _, name := range []string{file, "envoy.yaml"} {
			info, err := os.Stat(filepath.Join(folder, name))
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		data, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	q := z.asked[0]
	if q.Agent == nil || q.Agent.TokenFile != filepath.Join(folder, "token.json") || q.Agent.CAFile != filepath.Join(folder, "ca.json") ||
		q.Agent.AdminSocket != filepath.Join(folder, "envoy-admin.sock") || q.Agent.ControlPlanes[0] != strings.TrimPrefix(z.url, "https://") || q.Features[0] != "feature-delta-grpc" {
		t.Errorf("asked with %+v", q)
	}
	if token := in("token.json"); !strings.Contains(token, `"inlineString":"`+tokenA+`"`) {
		t.Errorf("the token's file has %d bytes", len(token))
	}
	former := in("ca.json")
	signals <- syscall.SIGHUP
	eventually(t, "the signal", func() bool { return strings.Contains(out.String(), "got HUP") })
	replace(t, b.tokenFile, tokenB+"\n")
	eventually(t, "the new token", func() bool { return strings.Contains(in("token.json"), `"inlineString":"`+tokenB+`"`) })
	replace(t, caFile, "no certificate")
	eventually(t, "a word on the CA", func() bool { return strings.Contains(b.log.String(), "new TLS material cannot be used") })
	if in("ca.json") != former {
		t.Error("a file without a CA was taken")
	}
	replace(t, caFile, string(ca)+string(ca))
	eventually(t, "the new CA", func() bool { return in("ca.json") != former })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "got TERM") || !strings.Contains(b.log.String(), "ends without draining") {
		t.Errorf("it was not told to end:\n%s\n%s", out, b.log)
	}
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

// TestWordsForEnvoy: flags of the agent reach Envoy in its own words, and give way to those
// that are meant for it.
func TestWordsForEnvoy(t *testing.T) {
	for _, tt := range []struct {
		e    Envoy
		want string
	}{
		{Envoy{LogLevel: "warn", DrainTime: 1500 * time.Millisecond}, "--log-level warning --drain-time-s 2"},
		{Envoy{LogLevel: "debug", LogJSON: true, DrainTime: time.Minute}, "--log-level debug --log-format " + jsonLines + " --drain-time-s 60"},
		{Envoy{LogLevel: "info", Args: []string{"-l", "trace"}}, "--drain-time-s 1 -l trace"},
		{Envoy{LogJSON: true, Args: []string{"--log-format=%v", "--drain-time-s", "3"}}, "--log-format=%v --drain-time-s 3"},
	} {
		if got := strings.Join(tt.e.command("envoy", "f").Args, " "); got != "envoy --config-path f --disable-hot-restart "+tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// TestWhereAdminListens: on a socket, unless the flag or the resource says otherwise.
func TestWhereAdminListens(t *testing.T) {
	for _, tt := range []struct {
		flag, resource uint32
		dir            string
		want, says     string
	}{
		{0, 0, "/run/a", "unix:/run/a/envoy-admin.sock", ""},
		{9901, 0, "/run/a", "127.0.0.1:9901", ""},
		{0, 9902, "/run/a", "127.0.0.1:9902", ""},
		{9902, 9902, "/run/a", "127.0.0.1:9902", ""},
		{9901, 9902, "/run/a", "", "--admin-port says 9901 and the resource 9902"},
		{0, 0, "/" + strings.Repeat("d", 100), "", "too long for a socket"},
	} {
		a := &Agent{cfg: Config{Resource: &resource.Resource{AdminPort: tt.resource}}}
		got, err := a.adminOf(Envoy{AdminPort: tt.flag}, tt.dir)
		if got.String() != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %s, %v", tt, got, err)
		}
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
