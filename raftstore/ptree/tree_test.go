package ptree

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTreeIsAMapThatCanBeCaptured holds a tree against a map, and each capture
// against a copy of the map that was made with it.
func TestTreeIsAMapThatCanBeCaptured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type capture struct {
			tree  Tree[int, int]
			model map[int]int
		}
		tr, model := New[int, int](cmp.Compare[int]), map[int]int{}
		e := new(Edit)
		var captures []capture
		keys := rapid.IntRange(0, 2000)
		for range rapid.IntRange(1, 30).Draw(t, "rounds") {
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0: // a run of keys in order, as from a snapshot
				first, n := keys.Draw(t, "first"), rapid.IntRange(1, 400).Draw(t, "n")
				for k := first; k < first+n; k++ {
					tr.Set(e, k, k*7)
					model[k] = k * 7
				}
			case 1:
				for _, k := range rapid.SliceOfN(keys, 1, 200).Draw(t, "set") {
					tr.Set(e, k, len(model))
					model[k] = tr.must(k)
				}
			case 2:
				for _, k := range rapid.SliceOfN(keys, 1, 300).Draw(t, "del") {
					_, want := model[k]
					if got := tr.Del(e, k); got != want {
						t.Fatalf("del %d: %v, want %v", k, got, want)
					}
					delete(model, k)
				}
			case 3:
				captures = append(captures, capture{tr, maps.Clone(model)})
				e = new(Edit)
			}
		}
		captures = append(captures, capture{tr, model})
		for i, c := range captures {
			checkTree(t, i, &c.tree, c.model, keys.Draw(t, "from"))
		}
	})
}

func (t *Tree[K, V]) must(k K) V {
	v, ok := t.Get(k)
	if !ok {
		panic("not there")
	}
	return v
}

func checkTree(t *rapid.T, i int, tr *Tree[int, int], model map[int]int, from int) {
	if tr.len != len(model) {
		t.Fatalf("capture %d: len %d, want %d", i, tr.len, len(model))
	}
	var got []int
	for k, v := range tr.All() {
		if model[k] != v {
			t.Fatalf("capture %d: %d is %d, want %d", i, k, v, model[k])
		}
		got = append(got, k)
	}
	want := slices.Sorted(maps.Keys(model))
	if !slices.Equal(got, want) {
		t.Fatalf("capture %d: keys %v, want %v", i, got, want)
	}
	at, _ := slices.BinarySearch(want, from)
	got = nil
	for k := range tr.From(from) {
		got = append(got, k)
	}
	if !slices.Equal(got, want[at:]) {
		t.Fatalf("capture %d: from %d: %v, want %v", i, from, got, want[at:])
	}
	for k, v := range model {
		if tr.must(k) != v {
			t.Fatalf("capture %d: get %d", i, k)
		}
	}
}
