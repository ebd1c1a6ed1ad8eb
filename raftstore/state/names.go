package state

import (
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// What Apply judges by belongs to the feature level like the words do: a form that another
// package relaxes would have two versions judge one command differently. A change here
// gets a level of its own. What is still asked of other packages, bounds among it, is
// listed and frozen by TestNothingElseJudges and TestWhatOthersJudgeIsFrozen.

// LevelNames is the level from which on names may have '_', as Kuma's may.
const LevelNames = LevelCertificates

// validName checks the name of a zone, a mesh or a node at the state's level.
func (s *State) validName(field, name string) error { return validName(s.level, field, name) }

func validName(level uint32, field, name string) error {
	inner := "-."
	if level >= LevelNames {
		inner = "-._"
	}
	switch {
	case name == "":
		return federation.InvalidField(field, "must not be empty")
	case len(name) > federation.MaxNameLen:
		return federation.InvalidField(field, "must have at most %d characters, has %d", federation.MaxNameLen, len(name))
	case strings.Contains(name, ".."):
		return federation.InvalidField(field, "%.80q must not contain %q", name, "..")
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && (i == 0 || i == len(name)-1 || !strings.Contains(inner, string(c))) {
			return federation.InvalidField(field, "%.80q is not a name at feature level %d: it has a-z, 0-9 and, not at its ends, %s", name, level, inner)
		}
	}
	return nil
}

func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
