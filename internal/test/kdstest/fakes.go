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
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
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
func (s *Source) Place(_ string, position []byte) (cptoken.Standing, federation.Revision) {
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

// Sink is a zone's copy in memory.
type Sink struct {
	Mu         sync.Mutex
	Cluster    string
	Rev        federation.Revision
	ids        map[string]bool
	pending    []cptoken.Part
	sets       []cptoken.Part // headers of applied sets
	parts      int
	HeardCount int
	HeardFrom  string
	HeardAt    time.Time // the latest time that Heard was told
	changed    chan struct{}
	// Persistence is what Persisted tells, the revision apart; Vocabulary and NotHeld
	// what Skipped tells.
	Persistence cptoken.Persistence
	Vocabulary  int
	NotHeld     []string
	// Hook runs before a part is taken, outside the lock.
	Hook func(p cptoken.Part) error
}

// NewSink returns a copy that knows nothing.
func NewSink() *Sink {
	return &Sink{ids: map[string]bool{}, changed: make(chan struct{}), Vocabulary: cptoken.Vocabulary}
}

// Position implements kds.Sink.
func (s *Sink) Position() (string, federation.Revision) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Cluster, s.Rev
}

// Proof implements kds.Sink: what a Source takes for a position.
func (s *Sink) Proof() []byte {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Rev.IsZero() {
		return nil
	}
	return []byte(s.Rev.String())
}

// Taken implements kds.Sink: what is taken is durable.
func (s *Sink) Taken() (string, federation.Revision) { return s.Position() }

// Take implements kds.Sink.
func (s *Sink) Take(ctx context.Context, p cptoken.Part) error { return s.Apply(ctx, p) }

// Persisted implements kds.Sink.
func (s *Sink) Persisted() (cptoken.Persistence, <-chan struct{}) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	p := s.Persistence
	p.Revision = s.Rev
	return p, s.changed
}

// Skipped implements kds.Sink.
func (s *Sink) Skipped() (int, []string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Vocabulary, s.NotHeld
}

// Apply implements kds.Sink.
func (s *Sink) Apply(_ context.Context, p cptoken.Part) error {
	s.Mu.Lock()
	hook := s.Hook
	s.Mu.Unlock()
	if hook != nil {
		if err := hook(p); err != nil {
			return err
		}
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
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
	s.Cluster, s.Rev = p.Cluster, p.To
	s.sets = append(s.sets, p)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Heard implements kds.Sink.
func (s *Sink) Heard(member string, at time.Time) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.HeardCount++
	s.HeardFrom, s.HeardAt = member, at
}

// Holds reports whether the copy stands at a revision.
func (s *Sink) Holds(rev federation.Revision) bool {
	_, at := s.Position()
	return at == rev
}

// Has reports whether an id is revoked.
func (s *Sink) Has(id string) bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.ids[id]
}

// Applied returns the last parts of the sets that were applied.
func (s *Sink) Applied() []cptoken.Part {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return slices.Clone(s.sets)
}

// SetHook sets Hook while the copy is in use.
func (s *Sink) SetHook(f func(cptoken.Part) error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Hook = f
}

// Auth admits "Bearer <zone>" as that zone, "Bearer <zone>/<serial>" with a
// serial, and nothing else unless Open is set.
type Auth struct {
	Mu      sync.Mutex
	Open    bool // mode none: who shows nothing comes in unauthenticated
	refused map[string]string
	Expires time.Time
	Seen    []kds.Credentials
	err     error
}

// Authenticate implements kds.Authenticator.
func (a *Auth) Authenticate(_ context.Context, c kds.Credentials) (kds.Admission, error) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.Seen = append(a.Seen, c)
	if a.err != nil {
		return kds.Admission{}, a.err
	}
	if c.Authorization == "" && a.Open {
		return kds.Admission{Zone: c.Zone, Method: kds.MethodNone, Verdict: "no token"}, nil
	}
	token, ok := strings.CutPrefix(c.Authorization, "Bearer ")
	if !ok || token == "forged" {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "nothing verifies this token").
			WithReason("bad_signature").WithHint("issue a new one")
	}
	if reason := a.refused[token]; reason != "" {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "the token of %s is %s", token, reason).WithReason(reason)
	}
	return kds.Admission{Zone: token, Method: kds.MethodControlPlaneToken, TokenSerial: 7, TokenID: "id-" + token, Expires: a.Expires, Authenticated: true}, nil
}

// Refuse has the token of a zone refused from now on.
func (a *Auth) Refuse(zone, reason string) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.refused = maps.Clone(a.refused)
	if a.refused == nil {
		a.refused = map[string]string{}
	}
	a.refused[zone] = reason
}

// Fail makes the Authenticator unable to decide, or able again.
func (a *Auth) Fail(err error) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.err = err
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

// JudgingAuth admits like Auth, and judges on its own.
type JudgingAuth struct {
	Auth
	Judged  atomic.Int64
	Verdict atomic.Pointer[map[string]error]
}

// Judge implements kds.Judge.
func (a *JudgingAuth) Judge(ad kds.Admission) error {
	a.Judged.Add(1)
	if v := a.Verdict.Load(); v != nil {
		return (*v)[ad.Zone]
	}
	return nil
}
