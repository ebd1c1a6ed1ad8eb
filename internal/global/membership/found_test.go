package membership

import (
	"slices"
	"testing"

	"github.com/meridiankds/meridian/internal/global/peer"
)

func empty(id string, expect int, sees ...string) peer.Hello {
	return peer.Hello{NodeID: id, Expect: expect, Sees: sees}
}

func TestWhoFounds(t *testing.T) {
	all := []string{"a", "b", "c"}
	agree := []peer.Hello{empty("b", 3, all...), empty("c", 3, all...)}
	for name, tt := range map[string]struct {
		p    prospect
		want step
	}{
		"the lowest of all":            {prospect{id: "a", expect: 3, answers: agree}, found},
		"not the lowest":               {prospect{id: "b", expect: 3, answers: []peer.Hello{empty("a", 3, all...), empty("c", 3, all...)}}, wait},
		"too few":                      {prospect{id: "a", expect: 3, answers: agree[:1]}, wait},
		"an address is silent":         {prospect{id: "a", expect: 3, answers: agree, silent: []string{"d:5683"}}, wait},
		"one sees others":              {prospect{id: "a", expect: 3, answers: []peer.Hello{empty("b", 3, all...), empty("c", 3, "b", "c", "d")}}, wait},
		"one sees nobody yet":          {prospect{id: "a", expect: 3, answers: []peer.Hello{empty("b", 3, all...), empty("c", 3)}}, wait},
		"one expects another number":   {prospect{id: "a", expect: 3, answers: []peer.Hello{empty("b", 3, all...), empty("c", 5, all...)}}, wait},
		"one holds state":              {prospect{id: "a", expect: 3, answers: append([]peer.Hello{{NodeID: "z", HoldsState: true}}, agree...)}, join},
		"one holds state, one silent":  {prospect{id: "a", expect: 3, answers: []peer.Hello{{NodeID: "z", HoldsState: true}}, silent: []string{"d:5683"}}, join},
		"alone, where that is enough":  {prospect{id: "a", expect: 1}, found},
		"alone, where it is not":       {prospect{id: "a", expect: 3}, wait},
		"a replica founds nothing":     {prospect{id: "a", expect: 1, nonVoter: true, answers: agree}, wait},
		"a replica joins":              {prospect{id: "a", expect: 1, nonVoter: true, answers: []peer.Hello{{NodeID: "z", HoldsState: true}}}, join},
		"a replica is not counted":     {prospect{id: "a", expect: 3, answers: []peer.Hello{empty("b", 3, all...), {NodeID: "c", Expect: 3, NonVoter: true}}}, wait},
		"and not in the way":           {prospect{id: "b", expect: 2, answers: []peer.Hello{{NodeID: "a", Expect: 5, NonVoter: true}, empty("c", 2, "b", "c")}}, found},
		"more than expected, the same": {prospect{id: "a", expect: 1, answers: []peer.Hello{empty("b", 1, "a", "b")}}, found},
	} {
		if got, why := tt.p.next(); got != tt.want {
			t.Errorf("%s: %d (%s), want %d", name, got, why, tt.want)
		}
	}
}

// Whatever the nodes see of each other, no two of them found.
func TestAtMostOneFounds(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	for mask := range 1 << 12 {
		sees := map[string][]string{}
		bit := 0
		for _, from := range ids {
			for _, to := range ids {
				if from == to {
					sees[from] = append(sees[from], to)
					continue
				}
				if mask>>bit&1 == 1 {
					sees[from] = append(sees[from], to)
				}
				bit++
			}
		}
		var founders []string
		for _, id := range ids {
			p := prospect{id: id, expect: 2}
			for _, other := range sees[id] {
				if other != id {
					p.answers = append(p.answers, empty(other, 2, sees[other]...))
				}
			}
			if next, _ := p.next(); next == found {
				founders = append(founders, id)
			}
		}
		for i, a := range founders {
			for _, b := range founders[i+1:] {
				for _, id := range sees[a] {
					if slices.Contains(sees[b], id) {
						t.Fatalf("%s and %s found, and both see %s: %v", a, b, id, sees)
					}
				}
			}
		}
	}
}
