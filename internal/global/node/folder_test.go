package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/test/tempdir"
	"github.com/meridiankds/meridian/internal/test/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; it is no measurement.
const patience = 60 * time.Second

// logs gathers what a node logs.
type logs = testlog.Log

func devConfig(dir string, to *logs) *Config {
	free := endpoints.Addr{HostPort: "127.0.0.1:0"}
	return &Config{
		DataDir: dir, API: free, APITLS: free, KDS: free, Peer: free, Diagnostics: free,
		KDSAuth: federation.AuthToken, Version: "test", Logger: slog.New(slog.NewTextHandler(to, nil)),
	}
}

// prepared is a node on a folder, as `global dev` makes it.
func prepared(t *testing.T, dir string, to *logs) *Node {
	t.Helper()
	cfg := devConfig(dir, to)
	if err := cfg.PrepareDev(); err != nil {
		t.Fatal(err)
	}
	n, err := New(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// runUntilReady runs a node until it serves, and then stops it.
func runUntilReady(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	select {
	case <-n.Ready():
		cancel()
	case err := <-done:
		t.Fatalf("run ended: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func wantRefused(t *testing.T, err error, code federation.Code, named string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s that names %s", code, named)
	}
	e := federation.AsError(err)
	if e.Code != code || e.Hint == "" || !strings.Contains(e.Detail, named) || strings.Contains(e.Error(), "\n") {
		t.Fatalf("error %v (code %s, hint %q), want %s, one line that names %s", err, e.Code, e.Hint, code, named)
	}
}

// TestFolderIsTakenByOne: of several that start on one new folder at once, one wins,
// the others touch nothing.
func TestFolderIsTakenByOne(t *testing.T) {
	dir, to := filepath.Join(t.TempDir(), "data"), new(logs)
	configs, errs := make([]*Config, 8), make([]error, 8)
	var wait sync.WaitGroup
	for i := range configs {
		configs[i] = devConfig(dir, to)
		wait.Go(func() { errs[i] = configs[i].PrepareDev() })
	}
	wait.Wait()
	var winner *Config
	for i, err := range errs {
		if err == nil && winner == nil {
			winner = configs[i]
			continue
		}
		wantRefused(t, err, federation.Conflict, dir)
	}
	if winner == nil {
		t.Fatal("nobody got the folder")
	}
	n, err := New(*winner)
	if err != nil {
		t.Fatal(err)
	}
	other := *winner
	other.lock = nil // as `global server` on the same folder
	_, err = New(other)
	wantRefused(t, err, federation.Conflict, dir)
	runUntilReady(t, n)

	// It is free again, also after a start that failed.
	n = prepared(t, dir, to)
	runUntilReady(t, n)
	bad := devConfig(dir, to)
	bad.KDS.HostPort = ""
	if err := bad.PrepareDev(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(*bad); err == nil {
		t.Fatal("a node without KDS")
	}
	runUntilReady(t, prepared(t, dir, to))
}

// TestKilledAtTheFirstStart leaves a folder as a kill after each write does.
func TestKilledAtTheFirstStart(t *testing.T) {
	whole, to := t.TempDir(), new(logs)
	runUntilReady(t, prepared(t, whole, to))
	order := []string{lockFile, "seal.key", "tls/ca.key", "tls/ca.crt", "tls/node.key", "tls/node.crt"}
	for n := range len(order) + 1 {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "tls"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range order[:n] {
			data, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		runUntilReady(t, prepared(t, dir, to))
	}
}

// TestSealKeyIsNotReplaced: beside any state, a lost seal key is a loss.
func TestSealKeyIsNotReplaced(t *testing.T) {
	for _, left := range []string{"node.json", "raft.db", "snapshots"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, left), 0o700); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, devConfig(dir, new(logs)).PrepareDev(), federation.Internal, "seal.key")
		if _, err := os.Stat(filepath.Join(dir, "seal.key")); err == nil {
			t.Errorf("beside %s a seal key was made", left)
		}
	}
}

// TestOrdinaryEndIsQuiet: a stop is no error.
func TestOrdinaryEndIsQuiet(t *testing.T) {
	dir, to := t.TempDir(), new(logs)
	for range 3 {
		runUntilReady(t, prepared(t, dir, to))
	}
	if s := to.String(); strings.Contains(s, "level=ERROR") || strings.Contains(s, "accept connection") {
		t.Errorf("logged:\n%s", s)
	}
}

// TestTheAdministratorsTokenIsKept: not each start leaves another one behind, and one that is
// of no use is replaced.
func TestTheAdministratorsTokenIsKept(t *testing.T) {
	dir, to := t.TempDir(), new(logs)
	issued := func() int {
		runUntilReady(t, prepared(t, dir, to))
		return strings.Count(to.String(), "issued an administrator's token")
	}
	if first, second := issued(), issued(); first != 1 || second != 1 {
		t.Errorf("%d tokens after one start, %d after two", first, second)
	}
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte("eyJhbGciOiJSUzI1NiJ9.e30.AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := issued(); n != 2 {
		t.Errorf("%d tokens after the file was damaged", n)
	}
	// What lists tokens must know which key they need.
	records := 0
	err := filepath.WalkDir(filepath.Join(dir, auditDir), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, "renew admin.token") {
				if records++; !strings.Contains(line, `"serial":"1"`) {
					t.Errorf("the key is missing in %s", line)
				}
			}
		}
		return err
	})
	if err != nil || records != 2 {
		t.Errorf("%d records, %v", records, err)
	}
}

// TestUnwritableFolder: what cannot be written at the end of a start is found at its
// beginning, before the node leads or issues anything.
func TestUnwritableFolder(t *testing.T) {
	for _, name := range []string{endpoints.FileName, "admin.token"} {
		dir, to := t.TempDir(), new(logs)
		if err := os.MkdirAll(filepath.Join(dir, name, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, prepared(t, dir, to).Run(t.Context()), federation.Internal, name)
		if s := to.String(); strings.Contains(s, "founded") || strings.Contains(s, "issued") {
			t.Errorf("%s: the node went to work:\n%s", name, s)
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		runUntilReady(t, prepared(t, dir, to))
	}
}

// TestAZonesFolderIsNotTaken: a node would remove the endpoints of the zone that runs there.
func TestAZonesFolderIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.OpenDataDir(dir, disk.ZoneMark); err != nil {
		t.Fatal(err)
	}
	before := namesIn(t, dir)
	wantRefused(t, devConfig(dir, new(logs)).PrepareDev(), federation.Conflict, "zone control plane")
	cfg := Config{DataDir: dir, Logger: slog.New(slog.DiscardHandler)}
	wantRefused(t, cfg.lockDataDir(), federation.Conflict, "zone control plane") // as `global server`
	if after := namesIn(t, dir); after != before {
		t.Errorf("the folder held %s, and holds %s", before, after)
	}
}

func namesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestWhatANodeMakesIsPrivate under every umask: whoever connects to the admin socket is
// an administrator.
func TestWhatANodeMakesIsPrivate(t *testing.T) {
	dir, to := tempdir.Short(t), new(logs)
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	node := prepared(t, dir, to)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	select {
	case <-node.Ready():
	case err := <-done:
		t.Fatalf("run ended: %v", err)
	case <-time.After(patience):
		t.Error("not ready")
	}
	info, err := os.Stat(filepath.Join(dir, adminSocket))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the admin socket: %v, %v", info, err)
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		if info, err := e.Info(); err == nil && disk.RightsOf(info).Write {
			t.Errorf("others may write %s: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
