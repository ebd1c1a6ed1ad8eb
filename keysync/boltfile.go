package keysync

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"io"
	"math"
)

// The layout of a bbolt file, version 2, as go.etcd.io/bbolt writes it: pages of
// a fixed size, the first two of them meta pages, of which the one with the higher
// transaction number holds. Integers are in the byte order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader   = 16 // id uint64, flags uint16, count uint16, overflow uint32
	metaSize     = 64 // see readMeta
	branchElem   = 16 // pos uint32, key size uint32, page uint64
	leafElem     = 16 // flags uint32, pos uint32, key size uint32, value size uint32
	bucketHeader = 16 // root page uint64, sequence uint64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	leafBucket   = 0x01

	minPage, maxPage = 1 << 10, 1 << 16
	maxTreeDepth     = 24
	noFreelist       = math.MaxUint64
)

// boltFile reads a whole bbolt file with plain reads and checks it on the way,
// before bbolt itself maps it. bbolt trusts its file: on a damaged one it panics
// (partly in goroutines of its own, where nobody can recover), reads beyond the
// mapping, allocates what a flipped bit in a count asks for, silently goes back
// to the state before the last transaction when the newer meta page is damaged,
// or overwrites pages in use that a damaged freelist calls free. Each of these
// would end or mislead a zone, or lose a revocation that it acknowledged.
//
// What is checked: both meta pages; that every page below the high-water mark is
// in exactly one place, in a tree, in the freelist or holding the freelist; that
// elements lie within their pages, and that keys ascend.
type boltFile struct {
	r        io.ReaderAt
	size     int64
	pageSize int
	highest  uint64 // the first page number that is not in use
	seen     []uint64
	buffers  [maxTreeDepth][]byte
}

// boltMeta is what a meta page says.
type boltMeta struct {
	pageSize             uint32
	root, freelist, high uint64
	txid                 uint64
}

// walkBolt checks the file and calls fn for every key of every bucket at the top
// level, bucket by bucket, keys ascending. The slices are valid during the call
// only. It returns how many transactions the file has seen. Errors of fn are
// returned as they are, damage as *damage, and failures to read as they come.
func walkBolt(r io.ReaderAt, size int64, fn func(bucket, key, value []byte) error) (transactions uint64, err error) {
	f := &boltFile{r: r, size: size}
	meta, err := f.metas()
	if err != nil {
		return 0, err
	}
	// A new file has the transactions 0 and 1.
	return meta.txid - 1, f.walk(meta, fn)
}

func (f *boltFile) walk(meta boltMeta, fn func(bucket, key, value []byte) error) error {
	f.pageSize, f.highest = int(meta.pageSize), meta.high
	if f.highest < 4 || f.highest > uint64(f.size)/uint64(f.pageSize) {
		return damagef("the file has %d bytes, but should have %d pages of %d", f.size, f.highest, f.pageSize)
	}
	f.seen = make([]uint64, f.highest/64+1)
	if err := f.freelist(meta.freelist); err != nil {
		return err
	}
	err := f.tree(meta.root, 0, nil, func(name, value []byte, isBucket bool) error {
		if !isBucket {
			return damagef("a key stands outside of every bucket")
		}
		return f.bucket(name, value, fn)
	})
	if err != nil {
		return err
	}
	for id := uint64(2); id < f.highest; id++ {
		if f.seen[id/64]&(1<<(id%64)) == 0 {
			return damagef("page %d is neither in use nor free", id)
		}
	}
	return nil
}

// metas reads both meta pages. Both must be valid: bbolt would go on with the
// older one if the newer is not, and that is a state that this zone has
// acknowledged to be past. A crash cannot tear a meta page, which is written
// last, by itself, and lies within one sector.
func (f *boltFile) metas() (boltMeta, error) {
	first, err := f.meta(0)
	if err != nil {
		return first, err
	}
	second, err := f.meta(int64(first.pageSize))
	if err != nil {
		return second, err
	}
	if first.pageSize != second.pageSize {
		return first, damagef("the meta pages disagree on the size of pages")
	}
	if second.txid > first.txid {
		first, second = second, first
	}
	if first.txid != second.txid+1 {
		return first, damagef("the meta pages are of transactions %d and %d", second.txid, first.txid)
	}
	return first, nil
}

func (f *boltFile) meta(at int64) (m boltMeta, err error) {
	b := make([]byte, pageHeader+metaSize)
	if at+int64(len(b)) > f.size {
		return m, damagef("the file ends after %d bytes", f.size)
	}
	if _, err := f.r.ReadAt(b, at); err != nil {
		return m, err
	}
	b = b[pageHeader:]
	ne := binary.NativeEndian
	h := fnv.New64a()
	h.Write(b[:56])
	if ne.Uint32(b) != boltMagic || ne.Uint32(b[4:]) != boltVersion || ne.Uint64(b[56:]) != h.Sum64() {
		return m, damagef("the meta page at byte %d is damaged, or this is no file of a zone", at)
	}
	m = boltMeta{
		pageSize: ne.Uint32(b[8:]), root: ne.Uint64(b[16:]),
		freelist: ne.Uint64(b[32:]), high: ne.Uint64(b[40:]), txid: ne.Uint64(b[48:]),
	}
	if m.pageSize < minPage || m.pageSize > maxPage || m.pageSize&(m.pageSize-1) != 0 {
		return m, damagef("the meta page at byte %d gives pages of %d bytes", at, m.pageSize)
	}
	return m, nil
}

// claim marks n pages from id as taken. Each page is claimed once.
func (f *boltFile) claim(id uint64, n uint64) error {
	if id < 2 || n == 0 || n > f.highest || id > f.highest-n {
		return damagef("page %d lies outside of the file", id)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if f.seen[id/64]&(1<<(id%64)) != 0 {
			return damagef("page %d is used twice", id)
		}
		f.seen[id/64] |= 1 << (id % 64)
	}
	return nil
}

// page reads a page with its overflow into the buffer of its depth.
func (f *boltFile) page(id uint64, depth int) (data []byte, flags, count uint16, err error) {
	if depth >= maxTreeDepth {
		return nil, 0, 0, damagef("page %d lies too deep", id)
	}
	if id < 2 || id >= f.highest {
		return nil, 0, 0, damagef("page %d lies outside of the file", id)
	}
	var head [pageHeader]byte
	at := int64(id) * int64(f.pageSize)
	if _, err := f.r.ReadAt(head[:], at); err != nil {
		return nil, 0, 0, err
	}
	ne := binary.NativeEndian
	if got := ne.Uint64(head[:]); got != id {
		return nil, 0, 0, damagef("page %d says that it is page %d", id, got)
	}
	pages := uint64(ne.Uint32(head[12:])) + 1
	if err := f.claim(id, pages); err != nil {
		return nil, 0, 0, err
	}
	size := int(pages) * f.pageSize
	if cap(f.buffers[depth]) < size {
		f.buffers[depth] = make([]byte, size)
	}
	data = f.buffers[depth][:size]
	if _, err := f.r.ReadAt(data, at); err != nil {
		return nil, 0, 0, err
	}
	return data, ne.Uint16(head[8:]), ne.Uint16(head[10:]), nil
}

// freelist claims every page that is free.
func (f *boltFile) freelist(id uint64) error {
	if id == noFreelist {
		return damagef("the freelist is missing")
	}
	data, flags, count16, err := f.page(id, 0)
	if err != nil {
		return err
	}
	if flags != flagFreelist {
		return damagef("page %d is not the freelist", id)
	}
	ids, count := data[pageHeader:], uint64(count16)
	if count == math.MaxUint16 {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damagef("the freelist is longer than its pages")
	}
	var last uint64
	for i := range count {
		free := binary.NativeEndian.Uint64(ids[8*i:])
		if free <= last {
			return damagef("the freelist is out of order")
		}
		last = free
		if err := f.claim(free, 1); err != nil {
			return err
		}
	}
	return nil
}

// bucket walks the keys of a bucket at the top level. A small bucket lies within
// the value that names it.
func (f *boltFile) bucket(name, value []byte, fn func(bucket, key, value []byte) error) error {
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
	ne := binary.NativeEndian
	if flags := ne.Uint16(inline[8:]); flags != flagLeaf {
		return damagef("bucket %.20q has a page of kind %d", name, flags)
	}
	_, err := leaves(inline, ne.Uint16(inline[10:]), nil, visit)
	return err
}

// tree walks the pages under id in order of their keys.
func (f *boltFile) tree(id uint64, depth int, lower []byte, visit func(key, value []byte, isBucket bool) error) error {
	data, flags, count, err := f.page(id, depth)
	if err != nil {
		return err
	}
	switch flags {
	case flagLeaf:
		_, err := leaves(data, count, lower, visit)
		return err
	case flagBranch:
		return f.branches(data, count, depth, lower, visit)
	}
	return damagef("page %d is of kind %d", id, flags)
}

func (f *boltFile) branches(data []byte, count uint16, depth int, lower []byte, visit func(key, value []byte, isBucket bool) error) error {
	if count == 0 {
		return damagef("a branch page is empty")
	}
	// Keys of the children must lie from their element's key up to the next one.
	// The last key that was visited is compared with the next element's key.
	var last []byte
	watched := func(key, value []byte, isBucket bool) error {
		last = append(last[:0], key...)
		return visit(key, value, isBucket)
	}
	for i := range int(count) {
		at := pageHeader + i*branchElem
		if at+branchElem > len(data) {
			return damagef("a branch page has more elements than room")
		}
		ne := binary.NativeEndian
		key, err := within(data, at, ne.Uint32(data[at:]), ne.Uint32(data[at+4:]))
		if err != nil {
			return err
		}
		if i == 0 && bytes.Compare(key, lower) < 0 || i > 0 && bytes.Compare(key, last) <= 0 {
			return damagef("a branch page is out of order")
		}
		if err := f.tree(ne.Uint64(data[at+8:]), depth+1, key, watched); err != nil {
			return err
		}
	}
	return nil
}

// leaves visits the elements of a leaf page. Keys must ascend, from lower on.
func leaves(data []byte, count uint16, lower []byte, visit func(key, value []byte, isBucket bool) error) ([]byte, error) {
	last := lower
	for i := range int(count) {
		at := pageHeader + i*leafElem
		if at+leafElem > len(data) {
			return nil, damagef("a leaf page has more elements than room")
		}
		ne := binary.NativeEndian
		flags, pos := ne.Uint32(data[at:]), ne.Uint32(data[at+4:])
		ksize, vsize := ne.Uint32(data[at+8:]), ne.Uint32(data[at+12:])
		key, err := within(data, at, pos, ksize)
		if err != nil {
			return nil, err
		}
		value, err := within(data, at+int(ksize), pos, vsize)
		if err != nil {
			return nil, err
		}
		if c := bytes.Compare(key, last); len(key) == 0 || flags > leafBucket || c < 0 || c == 0 && i > 0 {
			return nil, damagef("a leaf page is out of order")
		}
		last = key
		if err := visit(key, value, flags == leafBucket); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// within returns size bytes at pos from at, if the page has them.
func within(data []byte, at int, pos, size uint32) ([]byte, error) {
	from := uint64(at) + uint64(pos)
	if from+uint64(size) > uint64(len(data)) {
		return nil, damagef("an element reaches beyond its page")
	}
	return data[from : from+uint64(size)], nil
}
