package membership

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// joiner is a node "d" that has joined and is alive when up says so, in a run that it names.
// It reports once a second while it is.
type joiner struct {
	Peers
	m     *Membership
	store *leader
	fleet *fleet.Fleet
	now   time.Time
	begun time.Time
	up    func(age time.Duration) (boot string)
}

var errDead = errors.New("connection refused")

func (j *joiner) Hello(_ context.Context, addr string, _ peer.Hello) (peer.Hello, error) {
	if addr != "d:1" {
		return peer.Hello{}, errDead
	}
	boot := j.up(j.now.Sub(j.begun))
	if boot == "" {
		return peer.Hello{}, errDead
	}
	return peer.Hello{NodeID: "d", Boot: boot, Address: "d:1"}, nil
}

// newJoiner has three voters lead, and d as a fourth member that just joined.
func newJoiner(up func(age time.Duration) string) *joiner {
	j := &joiner{up: up, begun: time.Unix(1_700_000_000, 0)}
	j.now = j.begun
	clock := func() time.Time { return j.now }
	j.fleet = fleet.New(fleet.Options{Now: clock})
	j.m = New(Config{Peers: j, Fleet: j.fleet, Expect: 3, Advertise: "a:1", Logger: slog.New(slog.DiscardHandler), Now: clock})
	j.store = &leader{members: []raftstore.Member{{ID: "a", Address: "a:1", Voter: true}, {ID: "b", Address: "b:1", Voter: true}, {ID: "c", Address: "c:1", Voter: true}, {ID: "d", Address: "d:1"}}}
	j.m.Attach(j.store)
	return j
}

// promoted runs the steward for so long and returns how old d was when it got its vote.
func (j *joiner) promoted(t *testing.T, within time.Duration) (age time.Duration, ok bool) {
	records := map[string]*record{}
	for tick := 0; j.now.Sub(j.begun) <= within; tick++ {
		for _, id := range []string{"b", "c"} {
			j.report(id, id+"1", tick)
		}
		if boot := j.up(j.now.Sub(j.begun)); boot != "" {
			j.report("d", boot, tick)
		}
		j.m.tend(t.Context(), records)
		if j.store.members[3].Voter {
			return j.now.Sub(j.begun), true
		}
		j.now = j.now.Add(stewardEvery)
	}
	return 0, false
}

func (j *joiner) report(id, boot string, tick int) {
	if tick%int(time.Second/stewardEvery) == 0 || j.m.bootOf(id) != boot {
		j.m.Heard(peer.Report{Member: id, Boot: boot, Level: state.Level})
		j.fleet.Update(fleet.Report{Member: id, Applied: j.store.Applied()})
	}
}

// TestAJoinerThatDies: one that is killed at any moment of its first minute has no vote at
// the end, or had one while it lived.
func TestAJoinerThatDies(t *testing.T) {
	for at := time.Duration(0); at <= time.Minute; at += stewardEvery {
		j := newJoiner(func(age time.Duration) string {
			if age < at {
				return "d1"
			}
			return ""
		})
		switch age, voted := j.promoted(t, 2*time.Minute); {
		case voted && age >= at:
			t.Errorf("killed after %s it is promoted after %s", at, age)
		case voted && age < DefaultStabilize, !voted && at > DefaultStabilize+time.Second:
			t.Errorf("killed after %s: promoted %v, after %s", at, voted, age)
		}
	}
}

// TestAJoinerThatCrashesAgainAndAgain: each run is too short to trust the next.
func TestAJoinerThatCrashesAgainAndAgain(t *testing.T) {
	for _, tt := range []struct{ up, down time.Duration }{
		{3 * time.Second, 0}, // restarted at once
		{5 * time.Second, time.Second},
		{9 * time.Second, 500 * time.Millisecond},
		{15 * time.Second, 8 * time.Second},
	} {
		crashing := true
		j := newJoiner(func(age time.Duration) string {
			if !crashing {
				return "settled"
			}
			run := age / (tt.up + tt.down)
			if age-run*(tt.up+tt.down) < tt.up {
				return "d" + strconv.Itoa(int(run))
			}
			return ""
		})
		age, voted := j.promoted(t, 10*time.Minute)
		if first := tt.up > DefaultStabilize; voted != first || voted && age >= tt.up {
			t.Errorf("up for %s, down for %s: promoted %v, after %s", tt.up, tt.down, voted, age)
		}
		if voted {
			continue
		}
		crashing = false
		if _, voted = j.promoted(t, 10*time.Minute+2*DefaultDeadAfter); !voted {
			t.Errorf("up for %s, down for %s: it stays up and is never promoted", tt.up, tt.down)
		}
	}
}

// TestStandingsAreAsked: who answers is live, whatever was reported; who does not, is not.
func TestStandingsAreAsked(t *testing.T) {
	alive := "d1"
	j := newJoiner(func(time.Duration) string { return alive })
	live := func() (live bool) {
		for _, s := range j.m.Standings(t.Context()) {
			live = live || s.ID == "d" && s.Live
		}
		return live
	}
	if !live() {
		t.Error("it answers, and is shown as dead because it has not reported to this leader yet")
	}
	j.report("d", "d1", 0)
	alive = ""
	if live() {
		t.Error("it does not answer, and is shown as live for as long as its last report counts")
	}
}
