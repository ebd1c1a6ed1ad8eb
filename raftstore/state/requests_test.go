package state

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
		if z, _ := c.s.zones.Get("west"); z.Enabled != enabled {
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
	if z, _ := c.s.zones.Get("west"); !z.Deleted {
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
	if k := c.s.Active(cptoken.Zone, ""); k.Serial != 3 {
		t.Errorf("key %d signs, want 3", k.Serial)
	}
	// The first activation can no longer be had, and is not acknowledged.
	c.refused(federation.Conflict, "wrong_state", under("trace/activate", cmdActivate(step(cptoken.Zone, "", 2))))
}

// What makes something new each time is made once under a request id, although the command
// has another id or secret each time; members of a former level take it for another request.
func TestWhatIsNewEachTimeIsMadeOnce(t *testing.T) {
	for level := uint32(LevelLineage); level <= Level; level++ {
		c := newCore(t)
		c.s.level = level
		adopted := byte(1)
		for name, cmd := range map[string]func() *storepb.Command{
			"adopt": func() *storepb.Command {
				adopted++
				next := &storepb.History{Id: historyID(adopted), CreatedMs: testTime + int64(adopted)}
				return under("a/confirm-loss", &storepb.Command{Op: &storepb.Command_ConfirmLoss{ConfirmLoss: &storepb.ConfirmLoss{Adopt: next}}})
			},
			"secret": func() *storepb.Command {
				next := &storepb.ClusterSecret{Generation: c.s.NextSecret(), Sealed: fakeSealed()}
				return under("b/rotate-secret", &storepb.Command{Op: &storepb.Command_AddSecret{AddSecret: next}})
			},
		} {
			first := c.ok(cmd())
			history, secrets := c.s.history, len(c.s.secrets)
			c.ok(cmdRevoke(cptoken.Zone, "", 0, randomUUID()))
			if level < LevelWithdrawals {
				c.refused(federation.Conflict, "request_id_reused", cmd())
			} else if again := c.ok(cmd()); again != first || c.s.Made(cmd()) != first {
				t.Errorf("%s at level %d: %v, then %v", name, level, first, again)
			}
			if c.s.history != history || len(c.s.secrets) != secrets {
				t.Errorf("%s at level %d was made twice", name, level)
			}
		}
		// Without adopting there is nothing that is new: what is lost since is confirmed too.
		confirm := func() *storepb.Command {
			return under("c/confirm-loss", &storepb.Command{Op: &storepb.Command_ConfirmLoss{ConfirmLoss: &storepb.ConfirmLoss{}}})
		}
		c.ok(confirm())
		if c.s.Made(confirm()) != nil || c.s.Made(cmdRevoke(cptoken.Zone, "", 0, "x")) != nil {
			t.Error("a command that may be applied again is answered from memory")
		}
	}
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
	if c.s.ages.Len() != c.s.requests.Len() {
		t.Errorf("%d ages of %d requests", c.s.ages.Len(), c.s.requests.Len())
	}
}

// What became of a request can be asked: what was made, what was refused and why, and
// nothing of others.
func TestRequestsAreRememberedForWhoAsks(t *testing.T) {
	c := newCore(t)
	id := randomUUID()
	made := c.ok(under("one.a/revoke", cmdRevoke(cptoken.Zone, "", 0, id)))
	c.refused(federation.NotFound, "", under("one.b/remove-key", cmdRemove(step(cptoken.Zone, "", 9), false)))
	c.ok(under("two.a/revoke", cmdRevoke(cptoken.Zone, "", 0, randomUUID())))
	got := c.s.Requests("one.")
	if len(got) != 2 {
		t.Fatalf("remembered: %+v", got)
	}
	if r := got[0]; r.Verb != "revoke" || r.Err != nil || r.Revision.Index != made.Index || r.Changed != 1 || !r.Until.Equal(r.At.Add(requestLife)) {
		t.Errorf("what was made: %+v", r)
	}
	if r := got[1]; r.Verb != "remove-key" || r.Err == nil || r.Err.Code != federation.NotFound || r.Revision.Index <= made.Index {
		t.Errorf("what was refused: %+v", r)
	}
	for _, other := range []string{"", "on", "three."} {
		if got := c.s.Requests(other); other != "on" && len(got) != 0 {
			t.Errorf("of %q: %+v", other, got)
		}
	}
	c.now += requestLife.Milliseconds() + 1
	c.ok(cmdPrune(1))
	if got := c.s.Requests("one."); len(got) != 0 {
		t.Errorf("after ten minutes: %+v", got)
	}
}

// A refusal that is remembered answers no repetition: its reason may be gone. And it does
// not take the place of what was made.
func TestARememberedRefusalIsNoAnswer(t *testing.T) {
	c := newCore(t)
	again := func() *storepb.Command { return under("x/activate-key", cmdActivate(step(cptoken.Zone, "", 2))) }
	c.refused(federation.NotFound, "", again())
	c.ok(cmdPrepare(cptoken.Zone, "", 2))
	c.ok(again())
	c.ok(cmdPrepare(cptoken.Zone, "", 3))
	c.ok(cmdActivate(step(cptoken.Zone, "", 3)))
	c.refused(federation.Conflict, "wrong_state", again())
	if got := c.s.Requests("x"); len(got) != 1 || got[0].Err != nil {
		t.Errorf("remembered: %+v", got)
	}
	// Nor is another request under that id taken for a mistake.
	c.refused(federation.NotFound, "", under("y/remove-key", cmdRemove(step(cptoken.Zone, "", 9), false)))
	c.ok(under("y/remove-key", cmdRemove(step(cptoken.Zone, "", 1), true)))
}

// A cluster at the first level remembers no refusal, as its older members do not, and its
// snapshots have nothing that those do not know. It goes over to the next level once.
func TestFeatureLevels(t *testing.T) {
	c := &core{t: t, s: NewState(), index: 2, now: testTime}
	founding := foundingCommand()
	founding.Level = FirstLevel
	founding.TimeMs = c.now
	if r := c.s.execute(2, founding); r.Code != "" || c.s.level != FirstLevel {
		t.Fatalf("founded at level %d: %v", c.s.level, r)
	}
	absent := func() *storepb.Command { return under("x/remove-key", cmdRemove(step(cptoken.Zone, "", 9), false)) }
	c.refused(federation.NotFound, "", absent())
	if c.s.requests.Len() != 0 || c.s.began != 0 || c.s.header().HistoryIndex != 0 {
		t.Errorf("%d requests are remembered, the history began at %d", c.s.requests.Len(), c.s.began)
	}
	raise := func(level uint32) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_SetLevel{SetLevel: &storepb.SetLevel{Level: level}}}
	}
	c.ok(raise(Level))
	c.refused(federation.Conflict, "", raise(FirstLevel))
	c.refused(federation.NotFound, "", absent())
	if c.s.requests.Len() != 1 || c.s.began != 0 {
		t.Errorf("%d requests are remembered, the history began at %d", c.s.requests.Len(), c.s.began)
	}
	next := &storepb.History{Id: "00000000000000ff", CreatedMs: testTime + 1}
	r := c.ok(&storepb.Command{Op: &storepb.Command_BeginHistory{BeginHistory: &storepb.BeginHistory{History: next}}})
	if c.s.began != r.Index {
		t.Errorf("the history began at %d, want %d", c.s.began, r.Index)
	}
	if again := reread(t, c.s); again.began != r.Index || again.level != Level {
		t.Errorf("read back: level %d, began %d", again.level, again.began)
	}
}
