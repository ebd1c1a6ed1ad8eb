package membership

import (
	"slices"

	"github.com/meridiankds/meridian/internal/global/peer"
)

// step is what a node without state does next.
type step int

const (
	wait  step = iota // ask again in a moment
	found             // collect promises, then found
	join              // a cluster exists
)

// prospect is a node without state and what it heard in one round.
type prospect struct {
	id       string
	expect   int
	nonVoter bool         // it may only join
	answers  []peer.Hello // of other nodes, each once
	silent   []string     // addresses of --join without an answer
}

// founders are the other nodes that would found a cluster: those that vote.
func (p *prospect) founders() []peer.Hello {
	return slices.DeleteFunc(slices.Clone(p.answers), func(a peer.Hello) bool { return a.NonVoter })
}

// sees returns the ids of the nodes that p sees and that would vote, itself included, in
// order; nil where an address is silent, and of a node that may only join.
func (p *prospect) sees() []string {
	if len(p.silent) > 0 || p.nonVoter {
		return nil
	}
	ids := []string{p.id}
	for _, a := range p.founders() {
		ids = append(ids, a.NodeID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// next decides, and says what a wait is for.
func (p *prospect) next() (step, string) {
	for _, a := range p.answers {
		if a.HoldsState {
			return join, ""
		}
	}
	if p.nonVoter {
		return wait, "no member of a cluster answers, and a node with --non-voter founds none"
	}
	all := p.sees()
	switch {
	case all == nil:
		return wait, "an address of --join does not answer"
	case len(all) < p.expect:
		return wait, "fewer nodes than --bootstrap-expect are there"
	}
	for _, a := range p.founders() {
		switch {
		case a.Expect != p.expect:
			return wait, "the node at " + a.Address + " has another --bootstrap-expect"
		case !slices.Equal(a.Sees, all):
			return wait, "the node at " + a.Address + " does not see the same nodes"
		}
	}
	if all[0] != p.id {
		return wait, "another node founds the cluster"
	}
	return found, ""
}
