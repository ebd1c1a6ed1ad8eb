package kds_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
)

// TestHeardMeansApplied: a member that answers while a set that it sent is not
// applied yet is no sign that the zone's copy is current.
func TestHeardMeansApplied(t *testing.T) {
	var now atomic.Int64
	now.Store(1_800_000_000)
	m := start(t, func(c *server.Config) {
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		c.HealthInterval = time.Second
	})
	z := join(t, "west", nil, m.addr)
	counted := func() int {
		z.sink.Mu.Lock()
		defer z.sink.Mu.Unlock()
		return z.sink.HeardCount
	}
	answered := func() { // the member hears the zone's health call
		at := now.Add(5)
		kdstest.Eventually(t, "a health check", func() bool { return m.session(t, "west").LastHeard.Unix() == at })
	}
	kdstest.Eventually(t, "full state acknowledged", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })
	before := counted()
	kdstest.Eventually(t, "a word while nothing is missing", func() bool { return counted() > before })

	applying, release := make(chan struct{}), make(chan struct{})
	z.sink.Mu.Lock()
	z.sink.Hook = func(cptoken.Part) error {
		close(applying)
		<-release
		return nil
	}
	z.sink.Mu.Unlock()
	m.source.Add("revoked")
	<-applying
	before = counted()
	for range 3 {
		answered()
	}
	if after := counted(); after != before {
		t.Errorf("the copy was called current %d times while a set was being applied", after-before)
	}
	z.sink.Mu.Lock()
	z.sink.Hook = nil
	z.sink.Mu.Unlock()
	close(release)
	kdstest.Eventually(t, "a word once it is applied", func() bool { return counted() > before })
}

// slowDisk is a copy whose disk hangs from some time on.
type slowDisk struct {
	*kdstest.Sink
	taken, durable atomic.Uint64
}

// Persisted implements kds.Sink.
func (s *slowDisk) Persisted() (cptoken.Persistence, <-chan struct{}) {
	p, changed := s.Sink.Persisted()
	p.Taken, p.Durable = s.taken.Load(), s.durable.Load()
	return p, changed
}

// TestHeardMeansDurable: what widens takes effect when it is on the disk, so that a zone
// whose disk hangs is not current, however promptly members answer.
func TestHeardMeansDurable(t *testing.T) {
	var now atomic.Int64
	now.Store(1_800_000_000)
	m := start(t, func(c *server.Config) {
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		c.HealthInterval = time.Second
	})
	disk := &slowDisk{Sink: kdstest.NewSink()}
	join(t, "west", func(c *client.Config) { c.Sink = disk }, m.addr)
	counted := func() int {
		disk.Mu.Lock()
		defer disk.Mu.Unlock()
		return disk.HeardCount
	}
	kdstest.Eventually(t, "full state acknowledged", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })
	before := counted()
	kdstest.Eventually(t, "a word while everything is durable", func() bool { return counted() > before })

	disk.taken.Store(1) // the next set is beyond what is durable
	head := m.source.Add("revoked")
	kdstest.Eventually(t, "the change", func() bool { return disk.Holds(head) })
	for i := range 4 {
		at := now.Add(5)
		kdstest.Eventually(t, "a health check", func() bool { return m.session(t, "west").LastHeard.Unix() == at })
		if i == 0 {
			before = counted() // an answer from before the change may have counted still
		}
	}
	if after := counted(); after != before {
		t.Errorf("the copy was called current %d times while a set was not durable", after-before)
	}
	disk.durable.Store(1)
	m.source.Add("another") // wakes who waits for the disk
	kdstest.Eventually(t, "a word once it is durable", func() bool { return counted() > before })
}

// TestWhatACutOffMemberHasIsAsOldAsItsContact: a member that is cut off from the leader
// answers as promptly as ever, and also serves a full state. What the zone has of it is
// as old as the member's own contact with the leader.
func TestWhatACutOffMemberHasIsAsOldAsItsContact(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: waits for a zone's first health check, up to 10 s")
	}
	var silence atomic.Int64
	silence.Store(int64(10 * time.Minute))
	m := start(t, func(c *server.Config) {
		c.HealthInterval = time.Second
		c.LeaderContact = func() time.Duration { return time.Duration(silence.Load()) }
	})
	began := time.Now()
	z := join(t, "west", nil, m.addr)
	within := func(what string, least, most time.Duration) {
		t.Helper()
		z.sink.Mu.Lock()
		before := z.sink.HeardCount
		z.sink.Mu.Unlock()
		kdstest.Eventually(t, what, func() bool {
			z.sink.Mu.Lock()
			defer z.sink.Mu.Unlock()
			return z.sink.HeardCount > before && time.Since(z.sink.HeardAt) >= least && time.Since(z.sink.HeardAt) < most
		})
	}
	kdstest.Eventually(t, "full state to be counted", func() bool {
		z.sink.Mu.Lock()
		defer z.sink.Mu.Unlock()
		return z.sink.HeardCount > 0
	})
	z.sink.Mu.Lock()
	if at := z.sink.HeardAt; at.After(time.Now().Add(-10*time.Minute)) || at.Before(began.Add(-10*time.Minute-time.Second)) {
		t.Errorf("full state of a member that is cut off counts as of %s ago", time.Since(at))
	}
	z.sink.Mu.Unlock()
	silence.Store(int64(time.Hour))
	within("a health check of a member that is cut off longer", time.Hour, 2*time.Hour)
	silence.Store(0)
	within("contact again", 0, time.Minute)
}
