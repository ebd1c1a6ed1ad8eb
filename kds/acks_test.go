package kds_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds/client"
)

// TestAcksGather: a zone may keep one change to itself for a while, and never as many
// as would keep the member from sending; what it refuses is told at once, with what it
// took before.
func TestAcksGather(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	z := join(t, "west", func(c *client.Config) { c.Sink, c.AckAfter = sink, time.Hour }, m.addr)
	kdstest.Eventually(t, "full state to be acknowledged at once", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })

	acked := m.session(t, "west").Acked
	for i := range 3 {
		for j := range 2 {
			head := m.source.Add(fmt.Sprint("id-", i, "-", j))
			kdstest.Eventually(t, "the change", func() bool { return sink.Holds(head) })
		}
		_, head := m.source.Head()
		kdstest.Eventually(t, "one acknowledgement for all", func() bool { return m.session(t, "west").Acked == head })
	}
	if _, head := m.source.Head(); acked == head {
		t.Fatal("nothing has changed: the test proves nothing")
	}

	head := m.source.Add("kept to itself")
	kdstest.Eventually(t, "the change", func() bool { return sink.Holds(head) })
	sink.SetHook(func(cptoken.Part) error { return kdstest.ErrTest })
	m.source.Add("refused")
	kdstest.Eventually(t, "the refusal", func() bool { return m.Stats().Nacks > 0 })
	sink.SetHook(nil)
	kdstest.Eventually(t, "the zone to come back", func() bool {
		_, head := m.source.Head()
		return sink.Holds(head) && z.Status().Current
	})
}

// TestAckFollows: a single change is acknowledged without another one.
func TestAckFollows(t *testing.T) {
	m := start(t, nil)
	join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })
	for i := range 3 {
		head := m.source.Add(fmt.Sprint("id-", i))
		kdstest.Eventually(t, "the acknowledgement", func() bool { return m.session(t, "west").Acked == head })
	}
}
