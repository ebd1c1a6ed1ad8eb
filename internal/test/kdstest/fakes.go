package kdstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Cluster is the id of the cluster that every double is of.
const Cluster = "6f1c2f36-3c1e-4a52-9d0e-6f2b8f0f7a11"

// History returns the n-th history; a later one has a larger n.
func History(n int) federation.History {
	return federation.History{ID: fmt.Sprintf("%016x", n), Created: 1_790_000_000_000 + int64(n)}
}

// Revision returns an index of the h-th history.
func Revision(h, index int) federation.Revision {
	return federation.Revision{History: History(h), Index: uint64(index)}
}

// Source is a log of changes, all of which are its full state.
type Source struct {
	Mu      sync.Mutex
	Cluster string
	head    federation.Revision
	Floor   uint64
	log     []cptoken.Change
	changed chan struct{}
	since   int // calls of Since
	Err     error
}

// NewSource returns one that holds a single revocation, of "first".
func NewSource() *Source {
	return &Source{Cluster: Cluster, head: Revision(1, 1), changed: make(chan struct{}), log: []cptoken.Change{Revoke(1, "first")}}
}

// Revoke is the change that revokes zone tokens.
func Revoke(index uint64, ids ...string) cptoken.Change {
	run := &cptoken.RevokedRun{Kind: cptoken.Zone}
	for _, id := range ids {
		run.IDs = append(run.IDs, cptoken.RevokedID{ID: id})
	}
	return cptoken.Change{Index: index, Revoked: run}
}

// Add appends the revocation of ids at the next index and returns the new head.
func (s *Source) Add(ids ...string) federation.Revision {
	return s.addChange(Revoke(0, ids...))
}

func (s *Source) addChange(c cptoken.Change) federation.Revision {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.head.Index++
	c.Index = s.head.Index
	s.log = append(s.log, c)
	s.wake()
	return s.head
}

// Become puts the source at another point, as another member would be.
func (s *Source) Become(head federation.Revision, log ...cptoken.Change) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.head, s.log = head, log
	s.wake()
}

func (s *Source) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Head implements kds.Source.
func (s *Source) Head() (string, federation.Revision) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Cluster, s.head
}

// Watch implements kds.Source.
func (s *Source) Watch() <-chan struct{} {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.changed
}

// Since implements kds.Source.
func (s *Source) Since(rev federation.Revision) (cptoken.Delta, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.since++
	if s.Err != nil {
		return cptoken.Delta{}, s.Err
	}
	d := cptoken.Delta{Cluster: s.Cluster, From: rev, To: s.head, Position: []byte(s.head.String()), Watermark: time.UnixMilli(1_700_000_000_000)}
	if rev.History == s.head.History && rev.Index > s.head.Index || rev.History.Compare(s.head.History) > 0 {
		return d, federation.Errorf(federation.Unavailable, "ahead")
	}
	log := slices.Clone(s.log)
	if rev.History != s.head.History || rev.Index < s.Floor {
		d.Full, d.From = true, federation.Revision{}
		d.Changes = slices.Values(log)
		return d, nil
	}
	log = slices.DeleteFunc(log, func(c cptoken.Change) bool { return c.Index <= rev.Index })
	d.Changes = slices.Values(log)
	return d, nil
}

// Place implements kds.Source: a position is a revision as text.
func (s *Source) Place(_ context.Context, _ string, position []byte) (cptoken.Standing, federation.Revision) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	rev, err := federation.ParseRevision(string(position))
	switch age := rev.History.Compare(s.head.History); {
	case err != nil || rev.IsZero() || age < 0:
		return cptoken.Unproven, federation.Revision{}
	case age > 0 || rev.Index > s.head.Index:
		return cptoken.Ahead, federation.Revision{}
	}
	return cptoken.InPast, rev
}

// SinceCalls returns how often Since was called.
func (s *Source) SinceCalls() int {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.since
}

// Log is a log that tests read while it is written.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *Log) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was logged.
func (b *Log) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Logger returns a logger that writes here, from level info on.
func (b *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// Patience is for machines that pause anything for seconds: no test that passes
// waits so long.
const Patience = time.Minute

// Eventually waits for a condition, polling: what it looks at has no channel.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// ErrTest is an error that only a test makes.
var ErrTest = errors.New("made up by the test")

// DER returns a public key, the same one each time.
var DER = sync.OnceValue(func() []byte {
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

// Key returns a public key of an id and state.
func Key(t testing.TB, id cptoken.KeyID, state cptoken.KeyState, r *cptoken.Constraints) *cptoken.PublicKey {
	t.Helper()
	k, err := cptoken.NewPublicKey(id, cptoken.AlgRS256, state, DER(), r)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
