package agent

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestWhatKilledAgentsLeave: the next agent removes it, a token among it, and nothing of one
// that runs, of another program, or behind a link.
func TestWhatKilledAgentsLeave(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	z := newZone(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, done := &buffer{}, make(chan error, 1)
	running := newBench(t, z, nil)
	go func() { done <- running.RunEnvoy(ctx, Envoy{Path: fakeEnvoy(t, patient), Out: out, Err: out}) }()
	eventually(t, "envoy", func() bool { return strings.Contains(out.String(), "running") })
	used, _ := filepath.Glob(filepath.Join(tmp, workDirs))
	if len(used) != 1 {
		t.Fatalf("an agent uses %v", used)
	}
	elsewhere := write(t, t.TempDir(), "token.json", "kept")
	stays := []string{used[0], filepath.Join(tmp, "meridian-proxy-link"), filepath.Join(tmp, "meridian-proxy-file"), filepath.Join(tmp, "other")}
	for _, err := range []error{
		os.Symlink(filepath.Dir(elsewhere), stays[1]), os.WriteFile(stays[2], nil, 0o600), os.Mkdir(stays[3], 0o700),
		os.MkdirAll(filepath.Join(tmp, "meridian-proxy-1", "deep"), 0o700), os.Mkdir(filepath.Join(tmp, "meridian-proxy-2"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	left := write(t, filepath.Join(tmp, "meridian-proxy-1"), "token.json", "secret")
	next := newBench(t, z, nil)
	if err := next.RunEnvoy(t.Context(), Envoy{Path: fakeEnvoy(t, "exit 0")}); err != nil {
		t.Error(err)
	}
	for _, path := range append(stays, elsewhere) {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s is gone: %v", path, err)
		}
	}
	if all, _ := filepath.Glob(filepath.Join(tmp, "*")); len(all) != len(stays) {
		t.Errorf("what is left is %v, %s too", all, left)
	}
	if n := strings.Count(next.log.String(), "left behind"); n != 2 {
		t.Errorf("told %d times: %s", n, next.log)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(used[0]); !os.IsNotExist(err) {
		t.Errorf("the folder of an agent that ended: %v", err)
	}
}

// TestOneBadFileKeepsNobodyFromTheOther: while the token cannot be read, a new CA is taken; and
// the other way round.
func TestOneBadFileKeepsNobodyFromTheOther(t *testing.T) {
	z := newZone(t)
	ca, err := os.ReadFile(z.ca)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	replace(t, file, string(ca))
	b := newBench(t, z, func(c *Config) { c.CAFile = file })
	s := b.secretsIn(t.TempDir())
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	content := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	former := content(s.ca)
	if err := os.Remove(b.tokenFile); err != nil {
		t.Fatal(err)
	}
	replace(t, file, string(ca)+string(ca))
	if err := s.write(); err == nil || content(s.ca) == former {
		t.Errorf("without a token the new CA is not taken: %v", err)
	}
	replace(t, b.tokenFile, tokenB)
	replace(t, file, "")
	if err := s.write(); err != nil || !strings.Contains(content(s.token), tokenB) {
		t.Errorf("with a file without CAs the new token is not taken: %v", err)
	}
}

// TestEnvoyTrustsWhatTheAgentDoes: where no file of CAs is named, those of the machine.
func TestEnvoyTrustsWhatTheAgentDoes(t *testing.T) {
	z := newZone(t)
	t.Setenv("SSL_CERT_FILE", z.ca)
	b := newBench(t, z, nil)
	b.tls, b.cfg.CAFile = nil, ""
	s := b.secretsIn(t.TempDir())
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(s.ca); err != nil || !strings.Contains(string(data), "BEGIN CERTIFICATE") {
		t.Errorf("%s, %v", data, err)
	}
	t.Setenv("SSL_CERT_FILE", b.tokenFile)
	if s := b.secretsIn(t.TempDir()); s.ca != "" || !strings.Contains(b.log.String(), "cannot be given to Envoy") {
		t.Errorf("a file without CAs: %q, %s", s.ca, b.log)
	}
}

// TestADrainIsCutShort: by who is in a hurry, while somebody is connected.
func TestADrainIsCutShort(t *testing.T) {
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "listener.l.downstream_cx_active: 1")
	}))
	t.Cleanup(admin.Close)
	u, err := url.Parse(admin.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, newZone(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hurry, out, done := make(chan struct{}), &buffer{}, make(chan error, 1)
	go func() {
		done <- b.RunEnvoy(ctx, Envoy{Path: fakeEnvoy(t, patient), Out: out, Err: out, AdminPort: uint32(port), DrainTime: time.Hour, Hurry: hurry})
	}()
	eventually(t, "envoy", func() bool { return strings.Contains(out.String(), "running") })
	cancel()
	eventually(t, "a word on draining", func() bool { return strings.Contains(b.log.String(), "envoy drains") })
	close(hurry)
	select {
	case err := <-done:
		if err != nil || !strings.Contains(out.String(), "got TERM") {
			t.Errorf("%v, %s", err, out)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on draining")
	}
}
