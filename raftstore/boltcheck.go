package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

// boltFile reads a bbolt file page by page, without bbolt: bbolt maps the file into
// memory, trusts what it finds and panics, faults or goes on with less than was
// written where a page is damaged. Everything that is reachable from the newest
// meta page is checked: that pages are what their parents take them for, that keys
// are in order, that elements fill their page without a gap (so that none can be
// hidden by a smaller count), and that no page is used twice.
//
// The layout is that of bbolt's file format version 2: a page is a header of 16
// bytes (id 8, flags 2, count 2, overflow 4) followed by count elements and their
// keys and values, in the byte order of the machine.
type boltFile struct {
	r        io.ReaderAt
	pageSize int64
	high     uint64 // pages at and above are not in use
	seen     map[uint64]bool
}

const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHead    = 16
	elemSize    = 16
	metaSize    = 64
	inBucket    = 16
	branchPage  = 0x01
	leafPage    = 0x02
	metaPage    = 0x04
	bucketElem  = 0x01
	maxBoltTree = 32
)

// boltMeta is a meta page: where the newest, or the last but one, state begins.
type boltMeta struct {
	pageSize uint32
	root     uint64
	high     uint64
	txid     uint64
}

// boltBucket is called for each bucket with a function that walks its entries.
type boltVisit func(bucket string, key, value []byte) error

// walkBolt checks the whole file and calls visit for each entry of each bucket.
func walkBolt(r io.ReaderAt, size int64, visit boltVisit) error {
	m, err := readMetas(r)
	if err != nil {
		return err
	}
	f := &boltFile{r: r, pageSize: int64(m.pageSize), high: m.high, seen: map[uint64]bool{0: true, 1: true}}
	if m.high > uint64(math.MaxInt64/f.pageSize) || int64(m.high)*f.pageSize > size {
		return fmt.Errorf("the file has %d bytes and should have %d or more: it was cut off", size, int64(m.high)*f.pageSize)
	}
	return f.tree(m.root, 0, nil, func(flags uint32, name, value []byte) error {
		if flags != bucketElem {
			return errors.New("an entry outside of a bucket")
		}
		return f.bucket(string(name), value, visit)
	})
}

// readMetas checks both meta pages and returns the newer. bbolt writes them in
// turn and goes on with the older where the newer is damaged; that would silently
// undo the last write, which may have been acknowledged, so both must be sound.
func readMetas(r io.ReaderAt) (boltMeta, error) {
	first, err := readMeta(r, 0)
	if err != nil {
		return first, fmt.Errorf("meta page 0: %w", err)
	}
	second, err := readMeta(r, int64(first.pageSize))
	if err != nil {
		return second, fmt.Errorf("meta page 1: %w", err)
	}
	if second.pageSize != first.pageSize || first.txid%2 != 0 || second.txid%2 != 1 {
		return second, errors.New("the meta pages contradict each other")
	}
	if second.txid > first.txid {
		return second, nil
	}
	return first, nil
}

func readMeta(r io.ReaderAt, at int64) (m boltMeta, err error) {
	b := make([]byte, pageHead+metaSize)
	if _, err := r.ReadAt(b, at); err != nil {
		return m, noEOF(err)
	}
	le := binary.NativeEndian
	if flags := le.Uint16(b[8:]); flags != metaPage {
		return m, fmt.Errorf("page type %#x", flags)
	}
	b = b[pageHead:]
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	switch {
	case le.Uint32(b) != boltMagic:
		return m, errors.New("not a bbolt file")
	case le.Uint32(b[4:]) != boltVersion:
		return m, fmt.Errorf("file format version %d", le.Uint32(b[4:]))
	case le.Uint64(b[56:]) != sum.Sum64():
		return m, errors.New("checksum does not match")
	}
	m = boltMeta{pageSize: le.Uint32(b[8:]), root: le.Uint64(b[16:]), high: le.Uint64(b[40:]), txid: le.Uint64(b[48:])}
	if m.pageSize < 512 || m.pageSize > 1<<16 || m.pageSize&(m.pageSize-1) != 0 {
		return m, fmt.Errorf("page size %d", m.pageSize)
	}
	return m, nil
}

// bucket walks the entries of a bucket, which is a tree of its own or, while it is
// small, a page inside of the value.
func (f *boltFile) bucket(name string, value []byte, visit boltVisit) error {
	if len(value) < inBucket {
		return fmt.Errorf("bucket %.20q is too short", name)
	}
	entry := func(flags uint32, key, value []byte) error {
		if flags != 0 {
			return fmt.Errorf("bucket %.20q: entry of type %#x", name, flags)
		}
		return visit(name, key, value)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return f.tree(root, 0, nil, entry)
	}
	p, err := parsePage(value[inBucket:], 0)
	if err != nil {
		return fmt.Errorf("bucket %.20q: %w", name, err)
	}
	if p.flags != leafPage {
		return fmt.Errorf("bucket %.20q: page type %#x", name, p.flags)
	}
	return p.leaf(entry)
}

// tree walks a page and all below it. first is the key under which the parent
// knows the page, nil at the root.
func (f *boltFile) tree(id uint64, depth int, first []byte, entry func(flags uint32, key, value []byte) error) error {
	if depth > maxBoltTree {
		return errors.New("the tree of pages is too deep")
	}
	p, err := f.page(id)
	if err != nil {
		return err
	}
	if first != nil && (p.count() == 0 || !bytes.Equal(p.keys[0], first)) {
		return fmt.Errorf("page %d does not begin with the key that its parent has", id)
	}
	switch p.flags {
	case leafPage:
		if err := p.leaf(entry); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	case branchPage:
		if p.count() == 0 {
			return fmt.Errorf("page %d has no children", id)
		}
		for i, kid := range p.kids {
			if err := f.tree(kid, depth+1, p.keys[i], entry); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("page %d: page type %#x", id, p.flags)
}

// page reads a page with its overflow and notes its use.
func (f *boltFile) page(id uint64) (*boltPage, error) {
	if id >= f.high {
		return nil, fmt.Errorf("page %d is not in use, but referred to", id)
	}
	head := make([]byte, pageHead)
	if _, err := f.r.ReadAt(head, int64(id)*f.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, noEOF(err))
	}
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	if binary.NativeEndian.Uint64(head) != id || overflow >= f.high-id {
		return nil, fmt.Errorf("page %d: its header is damaged", id)
	}
	for i := id; i <= id+overflow; i++ {
		if f.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		f.seen[i] = true
	}
	b := make([]byte, int64(overflow+1)*f.pageSize)
	if _, err := f.r.ReadAt(b, int64(id)*f.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, noEOF(err))
	}
	p, err := parsePage(b, id)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return p, nil
}

type boltPage struct {
	flags  uint16
	keys   [][]byte
	values [][]byte // of a leaf
	types  []uint32 // of a leaf
	kids   []uint64 // of a branch
}

func (p *boltPage) count() int { return len(p.keys) }

// parsePage checks the elements of a page.
func parsePage(b []byte, id uint64) (*boltPage, error) {
	if len(b) < pageHead {
		return nil, errors.New("too short")
	}
	le := binary.NativeEndian
	p := &boltPage{flags: le.Uint16(b[8:])}
	if le.Uint64(b) != id || p.flags != leafPage && p.flags != branchPage {
		return nil, fmt.Errorf("its header is damaged")
	}
	count := int(le.Uint16(b[10:]))
	at := pageHead + count*elemSize // where the next element's key must begin
	if at > len(b) {
		return nil, errors.New("it has more elements than fit")
	}
	for i := range count {
		elem := pageHead + i*elemSize
		flags, pos, ksize, vsize, kid := element(b[elem:], p.flags)
		end := int64(at) + int64(ksize) + int64(vsize)
		if int64(elem)+int64(pos) != int64(at) || ksize == 0 || end > int64(len(b)) {
			return nil, fmt.Errorf("element %d does not lie where it should", i)
		}
		key := b[at : at+int(ksize)]
		if i > 0 && bytes.Compare(p.keys[i-1], key) >= 0 {
			return nil, fmt.Errorf("the keys of elements %d and %d are not in order", i-1, i)
		}
		p.keys = append(p.keys, key)
		if p.flags == leafPage {
			p.values, p.types = append(p.values, b[at+int(ksize):end]), append(p.types, flags)
		} else {
			p.kids = append(p.kids, kid)
		}
		at = int(end)
	}
	return p, nil
}

// element reads the element of a leaf (flags, pos, ksize, vsize: 4 bytes each) or
// of a branch (pos, ksize: 4 bytes each, page id 8).
func element(b []byte, page uint16) (flags, pos, ksize, vsize uint32, kid uint64) {
	le := binary.NativeEndian
	if page == leafPage {
		return le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), 0
	}
	return 0, le.Uint32(b), le.Uint32(b[4:]), 0, le.Uint64(b[8:])
}

func (p *boltPage) leaf(entry func(flags uint32, key, value []byte) error) error {
	for i, key := range p.keys {
		if err := entry(p.types[i], key, p.values[i]); err != nil {
			return err
		}
	}
	return nil
}
