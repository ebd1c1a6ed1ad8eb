package rollout

import "github.com/meridiankds/meridian/internal/zone/envoyres"

// circles numbers the resources of a set so that those that refer to each other, directly
// or through others, have the same number (Tarjan's strongly connected components).
func circles(set envoyres.Set) map[envoyres.Key]int {
	t := tarjan{set: set, order: map[envoyres.Key]int{}, low: map[envoyres.Key]int{}, number: map[envoyres.Key]int{}}
	for key := range set {
		if t.order[key] == 0 {
			t.visit(key)
		}
	}
	return t.number
}

type tarjan struct {
	set        envoyres.Set
	order, low map[envoyres.Key]int // 0: not visited
	number     map[envoyres.Key]int
	stack      []envoyres.Key
	circles    int
}

func (t *tarjan) visit(key envoyres.Key) {
	n := len(t.order) + 1
	t.order[key], t.low[key] = n, n
	t.stack = append(t.stack, key)
	for next := range referred(t.set, t.set[key]) {
		if t.order[next] == 0 {
			t.visit(next)
			t.low[key] = min(t.low[key], t.low[next])
		} else if t.number[next] == 0 { // still on the stack
			t.low[key] = min(t.low[key], t.order[next])
		}
	}
	if t.low[key] != t.order[key] {
		return
	}
	t.circles++
	for {
		last := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.number[last] = t.circles
		if last == key {
			return
		}
	}
}

// referred yields the keys of a set that a resource refers to.
func referred(set envoyres.Set, r *envoyres.Resource) func(yield func(envoyres.Key) bool) {
	return func(yield func(envoyres.Key) bool) {
		for _, reference := range r.References {
			if !reference.All {
				if set[reference.Key] != nil && reference.Key != r.Key && !yield(reference.Key) {
					return
				}
				continue
			}
			for key := range set {
				if reference.Covers(key) && key != r.Key && !yield(key) {
					return
				}
			}
		}
	}
}
