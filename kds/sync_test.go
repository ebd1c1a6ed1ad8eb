package kds_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/kds/wire"
)

func TestFullStateThenDeltas(t *testing.T) {
	m := start(t, nil)
	z := join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return z.sink.Holds(kdstest.Revision(1, 1)) })
	if sets := z.sink.Applied(); len(sets) != 1 || !sets[0].Full {
		t.Fatalf("a new zone got %+v, want one full state", sets)
	}
	head := m.source.Add("second")
	kdstest.Eventually(t, "the delta", func() bool { return z.sink.Holds(head) })
	sets := z.sink.Applied()
	if last := sets[len(sets)-1]; last.Full || last.From != kdstest.Revision(1, 1) || len(last.Changes) != 1 {
		t.Fatalf("one more revocation came as %+v", last)
	}
	if !z.sink.Has("first") || !z.sink.Has("second") {
		t.Fatal("ids are missing")
	}
	kdstest.Eventually(t, "the acknowledgement", func() bool { s := m.session(t, "west"); return s.Full && s.Acked == head })
	s := m.session(t, "west")
	if s.Instance != "west-0" || s.Version != "1.2.3" || s.Member != "member-1" || !s.Meridian || !s.Online() ||
		!s.Admission.Authenticated || s.Admission.TokenSerial != 7 || s.Nack != "" {
		t.Errorf("session %+v", s)
	}
	st := z.Status()
	if !st.Connected || st.Member != "member-1" || st.Address != m.addr || !st.Current || st.LastError != "" {
		t.Errorf("status %+v", st)
	}
}

// TestDeltaIsSmall holds the budget of one more revocation, with a canonical
// UUID and its expiry, whatever is revoked already.
func TestDeltaIsSmall(t *testing.T) {
	d := cptoken.Delta{Cluster: kdstest.Cluster, From: kdstest.Revision(1, 5_000_000), To: kdstest.Revision(1, 5_000_001),
		Watermark: time.UnixMilli(1_790_000_000_000)}
	d.Changes = func(yield func(cptoken.Change) bool) {
		c := kdstest.Revoke(5_000_001, "5b1f7f5e-9f0c-4c51-a53c-0c1e5a2f4d6b")
		c.Revoked.IDs[0].Expires = 2_000_000_000
		yield(c)
	}
	b, err := wire.Encode(d, kds.MaxPart)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Parts) != 1 || b.Size > 300 {
		t.Errorf("one revocation takes %d bytes in %d parts, want at most 300 in one", b.Size, len(b.Parts))
	}
	t.Logf("one revocation: %d bytes", b.Size)
}

func TestResume(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	with := func(c *client.Config) { c.Sink = sink }
	z := join(t, "west", with, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return sink.Holds(kdstest.Revision(1, 1)) })
	z.stop()
	head := m.source.Add("while away")

	join(t, "west", with, m.addr)
	kdstest.Eventually(t, "what was missed", func() bool { return sink.Holds(head) })
	if sets := sink.Applied(); len(sets) != 2 || sets[1].Full || sets[1].From != kdstest.Revision(1, 1) {
		t.Fatalf("a resumed zone got %+v, want a delta", sets)
	}
}

func TestResumeAtHeadIsAnswered(t *testing.T) {
	m := start(t, nil)
	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
	r.send(subscription("west", kds.ChangesType, wire.ResumeVersion(kdstest.Cluster, kdstest.Revision(1, 1))))
	p, err := wire.DecodePart(r.must())
	if err != nil || p.Full || p.From != p.To || len(p.Changes) != 0 || p.To != kdstest.Revision(1, 1) {
		t.Fatalf("got %+v, %v, want an empty set", p, err)
	}
	if s := m.session(t, "west"); !s.Full || s.Acked != kdstest.Revision(1, 1) {
		t.Errorf("a zone that resumes at the head counts as %+v", s)
	}
}

func TestBelowTheFloorGetsFullState(t *testing.T) {
	m := start(t, nil)
	for i := range 5 {
		m.source.Add(fmt.Sprint("id-", i))
	}
	m.source.Mu.Lock()
	m.source.Floor = 4
	m.source.Mu.Unlock()
	sink := kdstest.NewSink()
	sink.Cluster, sink.Rev = kdstest.Cluster, kdstest.Revision(1, 2)
	join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return sink.Holds(kdstest.Revision(1, 6)) })
	if sets := sink.Applied(); len(sets) != 1 || !sets[0].Full {
		t.Fatalf("got %+v, want one full state", sets)
	}
}

// TestAheadOfMemberWaits: a zone that has seen more than this member is sent
// nothing until the member has caught up, and then goes on with a delta.
func TestAheadOfMemberWaits(t *testing.T) {
	for name, at := range map[string]federation.Revision{
		"later index":    kdstest.Revision(1, 3),
		"newer history":  kdstest.Revision(2, 1),
		"much newer yet": kdstest.Revision(9, 100),
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t, nil)
			sink := kdstest.NewSink()
			sink.Cluster, sink.Rev = kdstest.Cluster, at
			z := join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
			kdstest.Eventually(t, "waiting", func() bool { return strings.Contains(m.log.String(), "waits for it") })
			if z.Status().Current || len(sink.Applied()) != 0 {
				t.Fatal("the zone was sent something")
			}
			next := at
			next.Index++
			m.source.Become(next, kdstest.Revoke(next.Index, "beyond"))
			kdstest.Eventually(t, "the member's new state", func() bool { return sink.Holds(next) })
			if sets := sink.Applied(); len(sets) != 1 || sets[0].Full {
				t.Fatalf("got %+v, want one delta", sets)
			}
		})
	}
}

// TestNothingOlderIsSent: a zone that is ahead would refuse what is older. The member does not
// even send it: the first that comes leads on from where the zone stands.
func TestNothingOlderIsSent(t *testing.T) {
	m := start(t, nil)
	at, next := kdstest.Revision(1, 3), kdstest.Revision(1, 4)
	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, append(as("west"), kds.MDVocabulary, "1")...)
	first := subscription("west", kds.ChangesType, wire.ResumeVersion(kdstest.Cluster, at))
	first.InitialResourceVersions[kds.VersionVocabulary] = "1"
	r.send(first)
	kdstest.Eventually(t, "waiting", func() bool { return strings.Contains(m.log.String(), "waits for it") })
	m.source.Become(next, kdstest.Revoke(next.Index, "beyond"))
	if p, err := wire.DecodePart(r.must()); err != nil || p.Full || p.From != at || p.To != next {
		t.Errorf("the first that is sent is %+v (%v), want what leads from %s to %s", p, err, at, next)
	}
}

// TestAMergingStateIsNotOfBeforeWhatAZoneClaims: nothing proves where a zone stands, and a full
// state that was made for others a while ago would lack keys that it has.
func TestAMergingStateIsNotOfBeforeWhatAZoneClaims(t *testing.T) {
	m := start(t, nil)
	sent := func(zone string, claims federation.Revision) federation.Revision {
		t.Helper()
		r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, append(as(zone), kds.MDVocabulary, "1")...)
		first := subscription(zone, kds.ChangesType, wire.ResumeVersion(kdstest.Cluster, claims))
		first.InitialResourceVersions[kds.VersionVocabulary] = "1"
		first.InitialResourceVersions[kds.VersionPosition] = base64.StdEncoding.EncodeToString([]byte("proves nothing"))
		r.send(first)
		p, err := wire.DecodePart(r.must())
		if err != nil || !p.Full || !p.Merging {
			t.Fatalf("%s is sent %+v (%v), want a full state that merges", zone, p, err)
		}
		return p.To
	}
	old := sent("old", kdstest.Revision(1, 1))
	claims := m.source.Add("a")
	if to := sent("older", kdstest.Revision(1, 1)); to != old {
		t.Fatalf("a zone that claims no more is sent %s, want the state at %s, which there is", to, old)
	}
	if to := sent("west", claims); to != claims {
		t.Errorf("a zone that says it has %s is sent the state at %s", claims, to)
	}
}

// outOfTouch is a source of a member that cannot tell where zones stand until it is in touch
// with the others. Nothing changes by that.
type outOfTouch struct {
	*kdstest.Source
	inTouch atomic.Bool
}

// Place implements kds.Source.
func (o *outOfTouch) Place(ctx context.Context, zone string, position []byte) (cptoken.Standing, federation.Revision) {
	if !o.inTouch.Load() {
		return cptoken.Ahead, federation.Revision{}
	}
	return o.Source.Place(ctx, zone, position)
}

// TestAMemberThatIsInTouchAgainIsAsked, although nothing changes.
func TestAMemberThatIsInTouchAgainIsAsked(t *testing.T) {
	source := &outOfTouch{Source: kdstest.NewSource()}
	m := start(t, func(c *server.Config) { c.Source = source })
	z := join(t, "west", func(c *client.Config) {
		sink := kdstest.NewSink()
		sink.Cluster, sink.Rev = kdstest.Cluster, kdstest.Revision(1, 1)
		c.Sink = sink
	}, m.addr)
	kdstest.Eventually(t, "waiting", func() bool { return strings.Contains(m.log.String(), "waits for it") })
	source.inTouch.Store(true)
	kdstest.Eventually(t, "the zone to be current", func() bool { return z.Status().Current })
}

func TestNewerHistoryBringsFullState(t *testing.T) {
	m := start(t, nil)
	z := join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return z.sink.Holds(kdstest.Revision(1, 1)) })
	m.source.Become(kdstest.Revision(2, 1), kdstest.Revoke(1, "restored"))
	kdstest.Eventually(t, "the new history", func() bool { return z.sink.Holds(kdstest.Revision(2, 1)) })
	if sets := z.sink.Applied(); !sets[len(sets)-1].Full {
		t.Fatalf("a new history came as %+v", sets)
	}
}

func TestOtherClusterRefused(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	sink.Cluster, sink.Rev = "another-cluster", kdstest.Revision(1, 1)
	z := join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "the refusal at the zone", func() bool { return z.Status().LastReason == kds.ReasonOtherCluster })
	if !sink.Holds(kdstest.Revision(1, 1)) || len(sink.Applied()) != 0 {
		t.Fatal("the zone took another cluster's state")
	}
	kdstest.Eventually(t, "a hint in the zone's log", func() bool { return strings.Contains(z.log.String(), "hint=") })

	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("east")...)
	r.send(subscription("east", kds.ChangesType, wire.ResumeVersion("another-cluster", kdstest.Revision(1, 1))))
	if _, err := r.recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the server answers another cluster's zone with %v", err)
	}
}

// TestAcknowledgedAfterDurable: the global hears of a set only after Apply
// returned.
func TestAcknowledgedAfterDurable(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	sink.Hook = func(cptoken.Part) error {
		once.Do(func() { close(entered) })
		<-release
		return nil
	}
	join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	<-entered
	if s := m.session(t, "west"); s.Full || !s.Acked.IsZero() || m.Stats().Acks != 0 {
		t.Errorf("acknowledged before it was durable: %+v", s)
	}
	close(release)
	kdstest.Eventually(t, "the acknowledgement", func() bool { s := m.session(t, "west"); return s.Full && s.Acked == kdstest.Revision(1, 1) })
}

// TestNackAndRetry: a set that the zone cannot apply is refused with the cause,
// which the global keeps until the zone accepts one.
func TestNackAndRetry(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	sink.Hook = func(cptoken.Part) error { return fmt.Errorf("disk full: %w", kdstest.ErrTest) }
	z := join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "the refusal", func() bool {
		s := m.Sessions()
		return len(s) == 1 && strings.Contains(s[0].Nack, "disk full")
	})
	kdstest.Eventually(t, "the zone's log", func() bool { return strings.Contains(z.log.String(), "disk full") })
	kdstest.Eventually(t, "the refusal to be counted and logged", func() bool {
		return m.Stats().Nacks > 0 && strings.Contains(m.log.String(), "zone refused a set of changes")
	})
	sink.SetHook(nil)
	kdstest.Eventually(t, "the set", func() bool { return sink.Holds(kdstest.Revision(1, 1)) })
	kdstest.Eventually(t, "a clean session", func() bool { s := m.Sessions(); return len(s) == 1 && s[0].Nack == "" && s[0].Full })
}

// TestPartsTravelAndApplyAsOne sends a state of several parts, and loses the
// stream in the middle once: the zone starts over and ends up with all of it.
func TestPartsTravelAndApplyAsOne(t *testing.T) {
	m := start(t, func(c *server.Config) { c.MaxPart = 4 << 10 })
	want := []string{"first"}
	for i := range 40 {
		ids := make([]string, 20)
		for j := range ids {
			ids[j] = fmt.Sprintf("%08x-0000-4000-8000-%012x", i, j)
		}
		want = append(want, ids...)
		m.source.Add(ids...)
	}
	sink := kdstest.NewSink()
	var once sync.Once
	sink.Hook = func(p cptoken.Part) error {
		if p.Number == 2 {
			once.Do(func() { m.Disconnect("west", "test") })
		}
		return nil
	}
	join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "all of it", func() bool { return sink.Holds(kdstest.Revision(1, 41)) })
	for _, id := range want {
		if !sink.Has(id) {
			t.Fatalf("%s is missing", id)
		}
	}
	if sets := sink.Applied(); sets[0].Number < 3 {
		t.Fatalf("the state had %d parts: the test proves nothing", sets[0].Number+1)
	}
}
