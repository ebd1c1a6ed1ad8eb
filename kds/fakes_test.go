package kds

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

const testCluster = "6f1c2f36-3c1e-4a52-9d0e-6f2b8f0f7a11"

func history(n int) federation.History {
	return federation.History{ID: fmt.Sprintf("%016x", n), Created: 1_790_000_000_000 + int64(n)}
}

func revision(h, index int) federation.Revision {
	return federation.Revision{History: history(h), Index: uint64(index)}
}

// fakeSource is a log of changes, all of which are its full state.
type fakeSource struct {
	mu      sync.Mutex
	cluster string
	head    federation.Revision
	floor   uint64
	log     []cptoken.Change
	changed chan struct{}
	since   int // calls of Since
	err     error
}

func newSource() *fakeSource {
	return &fakeSource{cluster: testCluster, head: revision(1, 1), changed: make(chan struct{}), log: []cptoken.Change{revoke(1, "first")}}
}

func revoke(index uint64, ids ...string) cptoken.Change {
	run := &cptoken.RevokedRun{Kind: cptoken.Zone}
	for _, id := range ids {
		run.IDs = append(run.IDs, cptoken.RevokedID{ID: id})
	}
	return cptoken.Change{Index: index, Revoked: run}
}

// add appends the revocation of ids at the next index and returns the new head.
func (s *fakeSource) add(ids ...string) federation.Revision {
	return s.addChange(revoke(0, ids...))
}

func (s *fakeSource) addChange(c cptoken.Change) federation.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head.Index++
	c.Index = s.head.Index
	s.log = append(s.log, c)
	s.wake()
	return s.head
}

// become puts the source at another point, as another member would be.
func (s *fakeSource) become(head federation.Revision, log ...cptoken.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head, s.log = head, log
	s.wake()
}

func (s *fakeSource) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeSource) Head() (string, federation.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster, s.head
}

func (s *fakeSource) Watch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *fakeSource) Since(rev federation.Revision) (cptoken.Delta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since++
	if s.err != nil {
		return cptoken.Delta{}, s.err
	}
	d := cptoken.Delta{Cluster: s.cluster, From: rev, To: s.head, Watermark: time.UnixMilli(1_700_000_000_000)}
	if rev.History == s.head.History && rev.Index > s.head.Index || rev.History.Compare(s.head.History) > 0 {
		return d, federation.Errorf(federation.Unavailable, "ahead")
	}
	log := slices.Clone(s.log)
	if rev.History != s.head.History || rev.Index < s.floor {
		d.Full, d.From = true, federation.Revision{}
		d.Changes = slices.Values(log)
		return d, nil
	}
	log = slices.DeleteFunc(log, func(c cptoken.Change) bool { return c.Index <= rev.Index })
	d.Changes = slices.Values(log)
	return d, nil
}

func (s *fakeSource) sinceCalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

// fakeSink is a zone's copy in memory.
type fakeSink struct {
	mu      sync.Mutex
	cluster string
	rev     federation.Revision
	ids     map[string]bool
	pending []cptoken.Part
	sets    []cptoken.Part // headers of applied sets
	parts   int
	heard   int
	member  string
	changed chan struct{}
	// hook runs before a part is taken, outside the lock.
	hook func(p cptoken.Part) error
}

func newSink() *fakeSink {
	return &fakeSink{ids: map[string]bool{}, changed: make(chan struct{})}
}

func (s *fakeSink) Position() (string, federation.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster, s.rev
}

func (s *fakeSink) Apply(_ context.Context, p cptoken.Part) error {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		if err := hook(p); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Number == 0 {
		s.pending = nil
	}
	s.parts++
	s.pending = append(s.pending, p)
	if !p.Last {
		return nil
	}
	if p.Full {
		s.ids = map[string]bool{}
	}
	for _, part := range s.pending {
		for _, c := range part.Changes {
			if c.Revoked == nil {
				continue
			}
			for _, id := range c.Revoked.IDs {
				s.ids[id.ID] = true
			}
		}
	}
	s.pending = nil
	s.cluster, s.rev = p.Cluster, p.To
	s.sets = append(s.sets, p)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *fakeSink) Heard(member string, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard++
	s.member = member
}

func (s *fakeSink) holds(rev federation.Revision) bool {
	_, at := s.Position()
	return at == rev
}

func (s *fakeSink) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

func (s *fakeSink) applied() []cptoken.Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sets)
}

func (s *fakeSink) setHook(f func(cptoken.Part) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// fakeAuth admits "Bearer <zone>" as that zone, "Bearer <zone>/<serial>" with a
// serial, and nothing else unless open is set.
type fakeAuth struct {
	mu      sync.Mutex
	open    bool // mode none: who shows nothing comes in unauthenticated
	refused map[string]string
	expires time.Time
	seen    []Credentials
	err     error
}

func (a *fakeAuth) Authenticate(_ context.Context, c Credentials) (Admission, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, c)
	if a.err != nil {
		return Admission{}, a.err
	}
	if c.Authorization == "" && a.open {
		return Admission{Zone: c.Zone, Method: MethodNone, Verdict: "no token"}, nil
	}
	token, ok := strings.CutPrefix(c.Authorization, "Bearer ")
	if !ok || token == "forged" {
		return Admission{}, federation.Errorf(federation.Unauthenticated, "nothing verifies this token").
			WithReason("bad_signature").WithHint("issue a new one")
	}
	if reason := a.refused[token]; reason != "" {
		return Admission{}, federation.Errorf(federation.Unauthenticated, "the token of %s is %s", token, reason).WithReason(reason)
	}
	return Admission{Zone: token, Method: MethodControlPlaneToken, TokenSerial: 7, TokenID: "id-" + token, Expires: a.expires, Authenticated: true}, nil
}

func (a *fakeAuth) refuse(zone, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = maps.Clone(a.refused)
	if a.refused == nil {
		a.refused = map[string]string{}
	}
	a.refused[zone] = reason
}

// fail makes the Authenticator unable to decide, or able again.
func (a *fakeAuth) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// logBuffer is a log that tests read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// patience is for machines that pause anything for seconds: no test that passes
// waits so long.
const patience = time.Minute

// eventually waits for a condition, polling: what it looks at has no channel.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

var errTest = errors.New("made up by the test")

var testDER = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return der
})

func testKey(t testing.TB, id cptoken.KeyID, state cptoken.KeyState, r *cptoken.Constraints) *cptoken.PublicKey {
	t.Helper()
	k, err := cptoken.NewPublicKey(id, cptoken.AlgRS256, state, testDER(), r)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
