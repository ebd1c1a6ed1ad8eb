package fleet

import (
	"slices"

	"github.com/meridiankds/meridian/federation"
)

// Doubt is a position that was shown and that is, or may be, of what this cluster lost.
type Doubt struct {
	By       string // as Shown.By
	Revision federation.Revision
	Why      DoubtReason
}

// DoubtReason is why a position is a doubt.
type DoubtReason string

const (
	// DoubtNewer: it is of a newer history, which nobody here knows.
	DoubtNewer DoubtReason = "newer"
	// DoubtWaits: it proves a loss, and a history was begun for another one within the hour.
	DoubtWaits DoubtReason = "waits"
	// DoubtMore: it is beyond what a loss that nobody has confirmed was proved with.
	DoubtMore DoubtReason = "more"
	// DoubtUnproved: it claims what the cluster does not have, and nothing proves it.
	DoubtUnproved DoubtReason = "unproved"
)

// Histories are those of doubts for a reason, each once.
func Histories(doubts []Doubt, why DoubtReason) (all []federation.History) {
	for _, d := range doubts {
		if d.Why == why && !slices.Contains(all, d.Revision.History) {
			all = append(all, d.Revision.History)
		}
	}
	return all
}

// advice is what the reasons of doubts mean, and what an operator does.
var advice = map[DoubtReason][2]string{
	DoubtNewer:    {"it is newer than this cluster's, and nobody here knows it: two clusters share this name, or disks went back behind a new history", "find out which, then: global cluster confirm-loss --adopt"},
	DoubtWaits:    {"it is not in this cluster's past: acknowledged changes were lost once more within an hour, and zones that hold it are sent nothing until it has passed", "find out why disks go back, or whether two clusters share this name, then: global cluster confirm-loss"},
	DoubtMore:     {"this cluster does not have it either: more was lost than was proved first", "repeat what was done up to there as well (docs/backup.md), then: global cluster confirm-loss"},
	DoubtUnproved: {"this cluster does not have it, and nothing proves it: disks went back behind a rotation of the cluster secret, or somebody makes it up", "find out which, then: global cluster confirm-loss --adopt"},
}

// Means says what a doubt is.
func (d Doubt) Means() string { return advice[d.Why][0] }

// Hint says what an operator does about it.
func (d Doubt) Hint() string { return advice[d.Why][1] }

// What names what is held: a history, where that alone is not known, or a revision.
func (d Doubt) What() string {
	if d.Why == DoubtNewer {
		return "history " + d.Revision.History.ID
	}
	return "revision " + d.Revision.String()
}
