// Package ptree is an ordered map that is copied on change: what a reader holds never
// changes, and a change copies no more than it touches. See raftstore/DESIGN.md,
// "Persistent trees".
package ptree

import (
	"crypto/sha256"
	"iter"
	"slices"

	"github.com/meridiankds/meridian/internal/setsum"
)

// maxNode bounds the entries of a tree node. A leaf of token ids is then 4 KiB:
// small enough to copy for one change, large enough to keep the tree shallow.
const maxNode = 128

// Edit marks the nodes that belong to the change being made and so may be
// changed in place. A node with another mark is shared with a published capture.
type Edit struct {
	sum *setsum.Sum // of the records of all trees that it changes
	buf []byte      // a record in canonical form
}

// NewEdit begins a change, which keeps a sum of records up to date.
func NewEdit(sum *setsum.Sum) *Edit { return &Edit{sum: sum} }

// Tree is a persistent ordered map: a B+ tree whose nodes are copied before they
// are changed, so that a copy of the tree value is an immutable capture that
// costs nothing to take. Only one goroutine may change it; captures may be read
// by any number.
type Tree[K, V any] struct {
	compare func(a, b K) int
	// record appends an entry in canonical form; nil: the entries are no records.
	record func(b []byte, k K, v V) []byte
	root   *node[K, V]
	len    int
}

// node is a leaf (keys and vals) or an inner node (keys[i] is not greater than
// any key in kids[i], and greater than every key in kids[i-1]).
type node[K, V any] struct {
	owner *Edit
	keys  []K
	vals  []V
	kids  []*node[K, V]
}

// New returns an empty tree whose entries are no records.
func New[K, V any](compare func(a, b K) int) Tree[K, V] {
	return Tree[K, V]{compare: compare}
}

// NewRecords returns an empty tree whose entries count in the sum of an [Edit]: record
// appends one in canonical form.
func NewRecords[K, V any](compare func(a, b K) int, record func(b []byte, k K, v V) []byte) Tree[K, V] {
	return Tree[K, V]{compare: compare, record: record}
}

// note adds an entry to the sum of records, or takes it away.
func (t *Tree[K, V]) note(e *Edit, there bool, k K, v V) {
	if t.record == nil {
		return
	}
	e.buf = t.record(e.buf[:0], k, v)
	if r := setsum.Of(sha256.Sum256(e.buf)); there {
		e.sum.Add(r)
	} else {
		e.sum.Sub(r)
	}
}

// find returns the position of the first key not less than k.
func (t *Tree[K, V]) find(keys []K, k K) (int, bool) {
	lo, hi := 0, len(keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		c := t.compare(keys[mid], k)
		if c == 0 {
			return mid, true
		}
		if c < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, false
}

// child returns which child of an inner node may hold k.
func (t *Tree[K, V]) child(n *node[K, V], k K) int {
	i, ok := t.find(n.keys, k)
	if ok || i == 0 {
		return i
	}
	return i - 1
}

// Len is how many entries there are.
func (t *Tree[K, V]) Len() int { return t.len }

// Recorded reports whether the entries count in the sum of an [Edit].
func (t *Tree[K, V]) Recorded() bool { return t.record != nil }

// Version tells captures apart: two are equal (==) only where nothing was changed between.
func (t *Tree[K, V]) Version() any { return t.root }

// Get returns the value of k.
func (t *Tree[K, V]) Get(k K) (v V, ok bool) {
	n := t.root
	if n == nil {
		return v, false
	}
	for n.kids != nil {
		n = n.kids[t.child(n, k)]
	}
	if i, ok := t.find(n.keys, k); ok {
		return n.vals[i], true
	}
	return v, false
}

// own returns n if it belongs to e, else a copy that does.
func (n *node[K, V]) own(e *Edit) *node[K, V] {
	if n.owner == e {
		return n
	}
	return &node[K, V]{
		owner: e,
		keys:  slices.Clone(n.keys),
		vals:  slices.Clone(n.vals),
		kids:  slices.Clone(n.kids),
	}
}

// Set adds or replaces k.
func (t *Tree[K, V]) Set(e *Edit, k K, v V) {
	t.note(e, true, k, v)
	if t.root == nil {
		t.root = &node[K, V]{owner: e, keys: []K{k}, vals: []V{v}}
		t.len = 1
		return
	}
	t.root = t.root.own(e)
	right := t.insert(e, t.root, k, v)
	if right != nil {
		left := t.root
		t.root = &node[K, V]{
			owner: e,
			keys:  []K{left.keys[0], right.keys[0]},
			kids:  []*node[K, V]{left, right},
		}
	}
}

// insert changes n, which e owns, and returns its new right sibling if it split.
func (t *Tree[K, V]) insert(e *Edit, n *node[K, V], k K, v V) *node[K, V] {
	if n.kids == nil {
		i, ok := t.find(n.keys, k)
		if ok {
			t.note(e, false, k, n.vals[i])
			n.vals[i] = v
			return nil
		}
		t.len++
		n.keys = slices.Insert(n.keys, i, k)
		n.vals = slices.Insert(n.vals, i, v)
		return n.split(e, i)
	}
	i := t.child(n, k)
	n.kids[i] = n.kids[i].own(e)
	right := t.insert(e, n.kids[i], k, v)
	n.keys[i] = n.kids[i].keys[0]
	if right == nil {
		return nil
	}
	n.keys = slices.Insert(n.keys, i+1, right.keys[0])
	n.kids = slices.Insert(n.kids, i+1, right)
	return n.split(e, i+1)
}

// split halves a node that has grown too large. Where the last entry was the one
// that was added, at, the left half stays full: keys that arrive in order, as
// from a snapshot, make a dense tree.
func (n *node[K, V]) split(e *Edit, at int) *node[K, V] {
	if len(n.keys) <= maxNode {
		return nil
	}
	mid := len(n.keys) / 2
	if at == len(n.keys)-1 {
		mid = at
	}
	right := &node[K, V]{owner: e, keys: slices.Clone(n.keys[mid:])}
	clear(n.keys[mid:])
	n.keys = n.keys[:mid]
	if n.kids != nil {
		right.kids = slices.Clone(n.kids[mid:])
		clear(n.kids[mid:])
		n.kids = n.kids[:mid]
	} else {
		right.vals = slices.Clone(n.vals[mid:])
		clear(n.vals[mid:])
		n.vals = n.vals[:mid]
	}
	return right
}

// Del removes k and reports whether it was there. Nodes are removed when they
// are empty and never merged: what shrinks here is refilled or pruned as a whole.
func (t *Tree[K, V]) Del(e *Edit, k K) bool {
	v, ok := t.Get(k)
	if !ok {
		return false
	}
	t.note(e, false, k, v)
	t.root = t.root.own(e)
	t.remove(e, t.root, k)
	t.len--
	for len(t.root.kids) == 1 {
		t.root = t.root.kids[0]
	}
	if len(t.root.keys) == 0 {
		t.root = nil
	}
	return true
}

func (t *Tree[K, V]) remove(e *Edit, n *node[K, V], k K) {
	if n.kids == nil {
		if i, ok := t.find(n.keys, k); ok {
			n.keys = slices.Delete(n.keys, i, i+1)
			n.vals = slices.Delete(n.vals, i, i+1)
		}
		return
	}
	i := t.child(n, k)
	kid := n.kids[i].own(e)
	n.kids[i] = kid
	t.remove(e, kid, k)
	if len(kid.keys) == 0 {
		n.keys = slices.Delete(n.keys, i, i+1)
		n.kids = slices.Delete(n.kids, i, i+1)
		return
	}
	n.keys[i] = kid.keys[0]
}

// UpTo returns the last entry whose key is not greater than k.
func (t *Tree[K, V]) UpTo(k K) (key K, v V, ok bool) {
	n := t.root
	if n == nil || t.compare(n.keys[0], k) > 0 {
		return key, v, false
	}
	for n.kids != nil {
		n = n.kids[t.child(n, k)]
	}
	i, exact := t.find(n.keys, k)
	if !exact {
		i--
	}
	return n.keys[i], n.vals[i], true
}

// All yields every entry in order.
func (t *Tree[K, V]) All() iter.Seq2[K, V] {
	root := t.root
	return func(yield func(K, V) bool) {
		if root != nil {
			root.walk(yield)
		}
	}
}

func (n *node[K, V]) walk(yield func(K, V) bool) bool {
	for _, kid := range n.kids {
		if !kid.walk(yield) {
			return false
		}
	}
	for i := range n.vals {
		if !yield(n.keys[i], n.vals[i]) {
			return false
		}
	}
	return true
}

// From yields the entries whose keys are not less than k, in order.
func (t *Tree[K, V]) From(k K) iter.Seq2[K, V] {
	at := *t
	return func(yield func(K, V) bool) {
		if at.root != nil {
			at.walkFrom(at.root, k, yield)
		}
	}
}

func (t *Tree[K, V]) walkFrom(n *node[K, V], k K, yield func(K, V) bool) bool {
	if n.kids == nil {
		i, _ := t.find(n.keys, k)
		for ; i < len(n.keys); i++ {
			if !yield(n.keys[i], n.vals[i]) {
				return false
			}
		}
		return true
	}
	i := t.child(n, k)
	if !t.walkFrom(n.kids[i], k, yield) {
		return false
	}
	for _, kid := range n.kids[i+1:] {
		if !kid.walk(yield) {
			return false
		}
	}
	return true
}
