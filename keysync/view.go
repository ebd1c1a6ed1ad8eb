package keysync

import (
	"cmp"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// View is what a zone knows at one revision. It is immutable: a token that is
// being verified is held against one View from beginning to end, while newer
// ones are published beside it. All methods are safe for concurrent use and take
// no locks.
type View struct {
	cluster  string
	revision federation.Revision
	position []byte
	// watermark is in Unix milliseconds.
	watermark int64
	keys      map[cptoken.KeyID]*cptoken.PublicKey
	cutOffs   map[cptoken.CutOffID]cutOff
	revoked   revSet
	hash      hashKey
	live      tallies

	vocabulary uint64
	skipped    []string
	kept       []string // as acknowledgements name it
	ahead      revSet   // of sets that are not all durable
}

var _ cptoken.View = (*View)(nil)

// Key returns the key, or nil where it is unknown or removed.
func (v *View) Key(id cptoken.KeyID) *cptoken.PublicKey {
	return v.keys[id]
}

// Revoked reports whether the id of the kind and mesh is revoked. It does not
// allocate, and takes the same time however many ids are revoked but for the
// processor's caches.
func (v *View) Revoked(kind cptoken.Kind, mesh, id string) bool {
	if len(v.revoked.tables) == 0 && len(v.ahead.tables) == 0 {
		return false
	}
	d, ok := v.hash.of(kind, mesh, id)
	return ok && (v.revoked.revoked(d) || v.ahead.revoked(d))
}

// CutOff returns the later of the cut-offs for the key and for all keys of the
// kind and mesh; zero where there is none.
func (v *View) CutOff(kind cptoken.Kind, mesh, kid string) time.Time {
	if len(v.cutOffs) == 0 {
		return time.Time{}
	}
	var latest int64 // a cut-off is after 1970
	for _, id := range [...]cptoken.CutOffID{{Kind: kind, Mesh: mesh}, {Kind: kind, Mesh: mesh, KID: kid}} {
		latest = max(latest, v.cutOffs[id].before)
	}
	if latest == 0 {
		return time.Time{}
	}
	return time.Unix(latest, 0)
}

// Pruned returns the watermark that the copy holds durably, zero where it has none.
func (v *View) Pruned() time.Time {
	if v.watermark == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v.watermark)
}

// Cluster returns the id of the cluster whose keys these are, "" where nothing
// was ever received.
func (v *View) Cluster() string { return v.cluster }

// Revision returns the point in the global's changes up to which this View holds
// everything.
func (v *View) Revision() federation.Revision { return v.revision }

// Empty reports whether nothing was ever received: a zone in this state knows
// nothing and refuses every token.
func (v *View) Empty() bool { return v.revision.IsZero() }

// Keys returns all keys, ordered by kind, mesh and kid (serials as numbers).
func (v *View) Keys() []*cptoken.PublicKey {
	keys := make([]*cptoken.PublicKey, 0, len(v.keys))
	for _, k := range v.keys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *cptoken.PublicKey) int {
		return cmp.Or(
			cmp.Compare(codeOf(a.ID.Kind), codeOf(b.ID.Kind)),
			cmp.Compare(a.ID.Mesh, b.ID.Mesh),
			cmp.Compare(len(a.ID.KID), len(b.ID.KID)),
			cmp.Compare(a.ID.KID, b.ID.KID),
		)
	})
	return keys
}

// Revocations returns the number of revoked ids of all kinds.
func (v *View) Revocations() int {
	h := head{live: v.live}
	return int(h.total())
}

// RevocationsOf returns the number of revoked ids of a kind, in all meshes.
func (v *View) RevocationsOf(kind cptoken.Kind) int { return int(v.live[kind]) }

// CutOffs returns the number of cut-offs.
func (v *View) CutOffs() int { return len(v.cutOffs) }

// RevocationBytes returns the memory that the revoked ids take.
func (v *View) RevocationBytes() int { return v.revoked.bytes() }

// Skipped names what the global sent that this version does not understand, in the
// words of cptoken: nothing of it is held, and it is trusted in nothing. It is empty
// where the zone holds everything.
func (v *View) Skipped() []string { return v.skipped }

// Kept names, for operators, what the copy refuses beyond what the global told it: how many
// ids and cut-offs, and the first ids.
func (v *View) Kept() []string {
	kept, _ := cptoken.SplitKept(v.kept)
	return kept
}

// Vocabulary is the level of words with which the copy was made; where it is another
// than cptoken.Vocabulary, the zone needs a full state to hold what it can by now.
func (v *View) Vocabulary() int { return int(v.vocabulary) }

// cutOff is a cut-off as held. carried marks one that was kept from an older
// history than that of the view.
type cutOff struct {
	before  int64 // Unix seconds
	carried bool
}
