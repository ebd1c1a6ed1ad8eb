package cptoken

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
