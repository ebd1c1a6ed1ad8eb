package disk

import (
	"bytes"
	"encoding/binary"
)

// visitEntry is called for each entry of a tree of pages.
type visitEntry func(key, value []byte, isBucket bool) error

// bucket walks the keys of a bucket at the top level. A small bucket lies within
// the value that names it.
func (f *boltFile) bucket(name, value []byte, fn BoltVisit) error {
	if len(value) < bucketHeader {
		return damagef("bucket %.20q has no header", name)
	}
	visit := func(key, value []byte, isBucket bool) error {
		if isBucket {
			return damagef("bucket %.20q holds a bucket", name)
		}
		return fn(name, key, value)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		// The name lies in the buffer of its own depth: deeper ones are free.
		return f.tree(root, maxTreeDepth/2, nil, visit)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader {
		return damagef("bucket %.20q has no page", name)
	}
	if flags, _ := kindOf(inline); flags != flagLeaf || binary.NativeEndian.Uint64(inline) != 0 {
		return damagef("the page of bucket %.20q is damaged", name)
	}
	return leaf(inline, nil, visit)
}

// tree walks the pages under id in order of their keys. first is the key under which
// the parent knows the page, nil at the root.
func (f *boltFile) tree(id uint64, depth int, first []byte, visit visitEntry) error {
	data, err := f.page(id, depth)
	if err != nil {
		return err
	}
	switch flags, _ := kindOf(data); flags {
	case flagLeaf:
		return leaf(data, first, visit)
	case flagBranch:
		return f.branch(data, depth, first, visit)
	default:
		return damagef("page %d is of kind %#x", id, flags)
	}
}

// branch walks the children of a page. Their keys must lie from their element's key
// up to the next one: the last key that was visited is compared with it.
func (f *boltFile) branch(data []byte, depth int, first []byte, visit visitEntry) error {
	var last []byte
	watched := func(key, value []byte, isBucket bool) error {
		last = append(last[:0], key...)
		return visit(key, value, isBucket)
	}
	return elements(data, first, func(e element) error {
		if last != nil && bytes.Compare(e.key, last) <= 0 {
			return damagef("a branch page is out of order")
		}
		return f.tree(e.child, depth+1, e.key, watched)
	})
}

// leaf visits the elements of a leaf page.
func leaf(data, first []byte, visit visitEntry) error {
	return elements(data, first, func(e element) error {
		if e.flags > leafBucket {
			return damagef("an element is of kind %#x", e.flags)
		}
		return visit(e.key, e.value, e.flags == leafBucket)
	})
}

// element is an element of a leaf (flags, pos, key size, value size: 4 bytes each) or
// of a branch (pos, key size: 4 bytes each, page 8). pos counts from the element on.
type element struct {
	flags      uint32 // of a leaf
	key, value []byte
	child      uint64 // of a branch
}

// elements calls fn for each element of a page. They must lie one after the other and
// ascend; if first is given, they must begin with it.
func elements(data, first []byte, fn func(element) error) error {
	flags, n := kindOf(data)
	count := int(n)
	next := uint64(pageHeader + count*elemSize) // where the next key must begin
	if next > uint64(len(data)) {
		return damagef("a page has more elements than room")
	}
	if count == 0 && (first != nil || flags == flagBranch) {
		return damagef("a page is empty, and its parent takes it for a full one")
	}
	ne := binary.NativeEndian
	var last []byte
	for i := range count {
		at := pageHeader + i*elemSize
		b := data[at:]
		var e element
		pos, keySize, valueSize := ne.Uint32(b), ne.Uint32(b[4:]), uint32(0)
		if flags == flagLeaf {
			e.flags, pos, keySize, valueSize = ne.Uint32(b), ne.Uint32(b[4:]), ne.Uint32(b[8:]), ne.Uint32(b[12:])
		} else {
			e.child = ne.Uint64(b[8:])
		}
		value := next + uint64(keySize)
		end := value + uint64(valueSize)
		if uint64(at)+uint64(pos) != next || keySize == 0 || end > uint64(len(data)) {
			return damagef("element %d of a page does not lie where it should", i)
		}
		e.key, e.value = data[next:value], data[value:end]
		switch {
		case i == 0 && first != nil && !bytes.Equal(e.key, first):
			return damagef("a page does not begin with the key that its parent has")
		case i > 0 && bytes.Compare(e.key, last) <= 0:
			return damagef("the keys of elements %d and %d of a page are out of order", i-1, i)
		}
		if err := fn(e); err != nil {
			return err
		}
		last, next = e.key, end
	}
	return nil
}

// kindOf reads a page's flags and how many elements it has.
func kindOf(page []byte) (flags, count uint16) {
	return binary.NativeEndian.Uint16(page[8:]), binary.NativeEndian.Uint16(page[10:])
}
