package membership

import (
	"time"
)

// server is a member as the leader sees it.
type server struct {
	id     string
	voter  bool
	self   bool
	live   bool          // it reports
	silent time.Duration // since when it does not, 0 where it does
	// keepsUp is for how long it has reported, without a gap, that it is close
	// behind the leader.
	keepsUp time.Duration
	current bool // it is close behind now
}

// rules are the bounds of a plan.
type rules struct {
	expect    int
	stabilize time.Duration
	deadAfter time.Duration
}

// change is one step of the steward's.
type change struct {
	promote, remove string // one of them, an id
	why             string
}

// plan returns the next step, if there is one. Members are in the order of ids.
//
//   - A member without a vote is promoted when it has kept up for the time of
//     stabilisation; while fewer than expect vote, as soon as it has caught up.
//   - A member without a vote that has been silent for long is removed.
//   - A voter that has been silent for long is removed only where the cluster does not
//     need it: at least expect voters are left, and every one of them is live. So the dead
//     are cleared away after their replacement was promoted, and never while the cluster
//     is in trouble.
func plan(servers []server, r rules) (change, bool) {
	voters, live := 0, 0
	for _, s := range servers {
		if s.voter {
			voters++
			if s.live || s.self {
				live++
			}
		}
	}
	for _, s := range servers {
		if s.voter || !s.live || !s.current {
			continue
		}
		if voters < r.expect || s.keepsUp >= r.stabilize {
			return change{promote: s.id, why: "it keeps up"}, true
		}
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
