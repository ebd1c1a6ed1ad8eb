package clocks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fake is a machine whose wall clock can be set and whose steady clock cannot.
type fake struct {
	elapsed time.Duration
	off     time.Duration
}

var start = time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC)

func (f *fake) now() time.Time        { return start.Add(f.elapsed + f.off) }
func (f *fake) steady() time.Duration { return f.elapsed }

// cluster is member 0's table and what the others' clocks are off by.
type cluster struct {
	fake
	table   *Table
	members []Member
}

func newCluster(t *testing.T, voters int, off ...time.Duration) *cluster {
	t.Helper()
	c := &cluster{}
	c.off = off[0]
	c.table = newTable(c.now, c.steady)
	for i := range off {
		c.members = append(c.members, Member{ID: fmt.Sprint(i), Voter: i < voters})
	}
	for i := 1; i < len(off); i++ {
		c.ask(t, i, off[i], 0)
	}
	return c
}

// ask asks a member whose clock is off, and who answers in the middle of took.
func (c *cluster) ask(t *testing.T, member int, off, took time.Duration) {
	t.Helper()
	if err := c.table.Ask(fmt.Sprint(member), func() (time.Time, error) {
		c.elapsed += took / 2
		at := start.Add(c.elapsed + off)
		c.elapsed += took - took/2
		return at, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) picture() Picture { return c.table.Picture("0", c.members) }

func off(p Picture) (ids []string) {
	for _, m := range p.Members {
		if m.Off {
			ids = append(ids, m.Member)
		}
	}
	return ids
}

func TestWhoseClockIsOff(t *testing.T) {
	const h, m, s = time.Hour, time.Minute, time.Second
	for name, tt := range map[string]struct {
		voters int
		off    []time.Duration
		agreed bool
		wrong  []string
		latest time.Duration // of the right time, which is 0
	}{
		"alone":                       {1, []time.Duration{h}, true, nil, h},
		"all alike":                   {3, []time.Duration{0, 0, 0}, true, nil, 0},
		"own an hour ahead":           {3, []time.Duration{h, 0, s}, true, []string{"0"}, s},
		"own an hour behind":          {3, []time.Duration{-h, 0, s}, true, []string{"0"}, s},
		"another four minutes ahead":  {3, []time.Duration{0, 4 * m, 0}, true, []string{"1"}, 0},
		"another 29 seconds ahead":    {3, []time.Duration{0, 29 * s, 0}, true, nil, 29 * s},
		"two apart":                   {2, []time.Duration{0, h}, false, nil, 0},
		"three apart":                 {3, []time.Duration{0, h, 2 * h}, false, nil, 0},
		"two against two":             {4, []time.Duration{0, 0, h, h}, false, nil, 0},
		"a non-voter off":             {3, []time.Duration{0, 0, 0, h}, true, []string{"3"}, 0},
		"non-voters are no majority":  {1, []time.Duration{0, h, h, h}, true, []string{"1", "2", "3"}, 0},
		"own, without a vote":         {0, []time.Duration{h, 0, 0}, false, nil, h},
		"a non-voter that is latest":  {3, []time.Duration{0, 0, 0, 20 * s}, true, nil, 20 * s},
		"a non-voter behind":          {3, []time.Duration{0, 0, 0, -20 * s}, true, nil, 0},
		"five, two of them elsewhere": {5, []time.Duration{h, 0, h, 0, s}, true, []string{"0", "2"}, s},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tt.voters, tt.off...)
			p := c.picture()
			if p.Agreed != tt.agreed || !slices.Equal(off(p), tt.wrong) {
				t.Errorf("agreed %v, off %v: %+v", p.Agreed, off(p), p.Members)
			}
			if got := p.Latest().Sub(start.Add(c.elapsed)); got != tt.latest {
				t.Errorf("the latest clock is %s ahead, want %s", got, tt.latest)
			}
		})
	}
}

// A step of the own clock is noticed before anybody was asked again.
func TestAStepOfTheOwnClockIsNoticedAtOnce(t *testing.T) {
	c := newCluster(t, 3, 0, 0, 0)
	for _, step := range []time.Duration{4 * time.Minute, -4 * time.Minute, 24 * time.Hour, -24 * time.Hour} {
		c.off = step
		if p := c.picture(); !p.Own.Off || p.Own.Ahead != step || !p.Latest().Equal(start.Add(c.elapsed)) {
			t.Errorf("a step of %s: %+v, latest %s", step, p.Own, p.Latest())
		}
	}
	c.off = 0
	if p := c.picture(); p.Own.Off {
		t.Errorf("set right again it is off: %+v", p.Own)
	}
}

// One of two that agreed knows whether it was its own clock that was set.
func TestOneOfTwoKnowsThatItsClockWasSet(t *testing.T) {
	c := newCluster(t, 2, 0, 0)
	c.picture()
	c.off = time.Hour
	if p := c.picture(); !p.Own.Off {
		t.Errorf("its own clock was set: %+v", p)
	}
	c.off = 0
	c.ask(t, 1, time.Hour, 0)
	if p := c.picture(); p.Own.Off || !p.Members[1].Off || p.Agreed {
		t.Errorf("the other's clock was set: %+v", p)
	}
}

// Who is silent for a minute has no clock; the others' majority is of all voters.
func TestSilentMembersHaveNoClock(t *testing.T) {
	c := newCluster(t, 3, time.Hour, 0, 0)
	if !c.picture().Own.Off {
		t.Fatal("an hour ahead of two others it is not off")
	}
	c.elapsed += Life
	p := c.picture()
	if p.Agreed || !p.Own.Off || p.Members[1].Known || !p.Members[0].Known {
		t.Errorf("cut off from the others it forgets that its clock is off: %+v", p)
	}
	c.ask(t, 1, 0, 0)
	if p := c.picture(); p.Agreed || !p.Own.Off || p.Members[1].Off {
		t.Errorf("one other clock of three is no majority: %+v", p)
	}
	c.elapsed += Memory
	if p := c.picture(); p.Own.Off {
		t.Errorf("after a day it judges by what was agreed then: %+v", p)
	}
	failed := errors.New("no answer")
	if err := c.table.Ask("2", func() (time.Time, error) { return time.Time{}, failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if p := c.picture(); p.Members[2].Known {
		t.Error("who did not answer has a clock")
	}
}

// What a slow answer leaves unknown is on the safe side of both questions: nothing was
// issued later than Latest, and who is asked instead has reached the time.
func TestSlowAnswers(t *testing.T) {
	c := newCluster(t, 3, 0, 0, 0)
	c.ask(t, 1, 10*time.Second, 2*time.Second)
	p := c.picture()
	if got := p.Latest().Sub(start.Add(c.elapsed)); got != 11*time.Second {
		t.Errorf("the latest clock is %s ahead", got)
	}
	now := start.Add(c.elapsed)
	for ahead, want := range map[time.Duration][]string{
		9 * time.Second: {"1"}, 9*time.Second + 1: {}, 0: {"1", "2"}, -time.Hour: {"1", "2"}, time.Hour: {},
	} {
		if got := p.Reached(now.Add(ahead)); !slices.Equal(got, want) {
			t.Errorf("%s has been reached by %v, want %v", ahead, got, want)
		}
	}
}

// TestNobodyIssuesBehindNow tries clusters with clocks of any kind: whatever a member
// that is not off has issued, a cut-off of now takes with it, and the right ones are
// never off.
func TestNobodyIssuesBehindNow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	kinds := []time.Duration{0, time.Second, 20 * time.Second, 29 * time.Second, 40 * time.Second, 4 * time.Minute, time.Hour, 24 * time.Hour}
	for range 5000 {
		n := 1 + random.IntN(7)
		offs := make([]time.Duration, n)
		for i := range offs {
			offs[i] = kinds[random.IntN(len(kinds))]
			if random.IntN(2) == 0 {
				offs[i] = -offs[i]
			}
		}
		c := newCluster(t, 1+random.IntN(n), offs...)
		p := c.picture()
		if !p.Agreed {
			continue
		}
		for i := range offs {
			if issued := start.Add(c.elapsed + offs[i]); !p.Members[i].Off && issued.After(p.Latest()) {
				t.Fatalf("of %v member %d issues at %s, later than %s", offs, i, issued, p.Latest())
			}
		}
		for _, id := range p.Reached(p.Latest()) {
			if p.Members[id[0]-'0'].Off {
				t.Fatalf("of %v member %s is asked to issue, and is off", offs, id)
			}
		}
	}
}

// TestALoneClockAgreesWithNobody: what a member's own clock said while it was the only
// voter does not make it wrong once there are others, who have not answered yet.
func TestALoneClockAgreesWithNobody(t *testing.T) {
	c := newCluster(t, 1, time.Hour)
	if p := c.picture(); !p.Agreed {
		t.Fatal("a lone voter is its own majority")
	}
	c.off = 0 // it is set right, and then two voters join
	c.members = append(c.members, Member{ID: "1", Voter: true}, Member{ID: "2", Voter: true})
	if p := c.picture(); p.Agreed || p.Own.Off || p.Latest().Sub(start.Add(c.elapsed)) != 0 {
		t.Errorf("a clock that was set right counts as off: %+v", p)
	}
}
