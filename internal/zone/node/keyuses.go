package node

import (
	"cmp"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds"
)

// maxLiveKeys bounds the keys whose open sessions the global is told of: those with most.
const maxLiveKeys = 32

// keyUses tells the global what uses the keys at this zone: who fetched key sets, and how
// many sessions are open with the tokens of each key.
type keyUses struct{ n *Node }

// Changed implements [kds.KeySets]. Of sessions, who asks now and then hears.
func (k keyUses) Changed() <-chan struct{} { return k.n.keySets.Changed() }

// Uses implements [kds.KeySets].
func (k keyUses) Uses() []kds.KeySetUse {
	counts := k.n.sessions.ByKey()
	keys := make([]cptoken.KeyID, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b cptoken.KeyID) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.String(), b.String()))
	})
	uses := k.n.keySets.Uses()
	for _, key := range keys[:min(len(keys), maxLiveKeys)] {
		uses = append(uses, kds.LiveUse(key, counts[key]))
	}
	return uses
}
