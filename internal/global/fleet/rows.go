package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// goneAfter is how long an instance is shown after it was last heard. Of its zone it goes on
// being known when it was seen.
const goneAfter = 24 * time.Hour

// rows returns which of a zone's sessions are shown: the newest of each instance. Every
// member remembers the last session of an instance that it carried, so that one that moves
// leaves a session at each; the zone counts its connections, and no clock says which came
// last. A Kuma control plane has another instance id at each start and no counter: a zone
// of these has one row.
func rows(sessions []Session, now time.Time) []Session {
	newest := map[string]int{} // places in sessions
	for i := range sessions {
		s := &sessions[i]
		if clock.Elapsed(s.lastSeen(), now) >= goneAfter && !s.Online {
			continue
		}
		key := "kuma"
		if s.Meridian {
			key = "instance " + s.Instance
		}
		if best, known := newest[key]; !known || s.after(&sessions[best]) {
			newest[key] = i
		}
	}
	places := slices.Sorted(maps.Values(newest)) // in the order of sessions
	shown := make([]Session, 0, len(places))
	for _, i := range places {
		shown = append(shown, sessions[i])
	}
	return shown
}

// after reports whether s came after another session of the same instance.
func (s *Session) after(o *Session) bool {
	switch {
	case s.Authenticated != o.Authenticated && s.Open() != o.Open():
		return s.Open()
	case s.Authenticated != o.Authenticated && s.Open():
		return s.Authenticated // who proved nothing chooses its counter
	case s.Connection != o.Connection:
		return s.Connection > o.Connection
	case s.Online != o.Online:
		return s.Online
	case s.Open() != o.Open():
		return s.Open()
	}
	return clock.Earlier(o.lastSeen(), s.lastSeen())
}
