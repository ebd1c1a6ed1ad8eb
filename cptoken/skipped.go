package cptoken

import (
	"fmt"
	"strings"
)

// Skipped stands in the place of what a zone's version does not understand: a kind, an
// algorithm, or a change that is newer than it. The zone trusts nothing of it.
type Skipped struct {
	// Name says what it is, one of the names below. It is printable, and at most
	// [MaxSkippedLen] bytes long.
	Name string
	// Key is set where it concerns a key of a kind that is known: what the zone held
	// under this name is to be trusted no longer.
	Key *KeyID
}

// Bounds of what a zone remembers and names as skipped. Of more names it says
// [SkippedMore]: it holds nothing of which it cannot tell.
const (
	MaxSkippedLen = 400
	MaxSkipped    = 256
)

// SkippedMore stands for names that there was no room for.
const SkippedMore = "more"

// SkippedKind names everything of a kind that is not known.
func SkippedKind(kind string) string { return "kind:" + kind }

// SkippedMesh names everything of a mesh whose name has a form that is not known.
func SkippedMesh(mesh string) string { return "mesh:" + mesh }

// SkippedKey names one key, of which the algorithm, the state or a bound is not known.
func SkippedKey(id KeyID) string { return "key:" + id.String() }

// KnownRemoved names a key that the holder knows as removed, and so refuses though it is
// sent again: a backup or a rolled-back disk brought it back.
func KnownRemoved(id KeyID) string { return "removed:" + id.String() }

// kept begins the names of what a holder refuses beyond what it was told.
const kept = "keeps:"

// KeptRevocation names an id that a holder refuses though the global's list does not have it:
// what it knew of a past that the global lost, or replaced by a backup.
func KeptRevocation(kind Kind, mesh, id string) string {
	if mesh != "" {
		mesh = " of mesh " + mesh
	}
	return kept + kind.TokenName() + " " + id + mesh
}

// KeptMore says how many revoked ids, and how many cut-offs, a holder refuses by beyond what
// it was told. The first of the ids have names of their own.
func KeptMore(ids, cutOffs uint64) string {
	return fmt.Sprintf("%s%d revoked ids and %d cut-offs", kept, ids, cutOffs)
}

// SplitKept tells the names of what a holder keeps, without what they begin with, from those
// of what it skipped or lacks.
func SplitKept(names []string) (keeps, lacks []string) {
	for _, name := range names {
		if what, ok := strings.CutPrefix(name, kept); ok {
			keeps = append(keeps, what)
		} else {
			lacks = append(lacks, name)
		}
	}
	return keeps, lacks
}

// SkippedChange names a change by what of it is not known, as the wire has it.
func SkippedChange(what string) string { return "change:" + what }

// Lacks reports whether a holder that skipped or refuses these names lacks a key, whatever
// revision it acknowledged.
func Lacks(skipped []string, id KeyID) bool {
	for _, name := range skipped {
		if name == SkippedMore || name == SkippedKind(string(id.Kind)) || id.Mesh != "" && name == SkippedMesh(id.Mesh) || name == SkippedKey(id) || name == KnownRemoved(id) {
			return true
		}
	}
	return false
}
