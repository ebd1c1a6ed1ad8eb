package keysync

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/disk"
)

// state is what a file holds. The maps and tables of a state that was published
// are never changed; a draft clones what it is about to change.
type state struct {
	head    head
	keys    map[cptoken.KeyID]*cptoken.PublicKey
	cutOffs map[cptoken.CutOffID]cutOff
	tombs   map[tombID]bool // carried: kept from an older history
	// skipped are the names of what was sent and not understood, with the index of the
	// last time. unread are keys of the file that this version does not understand: a
	// newer one wrote them, and they stay for it.
	skipped map[string]uint64
	unread  map[cptoken.KeyID]bool
	revoked revSet
	kept    []string // names of the first ids that are carried, see cptoken.KeptRevocation
}

// maxKept is how many of the ids that a zone keeps beyond the global's list are named.
const maxKept = 16

// keep notes the name of an entry that is carried.
func (s *state) keep(e entry) {
	if e.carried && e.op == opRevoked && len(s.kept) < maxKept {
		s.kept = append(slices.Clip(s.kept), cptoken.KeptRevocation(e.kind, e.mesh, string(e.id)))
	}
}

// keeps names what the copy refuses beyond what the global told it.
func (s *state) keeps() []string {
	var cutOffs uint64
	for _, c := range s.cutOffs {
		if c.carried {
			cutOffs++
		}
	}
	if s.head.carried == 0 && cutOffs == 0 {
		return nil
	}
	return append([]string{cptoken.KeptMore(s.head.carried, cutOffs)}, s.kept...)
}

// tombID is a removed key: its name and, where this zone once held it, the
// fingerprint of its material. After a restore a serial may be given to another
// key, which the tombstone of the first must not refuse. A zero fingerprint
// refuses the name, whatever the material.
type tombID struct {
	key         cptoken.KeyID
	fingerprint [sha256.Size]byte
}

func newState() state {
	return state{
		keys:    map[cptoken.KeyID]*cptoken.PublicKey{},
		cutOffs: map[cptoken.CutOffID]cutOff{},
		tombs:   map[tombID]bool{},
		skipped: map[string]uint64{},
		unread:  map[cptoken.KeyID]bool{},
		head:    head{live: tallies{}},
	}
}

func (s *state) view(k hashKey) *View {
	return &View{
		cluster: s.head.cluster, revision: s.head.revision, watermark: s.head.watermark, position: s.head.position,
		keys: s.keys, cutOffs: s.cutOffs, revoked: s.revoked,
		hash: k, live: s.head.live, vocabulary: s.head.vocabulary, skipped: s.notHeld(), kept: s.keeps(),
	}
}

// clone returns a copy whose maps may be changed.
func (s *state) clone() state {
	c := *s
	c.keys, c.cutOffs, c.tombs = maps.Clone(s.keys), maps.Clone(s.cutOffs), maps.Clone(s.tombs)
	c.skipped, c.unread = maps.Clone(s.skipped), maps.Clone(s.unread)
	return c
}

// notHeld names, in order, what the zone was sent or has in its file and does not
// understand.
func (s *state) notHeld() []string {
	if len(s.skipped) == 0 && len(s.unread) == 0 && !s.head.live.unknown() {
		return nil
	}
	names := maps.Clone(s.skipped)
	for id := range s.unread {
		if id.Kind.Valid() {
			names[cptoken.SkippedKey(id)] = 0
		} else {
			names[cptoken.SkippedKind(string(id.Kind))] = 0
		}
	}
	for k := range s.head.live {
		if !revocable(k) {
			names[cptoken.SkippedKind(string(k))] = 0
		}
	}
	out := slices.Sorted(maps.Keys(names))
	if len(out) > cptoken.MaxSkipped {
		out = append(out[:cptoken.MaxSkipped], cptoken.SkippedMore)
	}
	return out
}

// unknown reports whether ids of a kind are counted that this version does not know.
func (t tallies) unknown() bool {
	for k := range t {
		if !revocable(k) {
			return true
		}
	}
	return false
}

// The keys and values of the small buckets.

func keyOfKey(id cptoken.KeyID) []byte { return appendKeyRef(nil, id.Kind, id.Mesh, id.KID) }

func keyOfCutOff(id cptoken.CutOffID) []byte { return appendKeyRef(nil, id.Kind, id.Mesh, id.KID) }

func keyOfTomb(id tombID) []byte {
	return append(appendKeyRef(nil, id.key.Kind, id.key.Mesh, id.key.KID), id.fingerprint[:]...)
}

// flagCarried marks what was kept from an older history: in the values of
// tombstones and cut-offs, and in the header of a record of the log.
const flagCarried byte = 1

func carriedFlag(carried bool) byte {
	if carried {
		return flagCarried
	}
	return 0
}

func valueOfCutOff(c cutOff) []byte {
	return binary.AppendVarint([]byte{carriedFlag(c.carried)}, c.before)
}

// loader builds a state out of the records of a file.
type loader struct {
	state   state
	hash    hashKey
	found   head // what the records add up to
	table   *table
	hasHead bool
	bad     error // the first record that cannot be read
	size    int64 // of the file
}

// load reads and verifies a whole file. fresh tells a file that was created but
// never written. Damage is a *damage.
func load(r io.ReaderAt, size int64, k hashKey) (st state, fresh bool, err error) {
	l := loader{state: newState(), found: head{live: tallies{}}, hash: k, table: newTable(0), size: size}
	info, err := disk.WalkBolt(r, size, l.record)
	var broken *disk.DamageError
	switch {
	case errors.As(err, &broken):
		return state{}, false, damagef("%s", broken.Detail)
	case err != nil:
		return state{}, false, err
	case !info.Freelist:
		return state{}, false, damagef("the freelist is missing")
	}
	if info.Transactions == 0 {
		return newState(), true, nil
	}
	if l.bad != nil {
		return state{}, false, l.bad
	}
	if err := l.verify(); err != nil {
		return state{}, false, err
	}
	l.state.revoked = revSet{}.push(l.table.compact(false))
	return l.state, false, nil
}

// record reads one record. What is wrong with one waits for the head, which may say that
// another version wrote them all in another format.
func (l *loader) record(bucket, key, value []byte) error {
	if bytes.Equal(bucket, bucketName(bucketHead)) {
		return l.head(key, value)
	}
	if l.bad == nil {
		l.bad = l.read(bucket, key, value)
	}
	return nil
}

func (l *loader) read(bucket, key, value []byte) error {
	for b := range byte(numBuckets) {
		if !bytes.Equal(bucket, bucketName(b)) {
			continue
		}
		l.found.sums[b].Add(recordHash(b, key, value))
		switch b {
		case bucketKeys:
			return l.key(key, value)
		case bucketCutOffs:
			return l.cutOff(key, value)
		case bucketTombs:
			return l.tomb(key, value)
		case bucketSkipped:
			return l.skipped(key, value)
		default:
			return l.log(key, value)
		}
	}
	return damagef("the file has an unknown bucket %.20q", bucket)
}

func (l *loader) head(key, value []byte) (err error) {
	if l.hasHead || !bytes.Equal(key, []byte(headKey)) {
		return damagef("the file has two heads")
	}
	l.hasHead = true
	l.state.head, err = decodeHead(value)
	// The buckets come in order of their names, the log after the head. An id takes
	// more than two bytes, whatever the head says.
	l.table = newTable(int(min(l.state.head.entries, uint64(l.size)/2)))
	return err
}

func (l *loader) key(key, value []byte) error {
	r := reader{b: key}
	var id cptoken.KeyID
	id.Kind, id.Mesh, id.KID = r.keyRef()
	if err := r.done("the name of a key"); err != nil {
		return err
	}
	v := reader{b: value}
	k, err := v.key(id)
	if err != nil {
		return damagef("%w", err)
	}
	if k == nil {
		l.state.unread[id] = true
	} else {
		l.state.keys[id] = k
	}
	return v.done("a key")
}

func (l *loader) skipped(key, value []byte) error {
	r := reader{b: value}
	l.state.skipped[string(key)] = r.uvarint()
	return r.done("what was skipped")
}

func (l *loader) cutOff(key, value []byte) error {
	r := reader{b: key}
	var id cptoken.CutOffID
	id.Kind, id.Mesh, id.KID = r.keyRef()
	if err := r.done("the name of a cut-off"); err != nil {
		return err
	}
	v := reader{b: value}
	c := cutOff{carried: v.byte()&flagCarried != 0}
	c.before = v.varint()
	l.state.cutOffs[id] = c
	return v.done("a cut-off")
}

func (l *loader) tomb(key, value []byte) error {
	r := reader{b: key}
	var id tombID
	id.key.Kind, id.key.Mesh, id.key.KID = r.keyRef()
	copy(id.fingerprint[:], r.bytes(len(id.fingerprint)))
	if err := r.done("a tombstone"); err != nil {
		return err
	}
	v := reader{b: value}
	l.state.tombs[id] = v.byte()&flagCarried != 0
	return v.done("a tombstone")
}

func (l *loader) log(key, value []byte) error {
	if len(key) != 8 {
		return damagef("a record of the log has no number")
	}
	l.found.nextSeq = binary.BigEndian.Uint64(key) + 1
	return eachID(value, func(e entry) error {
		d := l.hash.ofBytes(e.kind, e.mesh, e.id)
		l.table.grow()
		was, _ := l.table.get(d)
		l.table.set(d, e.op == opRevoked)
		l.found.count(e, was)
		l.state.keep(e)
		return nil
	})
}

// count keeps the tallies of a head: e was appended to the log, and its id was
// revoked before or not.
func (h *head) count(e entry, was bool) {
	if e.op == opWithdrawn {
		if was {
			h.live[e.kind]--
		}
		return
	}
	h.entries++
	if e.carried {
		h.carried++
	}
	if !was {
		h.live[e.kind]++
	}
	if e.expires != 0 && (h.earliest == 0 || e.expires < h.earliest) {
		h.earliest = e.expires
	}
}

// verify holds what was found against what the head says.
func (l *loader) verify() error {
	h := &l.state.head
	switch {
	case !l.hasHead:
		return damagef("the file has no head")
	case h.sums != l.found.sums:
		return damagef("the records do not match the checksum")
	case !h.live.same(l.found.live) || h.entries != l.found.entries || h.carried != l.found.carried ||
		h.earliest != l.found.earliest || h.nextSeq < l.found.nextSeq:
		return damagef("the tallies do not match the records")
	}
	return nil
}
