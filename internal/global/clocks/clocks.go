package clocks

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

const (
	// Tolerance is how far apart clocks may be that agree.
	Tolerance = 30 * time.Second
	// Life is how long an answer counts. A member that is silent for longer has no
	// clock: its part in a majority is not taken over by others.
	Life = time.Minute
	// Memory is how long the time that was last agreed on counts while nobody agrees.
	Memory = 24 * time.Hour
)

// Table has what this member knows of clocks. It is safe for concurrent use.
type Table struct {
	now    func() time.Time
	steady func() time.Duration

	mu   sync.Mutex
	base time.Time // this member's wall clock at steady 0
	seen map[string]sighting
	// right is what two clocks or more last agreed on, on the table's scale, and when.
	right struct {
		known     bool
		ahead, at time.Duration
	}
}

// sighting is what another member's clock said, on the table's scale.
type sighting struct {
	ahead  time.Duration // of base plus steady
	within time.Duration // half the time that the answer took
	at     time.Duration // on the steady clock
}

// New returns a table of no clock but this member's own, which now reads.
func New(now func() time.Time) *Table {
	began := time.Now()
	return newTable(now, func() time.Duration { return clock.Since(began) })
}

// newTable is New with a clock that nobody sets.
func newTable(now func() time.Time, steady func() time.Duration) *Table {
	return &Table{now: now, steady: steady, base: now().Round(0).Add(-steady()), seen: map[string]sighting{}}
}

// Ask times a question to a member and notes its answer.
func (t *Table) Ask(member string, ask func() (time.Time, error)) error {
	sent := t.steady()
	theirs, err := ask()
	if err != nil {
		return err
	}
	got := t.steady()
	within := (got - sent) / 2
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[member] = sighting{
		ahead: clock.Span(t.base.Add(sent+within), theirs.Round(0)), within: within, at: got,
	}
	return nil
}

// Member is one of those whose clocks are to agree.
type Member struct {
	ID    string
	Voter bool
}

// Clock is what is known of one member's clock.
type Clock struct {
	Member string
	// Known: it was asked less than [Life] ago, or is this member's own. Else nothing
	// else is set.
	Known bool
	// Ahead is by how much it is ahead of the time that the voters agree on, or of this
	// member's clock where they do not. It is right within Within.
	Ahead, Within time.Duration
	// Off: it differs from what a majority of the voters agree on, or last agreed on.
	Off bool
}

// Picture is what is known of the clocks at one moment.
type Picture struct {
	// Agreed: a majority of all voters have clocks that agree.
	Agreed bool
	// Apart is how far the known clocks of voters lie apart.
	Apart time.Duration
	// Own is this member's clock, Members have all that were asked for, in the order of
	// their ids.
	Own     Clock
	Members []Clock
	// Now is the time by this member's clock.
	Now time.Time
}

// Latest is the latest time that any clock shows among those that agree: nothing that
// they have issued says that it was issued later.
func (p *Picture) Latest() time.Time {
	var most time.Duration
	for i := range p.Members {
		if c := &p.Members[i]; c.agrees() {
			most = max(most, c.Ahead+c.Within)
		}
	}
	if p.Own.Off {
		return p.right().Add(most)
	}
	return p.right().Add(max(most, p.Own.Ahead))
}

// right is the time that the clocks agree on.
func (p *Picture) right() time.Time { return p.Now.Add(-p.Own.Ahead) }

// agrees reports whether the clock is one of those that agree; where no majority does,
// with this member's.
func (c *Clock) agrees() bool { return c.Known && !c.Off && c.Ahead.Abs() <= Tolerance }

// Reached names the other members that agree and whose clock has reached a time, the
// one that is furthest first.
func (p *Picture) Reached(at time.Time) []string {
	ahead := clock.Left(at, p.right())
	var there []Clock
	for _, c := range p.Members {
		if c.agrees() && c.Member != p.Own.Member && c.Ahead-c.Within >= ahead {
			there = append(there, c)
		}
	}
	slices.SortStableFunc(there, func(a, b Clock) int { return -cmp.Compare(a.Ahead, b.Ahead) })
	ids := make([]string, len(there))
	for i, c := range there {
		ids[i] = c.Member
	}
	return ids
}

// Picture judges the clocks of the members named, of which self is this one.
func (t *Table) Picture(self string, members []Member) Picture {
	now, known := t.known(self, members)
	p := Picture{Now: now, Members: make([]Clock, 0, len(members))}
	voters, quorum := voting(known, members)
	middle, judged := agreement(voters, quorum)
	p.Agreed = judged
	if len(voters) > 0 {
		p.Apart = voters[len(voters)-1] - voters[0]
	}
	if last, ok := t.remember(middle, known[self].at, judged, quorum); ok && !judged {
		middle, judged = last, true
	}
	if !judged {
		middle = known[self].ahead
	}
	judge := func(id string) Clock {
		s, ok := known[id]
		if !ok {
			return Clock{Member: id}
		}
		c := Clock{Member: id, Known: true, Ahead: s.ahead - middle, Within: s.within}
		c.Off = judged && c.Ahead.Abs()-c.Within > Tolerance
		return c
	}
	for _, m := range members {
		p.Members = append(p.Members, judge(m.ID))
	}
	slices.SortFunc(p.Members, func(a, b Clock) int { return cmp.Compare(a.Member, b.Member) })
	p.Own = judge(self)
	return p
}

// known are the clocks that count, this member's own among them, and forgets members
// that are none any more.
func (t *Table) known(self string, members []Member) (now time.Time, known map[string]sighting) {
	now, at := t.now(), t.steady()
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.seen, func(id string, _ sighting) bool {
		return !slices.ContainsFunc(members, func(m Member) bool { return m.ID == id })
	})
	known = map[string]sighting{self: {ahead: clock.Span(t.base.Add(at), now.Round(0)), at: at}}
	for id, s := range t.seen {
		if id != self && at-s.at < Life {
			known[id] = s
		}
	}
	return now, known
}

// remember notes what is agreed on now, and returns what last was. A majority of one is
// not noted: it is this member's own clock.
func (t *Table) remember(middle, at time.Duration, agreed bool, quorum int) (last time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if agreed && quorum > 1 {
		t.right.known, t.right.ahead, t.right.at = true, middle, at
	}
	return t.right.ahead, t.right.known && at-t.right.at < Memory
}

// voting returns the known clocks of voters in order, and how many of all voters are a
// majority.
func voting(known map[string]sighting, members []Member) (clocks []time.Duration, quorum int) {
	voters := 0
	for _, m := range members {
		if !m.Voter {
			continue
		}
		voters++
		if s, ok := known[m.ID]; ok {
			clocks = append(clocks, s.ahead)
		}
	}
	slices.Sort(clocks)
	return clocks, voters/2 + 1
}

// agreement returns the middle of the most clocks that lie within [Tolerance] of each
// other, where they are a quorum. Two groups cannot both be one, but they may overlap;
// then the closer one counts.
func agreement(clocks []time.Duration, quorum int) (middle time.Duration, ok bool) {
	most, narrowest := 0, time.Duration(0)
	for i := range clocks {
		n := 1
		for i+n < len(clocks) && clocks[i+n]-clocks[i] <= Tolerance {
			n++
		}
		spread := clocks[i+n-1] - clocks[i]
		if n >= quorum && (n > most || n == most && spread < narrowest) {
			most, narrowest = n, spread
			middle, ok = clocks[i+(n-1)/2], true
		}
	}
	return middle, ok
}
