package disk

import (
	"encoding/binary"
	"fmt"
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
	metaSize     = 64 // see meta
	elemSize     = 16 // see element
	bucketHeader = 16 // root page uint64, sequence uint64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
	leafBucket   = 0x01

	minPage, maxPage = 1 << 10, 1 << 16
	maxTreeDepth     = 24
	noFreelist       = math.MaxUint64
)

// DamageError is the error for a bbolt file whose content cannot be right.
type DamageError struct {
	Detail string // what is wrong, on one line, without the file's name
}

func (d *DamageError) Error() string { return d.Detail }

func damagef(format string, args ...any) error {
	return &DamageError{fmt.Sprintf(format, args...)}
}

// BoltInfo is what [WalkBolt] learns about a file apart from its entries.
type BoltInfo struct {
	// Transactions counts the writes that the file has seen; 0 for a new file.
	Transactions uint64
	// Freelist tells that the file holds the list of its free pages, so that every
	// page was accounted for. With bbolt's NoFreelistSync it holds none, and a page
	// that nothing refers to counts as free.
	Freelist bool
}

// BoltVisit is called for each entry of each bucket. The slices are valid during the
// call only.
type BoltVisit func(bucket, key, value []byte) error

// WalkBolt checks a whole bbolt file and calls visit for every key of every bucket at
// the top level, bucket by bucket, keys ascending. Errors of visit are returned as they
// are, damage as a [*DamageError], and failures to read as they come.
//
// It reads the file with plain reads before bbolt itself maps it. bbolt trusts its
// file: on a damaged one it panics (partly in goroutines of its own, where nobody can
// recover), reads beyond the mapping, allocates what a flipped bit in a count asks for,
// silently goes back to the state before the last transaction when the newer meta page
// is damaged, or overwrites pages in use that a damaged freelist calls free. Each of
// these would end or mislead a process, or lose a write that it acknowledged.
//
// What is checked: both meta pages; that pages are what their parents take them for,
// and in use once; that every page below the high-water mark is in a tree, in the
// freelist or holds the freelist, if the file has one; that keys ascend; and that
// elements fill their page without a gap, so that none can be hidden by a smaller
// count.
func WalkBolt(r io.ReaderAt, size int64, visit BoltVisit) (BoltInfo, error) {
	f := &boltFile{r: r, size: size}
	meta, err := f.metas()
	if err != nil {
		return BoltInfo{}, err
	}
	// A new file has the transactions 0 and 1.
	info := BoltInfo{Transactions: meta.txid - 1, Freelist: meta.freelist != noFreelist}
	return info, f.walk(meta, visit)
}

// boltFile reads a file page by page.
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

func (f *boltFile) walk(meta boltMeta, visit BoltVisit) error {
	f.pageSize, f.highest = int(meta.pageSize), meta.high
	if f.highest < 4 || f.highest > uint64(f.size)/uint64(f.pageSize) {
		return damagef("the file has %d bytes, but should have %d pages of %d: it was cut off", f.size, f.highest, f.pageSize)
	}
	f.seen = make([]uint64, f.highest/64+1)
	complete := meta.freelist != noFreelist
	if complete {
		if err := f.freelist(meta.freelist); err != nil {
			return err
		}
	}
	err := f.tree(meta.root, 0, nil, func(name, value []byte, isBucket bool) error {
		if !isBucket {
			return damagef("an entry outside of every bucket")
		}
		return f.bucket(name, value, visit)
	})
	if err != nil || !complete {
		return err
	}
	for id := uint64(2); id < f.highest; id++ {
		if f.seen[id/64]&(1<<(id%64)) == 0 {
			return damagef("page %d is neither in use nor free", id)
		}
	}
	return nil
}

// metas reads both meta pages, which bbolt writes in turn. Both must be sound: bbolt
// would go on with the older one if the newer is not, and that would silently undo the
// last write, which may have been acknowledged. A crash cannot tear a meta page, which
// is written last, by itself, and lies within one sector.
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
	if first.txid%2 != 0 || second.txid%2 != 1 || max(first.txid, second.txid)-min(first.txid, second.txid) != 1 {
		return first, damagef("the meta pages are of transactions %d and %d", first.txid, second.txid)
	}
	if second.txid > first.txid {
		return second, nil
	}
	return first, nil
}

func (f *boltFile) meta(at int64) (m boltMeta, err error) {
	b := make([]byte, pageHeader+metaSize)
	if at+int64(len(b)) > f.size {
		return m, damagef("the file ends after %d bytes", f.size)
	}
	if err := f.read(b, at); err != nil {
		return m, err
	}
	ne := binary.NativeEndian
	if flags := ne.Uint16(b[8:]); flags != flagMeta {
		return m, damagef("the meta page at byte %d is of kind %#x", at, flags)
	}
	b = b[pageHeader:]
	h := fnv.New64a()
	h.Write(b[:56])
	switch {
	case ne.Uint32(b) != boltMagic:
		return m, damagef("it is not a bbolt file")
	case ne.Uint32(b[4:]) != boltVersion:
		return m, damagef("its file format version is %d", ne.Uint32(b[4:]))
	case ne.Uint64(b[56:]) != h.Sum64():
		return m, damagef("the checksum of the meta page at byte %d does not match", at)
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
func (f *boltFile) page(id uint64, depth int) ([]byte, error) {
	if depth >= maxTreeDepth {
		return nil, damagef("page %d lies too deep", id)
	}
	if id < 2 || id >= f.highest {
		return nil, damagef("page %d lies outside of the file", id)
	}
	var head [pageHeader]byte
	at := int64(id) * int64(f.pageSize)
	if err := f.read(head[:], at); err != nil {
		return nil, err
	}
	ne := binary.NativeEndian
	if got := ne.Uint64(head[:]); got != id {
		return nil, damagef("page %d says that it is page %d", id, got)
	}
	pages := uint64(ne.Uint32(head[12:])) + 1
	if err := f.claim(id, pages); err != nil {
		return nil, err
	}
	size := int(pages) * f.pageSize
	if cap(f.buffers[depth]) < size {
		f.buffers[depth] = make([]byte, size)
	}
	data := f.buffers[depth][:size]
	return data, f.read(data, at)
}

// read fills b. The end of the file within b is not an end that a caller expects.
func (f *boltFile) read(b []byte, at int64) error {
	_, err := f.r.ReadAt(b, at)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// freelist claims every page that is free.
func (f *boltFile) freelist(id uint64) error {
	data, err := f.page(id, 0)
	if err != nil {
		return err
	}
	flags, count16 := kindOf(data)
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
