package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(dir string) Config {
	return Config{
		Zone: "west", DataDir: dir, Globals: []string{"127.0.0.1:1"}, GlobalPlain: true,
		DPAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", DiagnosticsAddr: "127.0.0.1:0",
		Version: "test", Logger: slog.New(slog.DiscardHandler),
	}
}

// start runs a zone and returns what ends it.
func start(t *testing.T, cfg Config) (end func()) {
	t.Helper()
	node, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	<-node.Ready()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// status asks for the zone's status as `zone status --data-dir` does.
func status(t *testing.T, dir string) (apiclient.Target, error) {
	t.Helper()
	target, err := apiclient.Resolve(apiclient.API("zone"), apiclient.Flags{DataDir: dir}, func(string) string { return "" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := apiclient.NewZone(target, "zone/test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := zone.Status(t.Context())
	if err == nil && s.Zone != "west" {
		t.Errorf("status of %q", s.Zone)
	}
	return target, err
}

func TestStatusThroughTheSocketNeedsNoToken(t *testing.T) {
	dir := tempdir.Short(t)
	path := filepath.Join(dir, socketName)
	end := start(t, config(dir))
	target, err := status(t, dir)
	if err != nil || target.Address != "unix://"+path {
		t.Errorf("asked %s: %v", target, err)
	}
	end()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays behind: %v", err)
	}
}

// A killed zone leaves its socket: that must not keep its successor from starting.
func TestSocketOfAKilledZoneIsReplaced(t *testing.T) {
	dir := tempdir.Short(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	defer start(t, config(dir))()
	if _, err := status(t, dir); err != nil {
		t.Error(err)
	}
}

func TestASecondZoneInTheFolderIsRefusedAtOnce(t *testing.T) {
	dir := tempdir.Short(t)
	defer start(t, config(dir))()
	_, err := New(config(dir)) // the lock, for which it would wait, says it in other words
	if e := federation.AsError(err); e == nil || e.Code != federation.Conflict || !strings.Contains(e.Detail, "another zone runs in "+dir) || e.Hint == "" {
		t.Errorf("got %+v", e)
	}
	if _, err := status(t, dir); err != nil {
		t.Errorf("the first zone lost its socket: %v", err)
	}
}

func TestAPathTooLongForASocket(t *testing.T) {
	dir := filepath.Join(tempdir.Short(t), strings.Repeat("x", endpoints.MaxSocketPath))
	node, err := New(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	if node.socket != nil || node.Endpoints().AdminSocket != "" {
		t.Error("there is a socket")
	}
	if err := node.close(); err != nil {
		t.Error(err)
	}
}

// TestAGlobalsFolderIsNotTaken: a zone would remove the endpoints of the global that runs
// there.
func TestAGlobalsFolderIsNotTaken(t *testing.T) {
	dir := tempdir.Short(t)
	if _, err := disk.OpenDataDir(dir, disk.GlobalMark); err != nil {
		t.Fatal(err)
	}
	_, err := New(config(dir))
	if e := federation.AsError(err); e == nil || e.Reason != "other_program" || !strings.Contains(e.Detail, dir) {
		t.Errorf("got %+v", e)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v: its mark alone was there", entries, err)
	}
}

// TestWhatAZoneMakesIsPrivate under every umask: whoever connects to the socket is an
// operator.
func TestWhatAZoneMakesIsPrivate(t *testing.T) {
	dir := tempdir.Short(t)
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	defer start(t, config(dir))()
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
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
}

// TestProxiesComeByBothFamilies: whichever address of a name a proxy takes, a zone listens there
// unless it is told otherwise.
func TestProxiesComeByBothFamilies(t *testing.T) {
	cfg := config(tempdir.Short(t))
	host, _, err := net.SplitHostPort(DefaultDPAddr)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DPAddr = net.JoinHostPort(host, "0")
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	_, port, err := net.SplitHostPort(n.Endpoints().DP)
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"127.0.0.1", "::1"} {
		if l, err := net.Listen("tcp", net.JoinHostPort(ip, "0")); err != nil {
			t.Logf("not tried: this machine has no %s: %v", ip, err)
			continue
		} else {
			l.Close()
		}
		conn, err := net.Dial("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Errorf("%s: %v", ip, err)
			continue
		}
		conn.Close()
	}
}
