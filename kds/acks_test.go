package kds

import (
	"fmt"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// TestAcksGather: a zone may keep one change to itself for a while, and never as many
// as would keep the member from sending; what it refuses is told at once, with what it
// took before.
func TestAcksGather(t *testing.T) {
	m := start(t, nil)
	sink := newSink()
	z := join(t, "west", func(c *ClientConfig) { c.Sink, c.ackAfter = sink, time.Hour }, m.addr)
	eventually(t, "full state to be acknowledged at once", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })

	acked := m.session(t, "west").Acked
	for i := range 3 {
		for j := range ackSets {
			head := m.source.add(fmt.Sprint("id-", i, "-", j))
			eventually(t, "the change", func() bool { return sink.holds(head) })
		}
		_, head := m.source.Head()
		eventually(t, "one acknowledgement for all", func() bool { return m.session(t, "west").Acked == head })
	}
	if _, head := m.source.Head(); acked == head {
		t.Fatal("nothing has changed: the test proves nothing")
	}

	head := m.source.add("kept to itself")
	eventually(t, "the change", func() bool { return sink.holds(head) })
	sink.setHook(func(cptoken.Part) error { return errTest })
	m.source.add("refused")
	eventually(t, "the refusal", func() bool { return m.Stats().Nacks > 0 })
	sink.setHook(nil)
	eventually(t, "the zone to come back", func() bool {
		_, head := m.source.Head()
		return sink.holds(head) && z.Status().Current
	})
}

// TestAckFollows: a single change is acknowledged without another one.
func TestAckFollows(t *testing.T) {
	m := start(t, nil)
	join(t, "west", nil, m.addr)
	eventually(t, "full state", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })
	for i := range 3 {
		head := m.source.add(fmt.Sprint("id-", i))
		eventually(t, "the acknowledgement", func() bool { return m.session(t, "west").Acked == head })
	}
}
