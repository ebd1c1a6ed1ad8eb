package raftstore

import (
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// under gives a command a request id.
func under(id string, cmd *storepb.Command) *storepb.Command {
	cmd.RequestId = id
	return cmd
}

// Whatever a proxy does with request ids: what was acknowledged is so.
func TestARepeatedRequestHasItsEffect(t *testing.T) {
	c := newCore(t)
	id := randomUUID()
	revoked := func() bool { return (view{c.s}).Revoked(cptoken.Zone, "", id) }
	for i := range 3 {
		if r := c.ok(under("trace/revoke", cmdRevoke(cptoken.Zone, "", 0, id))); !revoked() || r.Changed != 1 {
			t.Fatalf("time %d: revoked %v, result %v", i, revoked(), r)
		}
		if r := c.ok(under("trace/withdraw", cmdWithdraw(cptoken.Zone, "", id))); revoked() || r.Changed != 1 {
			t.Fatalf("time %d: revoked %v after the withdrawal, result %v", i, revoked(), r)
		}
	}

	for _, enabled := range []bool{false, true, false, true, false} {
		name := map[bool]string{true: "trace/on", false: "trace/off"}[enabled]
		c.ok(under(name, &storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: "west", Enabled: enabled}}}))
		if z, _ := c.s.zones.get("west"); z.Enabled != enabled {
			t.Fatalf("the zone is enabled: %v, want %v", z.Enabled, enabled)
		}
	}
	remove := func() *storepb.Command {
		return under("trace/delete", &storepb.Command{Op: &storepb.Command_DeleteZone{DeleteZone: &storepb.DeleteZone{Name: "west"}}})
	}
	first := c.ok(remove())
	if again := c.ok(remove()); again.Index != first.Index {
		t.Errorf("deleted again: %v, want the first answer", again)
	}
	c.ok(&storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: "west", Enabled: true}}})
	c.ok(remove())
	if z, _ := c.s.zones.get("west"); !z.Deleted {
		t.Error("the zone that was applied in between is not deleted")
	}
}

func TestARepeatedPreparation(t *testing.T) {
	c := newCore(t)
	prepare := func(serial uint64) *storepb.Command {
		return under("trace/prepare", cmdPrepare(cptoken.Zone, "", serial))
	}
	first := c.ok(prepare(2))
	if again := c.ok(prepare(3)); again.Index != first.Index {
		t.Errorf("prepared again: %v, want the key that is there", again)
	}
	c.ok(under("trace/activate", cmdActivate(step(cptoken.Zone, "", 2))))
	if next := c.ok(prepare(3)); next.Index == first.Index {
		t.Error("the key that signs was given out as a prepared one")
	}
	c.ok(under("trace/activate 3", cmdActivate(step(cptoken.Zone, "", 3))))
	if k := c.s.active(cptoken.Zone, ""); k.Serial != 3 {
		t.Errorf("key %d signs, want 3", k.Serial)
	}
	// The first activation can no longer be had, and is not acknowledged.
	c.refused(federation.Conflict, "wrong_state", under("trace/activate", cmdActivate(step(cptoken.Zone, "", 2))))
}

// A repetition starts the ten minutes anew, and leaves no trace of the first.
func TestARepetitionIsRemembered(t *testing.T) {
	c := newCore(t)
	id := randomUUID()
	revoke := func() *storepb.Command { return under("trace", cmdRevoke(cptoken.Zone, "", 0, id)) }
	c.ok(revoke())
	c.now += requestLife.Milliseconds() / 2
	c.ok(cmdWithdraw(cptoken.Zone, "", id))
	second := c.ok(revoke())
	c.now += requestLife.Milliseconds()/2 + 1
	if third := c.ok(revoke()); third.Index != second.Index {
		t.Errorf("the second was forgotten with the first: %v", third)
	}
	if c.s.ages.len != c.s.requests.len {
		t.Errorf("%d ages of %d requests", c.s.ages.len, c.s.requests.len)
	}
}
