package kds_test

import (
	"fmt"
	"slices"
	"testing"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/wire"
)

// TestOtherVocabularyGetsFullState: a zone whose copy was made with another vocabulary
// than its program's is sent everything, also where it stands at the head; one whose
// copy is of its own is not.
func TestOtherVocabularyGetsFullState(t *testing.T) {
	m := start(t, nil)
	for _, c := range []struct {
		of   string
		full bool
	}{{"1", true}, {"2", false}} {
		zone := "west-" + c.of
		r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, append(as(zone), kds.MDVocabulary, "2")...)
		first := subscription(zone, kds.ChangesType, wire.ResumeVersion(kdstest.Cluster, kdstest.Revision(1, 1)))
		first.InitialResourceVersions[kds.VersionVocabulary] = c.of
		first.ResourceNamesUnsubscribe = []string{"kind:job", "key:zone/1"}
		r.send(first)
		p, err := wire.DecodePart(r.must())
		if err != nil || p.Full != c.full || p.To != kdstest.Revision(1, 1) {
			t.Errorf("a copy of vocabulary %s is sent %+v (%v), want the full state: %v", c.of, p, err, c.full)
		}
		if s := m.session(t, zone); !slices.Equal(s.NotHeld, first.ResourceNamesUnsubscribe) {
			t.Errorf("the session lacks %q", s.NotHeld)
		}
	}
}

// TestAcknowledgementsNameWhatIsNotHeld: what a zone skipped is with its session, until
// it acknowledges without.
func TestAcknowledgementsNameWhatIsNotHeld(t *testing.T) {
	m := start(t, nil)
	sink := kdstest.NewSink()
	sink.NotHeld = []string{"kind:job"}
	join(t, "west", func(c *client.Config) { c.Sink = sink }, m.addr)
	kdstest.Eventually(t, "the session", func() bool { return len(m.Sessions()) == 1 })
	kdstest.Eventually(t, "the name at the global", func() bool {
		s := m.session(t, "west")
		return s.Full && slices.Equal(s.NotHeld, []string{"kind:job"})
	})
	sink.Mu.Lock()
	sink.NotHeld = nil
	sink.Mu.Unlock()
	m.source.Add("b")
	kdstest.Eventually(t, "no name any more", func() bool { return len(m.session(t, "west").NotHeld) == 0 })
}

// TestUnwrittenSetsDoNotStopTheStream: a zone that cannot write is sent what there is, a
// thousand sets if need be, and counts as holding what it acknowledged before.
func TestUnwrittenSetsDoNotStopTheStream(t *testing.T) {
	m := start(t, nil)
	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
	r.send(subscription("west", kds.ChangesType, ""))
	resp := r.must()
	r.send(ackOf(resp))
	kdstest.Eventually(t, "the acknowledgement", func() bool { return m.session(t, "west").Full })
	for i := range 3 * kds.DefaultLimits().InFlight {
		m.source.Add(fmt.Sprint("id-", i))
		resp = r.must()
		not := ackOf(resp)
		not.ErrorDetail = &rpcstatus.Status{Code: int32(codes.Unavailable), Message: "no space left"}
		r.send(not)
	}
	kdstest.Eventually(t, "why it holds less", func() bool { return m.session(t, "west").Nack == "no space left" })
	if s := m.session(t, "west"); s.Acked != kdstest.Revision(1, 1) || s.Rejected != 0 {
		t.Errorf("the session %+v", s)
	}
	r.send(ackOf(resp))
	_, head := m.source.Head()
	kdstest.Eventually(t, "all of it to be held", func() bool { s := m.session(t, "west"); return s.Acked == head && s.Nack == "" })
}
