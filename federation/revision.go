package federation

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// History is one unbroken line of changes of a cluster. Restoring a backup or
// recovering from a lost majority begins a new one, because from there on the
// same Raft index may mean something else.
type History struct {
	// ID is 16 lower-case hexadecimal digits, chosen at random.
	ID string
	// Created is when the history began, in Unix milliseconds. It orders
	// histories of one cluster.
	Created int64
}

// IsZero reports whether h names no history.
func (h History) IsZero() bool { return h == History{} }

// Compare orders histories by age: negative if h began before o, 0 if they are
// the same, positive if h is the newer one. Two histories that began in the same
// millisecond are ordered by their ids, so that every zone decides alike.
func (h History) Compare(o History) int {
	if c := cmp.Compare(h.Created, o.Created); c != 0 {
		return c
	}
	return cmp.Compare(h.ID, o.ID)
}

// Revision is a point in the changes that zones see: the Raft index of the last
// such change, within a history. The zero Revision is "nothing known".
type Revision struct {
	History History
	Index   uint64
}

// IsZero reports whether r is the zero Revision.
func (r Revision) IsZero() bool { return r == Revision{} }

// Covers reports whether a copy at r holds everything up to o of o's history.
// Revisions of different histories never cover each other.
func (r Revision) Covers(o Revision) bool {
	return r.History == o.History && r.Index >= o.Index
}

// String returns "<history id>-<created>@<index>", the form in which revisions
// travel and are shown; "none" for the zero Revision.
func (r Revision) String() string {
	if r.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%s-%d@%d", r.History.ID, r.History.Created, r.Index)
}

// ParseRevision reads the form that [Revision.String] writes.
func ParseRevision(s string) (Revision, error) {
	if s == "none" {
		return Revision{}, nil
	}
	bad := func() (Revision, error) {
		return Revision{}, Errorf(Invalid, "not a revision: %.80q", s)
	}
	history, index, ok := strings.Cut(s, "@")
	if !ok {
		return bad()
	}
	id, created, ok := strings.Cut(history, "-")
	if !ok || !isHistoryID(id) {
		return bad()
	}
	ms, err := strconv.ParseInt(created, 10, 64)
	if err != nil || ms < 0 {
		return bad()
	}
	n, err := strconv.ParseUint(index, 10, 64)
	if err != nil {
		return bad()
	}
	return Revision{History: History{ID: id, Created: ms}, Index: n}, nil
}

func isHistoryID(s string) bool {
	if len(s) != 16 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
