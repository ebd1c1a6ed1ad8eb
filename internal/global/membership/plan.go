package membership

import (
	"time"
)

// server is a member as the leader sees it.
type server struct {
	id    string
	voter bool
	// nonVoter: it was started to follow without a vote, as it said itself. Of one that
	// has not reported in this leadership nothing is known, and nothing is done.
	nonVoter bool
	self     bool
	live     bool          // its report still counts
	heard    bool          // it reported a moment ago
	silent   time.Duration // since when it does not, 0 where it does
	// keepsUp is for how long it has reported, without a gap, that it is close
	// behind the leader.
	keepsUp time.Duration
	current bool   // it is close behind now
	boot    string // the run of its process that reported last
	// restarts is how often the process was started anew in this leadership.
	restarts int
}

// rules are the bounds of a plan.
type rules struct {
	expect    int
	stabilize time.Duration
	deadAfter time.Duration
}

// change is one step of the steward's.
type change struct {
	promote, demote, handTo, remove string // one of them, an id
	why                             string
}

// plan returns the next step, if there is one. Members are in the order of ids.
//
//   - A member without a vote is promoted when it has kept up for the time of
//     stabilisation; while fewer than expect vote, as soon as it has caught up; and in
//     either case only if it was heard a moment ago. Each restart doubles the time, see
//     [patience]. One that wants no vote never is.
//   - A leader that wants no vote hands over to a voter that keeps up and wants its own.
//   - A voter that wants no vote gives it back once at least expect others vote, all of
//     them live. A restart with --non-voter is no way to leave a cluster with fewer voters
//     than it was founded with.
//   - A member without a vote that has been silent for long is removed.
//   - A voter that has been silent for long is removed only where the cluster does not
//     need it: at least expect voters are left, and every one of them is live. So the dead
//     are cleared away after their replacement was promoted, and never while the cluster
//     is in trouble.
func plan(servers []server, r rules) (change, bool) {
	voters, live := count(servers)
	for _, s := range servers {
		if s.voter || s.nonVoter || !s.live || !s.heard || !s.current {
			continue
		}
		if s.keepsUp >= patience(s.restarts, voters < r.expect, r) {
			return change{promote: s.id, why: "it keeps up"}, true
		}
	}
	if c, ok := giveBack(servers, voters-1 >= r.expect && live == voters); ok {
		return c, true
	}
	for _, s := range servers {
		switch {
		case s.self || s.live || s.silent < r.deadAfter:
		case !s.voter:
			return change{remove: s.id, why: "it has no vote and has been silent for long"}, true
		case voters-1 >= r.expect && live == voters-1:
			return change{remove: s.id, why: "it has been silent for long and was replaced"}, true
		}
	}
	return change{}, false
}

// patience is how long a member must keep up, in one run of its process, before it gets a
// vote. One that crashes again and again would be promoted between two crashes, and would
// then be missing from the majority. needed: fewer vote than are expected.
func patience(restarts int, needed bool, r rules) time.Duration {
	wait := r.stabilize
	if needed && restarts == 0 {
		return 0
	}
	for range restarts {
		if wait *= 2; wait >= r.deadAfter {
			return r.deadAfter
		}
	}
	return wait
}

// giveBack is the step of a voter that wants no vote. enough: the others can do without.
func giveBack(servers []server, enough bool) (change, bool) {
	for _, s := range servers {
		if !s.voter || !s.nonVoter {
			continue
		}
		if !s.self {
			if enough && s.live {
				return change{demote: s.id, why: "it was started with --non-voter"}, true
			}
			continue
		}
		for _, to := range servers {
			if to.voter && !to.nonVoter && to.live && to.current && !to.self {
				return change{handTo: to.id, why: "this node was started with --non-voter"}, true
			}
		}
	}
	return change{}, false
}

// keepsVote names a voter that wants no vote and is needed, "" where there is none.
func keepsVote(servers []server, expect int) string {
	voters, _ := count(servers)
	for _, s := range servers {
		if s.voter && s.nonVoter && voters-1 < expect {
			return s.id
		}
	}
	return ""
}

// count tells how many vote, and how many of them are live.
func count(servers []server) (voters, live int) {
	for _, s := range servers {
		if s.voter {
			voters++
			if s.live || s.self {
				live++
			}
		}
	}
	return voters, live
}

// mayRemove reports whether a majority of the voters that are left would be live.
func mayRemove(servers []server, id string) bool {
	voters, live := 0, 0
	for _, s := range servers {
		if !s.voter || s.id == id {
			continue
		}
		voters++
		if s.live || s.self {
			live++
		}
	}
	return live > voters/2
}
