package state

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

func TestLag(t *testing.T) {
	c := newCore(t)
	begin := c.s.Revision()
	if n, since, ok := c.s.Lag(begin); n != 0 || !since.IsZero() || !ok {
		t.Errorf("at the head: %d, %s, %t", n, since, ok)
	}
	revoke := func(kind cptoken.Kind, after time.Duration) {
		c.ok(&storepb.Command{TimeMs: testTime + after.Milliseconds(), Op: &storepb.Command_Revoke{Revoke: &storepb.Revoke{
			Kind: string(kind), Ids: []*storepb.RevokedID{{Id: randomUUID()}, {Id: randomUUID()}},
		}}})
	}
	revoke(cptoken.ControlPlane, time.Second) // which no zone sees
	revoke(cptoken.Zone, 2*time.Second)
	middle := c.s.Revision()
	revoke(cptoken.User, 3*time.Second)
	c.ok(&storepb.Command{TimeMs: testTime + 4000, Op: &storepb.Command_PrepareKey{PrepareKey: preparing(cptoken.Zone, "", 2)}})
	for name, w := range map[string]struct {
		rev     federation.Revision
		changes int
		after   int64
	}{"from the beginning": {begin, 3, 2000}, "from the middle": {middle, 2, 3000}} {
		n, since, ok := c.s.Lag(w.rev)
		if n != w.changes || since.UnixMilli() != testTime+w.after || !ok {
			t.Errorf("%s: %d changes since %s, %t; want %d since %d", name, n, since, ok, w.changes, w.after)
		}
	}
	if n, _, ok := c.s.Lag(federation.Revision{}); n < 3 || !ok {
		t.Errorf("of a zone that knows nothing: %d, %t", n, ok)
	}
	ahead, other := c.s.Revision(), c.s.Revision()
	ahead.Index++
	other.History.ID = historyID(9)
	for _, rev := range []federation.Revision{ahead, other} {
		if _, _, ok := c.s.Lag(rev); ok {
			t.Errorf("%s can be compared", rev)
		}
	}
}
