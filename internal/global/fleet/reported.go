package fleet

import (
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// Reported returns what the member last said in this leadership that it had
// applied, and whether that report is still believed.
func (f *Fleet) Reported(member string) (applied uint64, live bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.reports[member]
	if !known || r.Told || r.leadership != f.leading {
		return 0, false
	}
	return r.Applied, clock.Running(r.LeaseUntil, f.now())
}

// Heard returns how long ago the member reported in this leadership. ok is false where it
// has not.
func (f *Fleet) Heard(member string) (ago time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.reports[member]
	if !known || r.Told || r.leadership != f.leading {
		return 0, false
	}
	return clock.Elapsed(r.at, f.now()), true
}

// ages are how long ago each member's report came, or the leader told it.
func (f *Fleet) ages() map[string]time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, ages := f.now(), make(map[string]time.Duration, len(f.reports))
	for member, r := range f.reports {
		ages[member] = clock.Elapsed(r.at, now)
	}
	return ages
}

// Reports returns the reports that are believed, for members that ask the leader for
// its picture. Nothing in them may be changed.
func (f *Fleet) Reports() []Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Report
	for _, r := range f.reports {
		if clock.Running(r.LeaseUntil, f.now()) {
			all = append(all, r.Report)
		}
	}
	return all
}

// Leadership counts the leaderships of this node; see [Fleet.Recall].
func (f *Fleet) Leadership() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leading
}

// Recall takes over a leader's picture at a member that does not lead: all but the
// member's own report, which it knows better. It is shown until the given time.
// leadership is what [Fleet.Leadership] was before the leader was asked: where this node
// has led since, what its members tell it themselves is not replaced.
func (f *Fleet) Recall(leadership uint64, own string, picture []Report, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leading != leadership {
		return
	}
	there := map[string]bool{own: true}
	for _, r := range picture {
		if !there[r.Member] {
			there[r.Member] = true
			r.Told, r.LeaseUntil = true, until
			f.reports[r.Member] = received{Report: r, leadership: leadership, at: f.now()}
		}
	}
	for member := range f.reports {
		if !there[member] {
			delete(f.reports, member)
		}
	}
	f.signal()
}
