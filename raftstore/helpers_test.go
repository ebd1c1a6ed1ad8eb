package raftstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/raftnet"
	"github.com/meridiankds/meridian/raftstore/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; it is no measurement.
const patience = 60 * time.Second

func testSeal(t testing.TB) *issue.SealKeys {
	t.Helper()
	line, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := issue.ParseSealKeys(line)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// member is a store under test and its Run.
type member struct {
	*Store
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	once   sync.Once
}

// start opens and runs a member. It is stopped at the end of the test.
func start(t testing.TB, cfg Config) *member {
	t.Helper()
	if cfg.ElectionTimeout == 0 {
		cfg.ElectionTimeout = 200 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Store: s, t: t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.err = s.Run(ctx)
	}()
	t.Cleanup(m.stop)
	return m
}

func (m *member) stop() {
	m.once.Do(func() {
		m.cancel()
		<-m.done
		if m.err != nil && !m.t.Failed() {
			m.t.Errorf("run: %v", m.err)
		}
	})
}

// awaitReady waits until the member can serve.
func (m *member) awaitReady() *member {
	m.t.Helper()
	select {
	case <-m.Ready():
	case <-m.done:
		m.t.Fatalf("run ended: %v", m.err)
	case <-time.After(patience):
		m.t.Fatal("not ready")
	}
	return m
}

// until waits for a condition on the member's state.
func (m *member) until(what string, ok func() bool) {
	m.t.Helper()
	deadline := time.After(patience)
	for {
		progress := m.fsm.progress.next()
		if ok() {
			return
		}
		select {
		case <-progress:
		case <-deadline:
			m.t.Fatalf("%s: still not so", what)
		}
	}
}

// alone returns the config of a node that founds a cluster on a loopback port.
func alone(t testing.TB, dir string, seal *issue.SealKeys) Config {
	t.Helper()
	layer, err := raftnet.Loopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { layer.Close() })
	return Config{Dir: dir, Layer: layer, Seal: seal, Bootstrap: true}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(string(p))
	return len(p), nil
}

func randomUUID() string { return uuid.NewString() }

func snapshotBytes(t testing.TB, s *state.State) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.WriteSnapshot(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func revokedIDs(n int) []cptoken.RevokedID {
	ids := make([]cptoken.RevokedID, n)
	for i := range ids {
		ids[i].ID = randomUUID()
	}
	return ids
}

func wantCode(t testing.TB, err error, code federation.Code, reason string) {
	t.Helper()
	var e *federation.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not a federation.Error", err)
	}
	if e.Code != code || e.Reason != reason {
		t.Fatalf("code %q reason %q (%v), want %q %q", e.Code, e.Reason, err, code, reason)
	}
}

func addr(s string) raft.ServerAddress { return raft.ServerAddress(s) }
