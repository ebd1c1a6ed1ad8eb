package keysync

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/setsum"
)

// Buckets of the file. The numbers are hashed into the checksum.
const (
	bucketHead byte = iota
	bucketKeys
	bucketCutOffs
	bucketTombs
	bucketLog
	bucketSkipped
	numBuckets
)

func bucketName(b byte) []byte {
	return []byte([...]string{"head", "keys", "cutoffs", "tombs", "log", "skipped"}[b])
}

// headKey is the only key of bucketHead.
const headKey = "head"

const (
	headMagic = "MRDNZONE"
	// Format is the number of the file's format; see the package comment.
	Format = 3
	// formatUnproven is the format before positions. Its files are read, and rewritten with
	// the next change; a zone with one resumes unproven, by a full state.
	formatUnproven = 2
)

// head is the record that every transaction writes: where the copy stands, and a
// sum over each bucket.
type head struct {
	instance  string
	zone      string
	cluster   string
	revision  federation.Revision
	position  []byte // that came with the revision, opaque; shown when the zone resumes
	watermark int64  // Unix milliseconds
	// vocabulary is that of the program that took the last full state: what was sent
	// since in words of a newer one is among what was skipped.
	vocabulary uint64

	nextSeq  uint64  // the key of the next record of the log
	entries  uint64  // ids in records of the log that revoke
	carried  uint64  // of these, the ones kept from an older history
	live     tallies // revoked ids by kind, each once
	earliest int64   // the earliest known expiry in the log, Unix seconds; 0: none

	member  string // from whom the global was last heard
	contact int64  // when, Unix milliseconds; 0: never

	sums [numBuckets]setsum.Sum // sums[bucketHead] is unused
}

// total returns the number of revoked ids.
func (h *head) total() uint64 {
	var n uint64
	for _, c := range h.live {
		n += c
	}
	return n
}

// tallies count by kind. Also kinds that this version does not know are counted: the
// file may have been written by a newer one.
type tallies map[cptoken.Kind]uint64

// same reports whether two tallies count alike; what is not there counts as zero.
func (t tallies) same(o tallies) bool {
	for k, n := range t {
		if o[k] != n {
			return false
		}
	}
	for k, n := range o {
		if t[k] != n {
			return false
		}
	}
	return true
}

func (t tallies) append(b []byte) []byte {
	kinds := slices.DeleteFunc(slices.Sorted(maps.Keys(t)), func(k cptoken.Kind) bool { return t[k] == 0 })
	b = binary.AppendUvarint(b, uint64(len(kinds)))
	for _, k := range kinds {
		b = binary.AppendUvarint(appendString(b, string(k)), t[k])
	}
	return b
}

func (r *reader) tallies() tallies {
	t := tallies{}
	for range r.count(maxText) {
		k := r.kind()
		t[k] = r.uvarint()
	}
	return t
}

func (h *head) contactTime() time.Time {
	if h.contact == 0 {
		return time.Time{}
	}
	return time.UnixMilli(h.contact)
}

// encode writes the head, ending in a digest of itself.
func (h *head) encode() []byte {
	b := append(make([]byte, 0, 512), headMagic...)
	b = binary.BigEndian.AppendUint32(b, Format)
	b = appendString(b, h.instance)
	b = appendString(b, h.zone)
	b = appendString(b, h.cluster)
	b = appendString(b, h.revision.History.ID)
	b = binary.AppendVarint(b, h.revision.History.Created)
	b = binary.AppendUvarint(b, h.revision.Index)
	b = appendString(b, string(h.position))
	b = binary.AppendVarint(b, h.watermark)
	b = binary.AppendUvarint(b, h.vocabulary)
	b = binary.AppendUvarint(b, h.nextSeq)
	b = binary.AppendUvarint(b, h.entries)
	b = binary.AppendUvarint(b, h.carried)
	b = h.live.append(b)
	b = binary.AppendVarint(b, h.earliest)
	b = appendString(b, h.member)
	b = binary.AppendVarint(b, h.contact)
	for _, s := range h.sums {
		for _, w := range s {
			b = binary.BigEndian.AppendUint64(b, w)
		}
	}
	digest := sha256.Sum256(b)
	return append(b, digest[:]...)
}

// decodeHead reads a head. A format of a later release is not damage: the file
// must be left for the program that wrote it.
func decodeHead(b []byte) (head, error) {
	var h head
	prefix := len(headMagic) + 4
	if len(b) < prefix+sha256.Size || string(b[:len(headMagic)]) != headMagic {
		return h, damagef("the head cannot be read")
	}
	body, digest := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(digest) {
		return h, damagef("the head does not match its digest")
	}
	switch f := binary.BigEndian.Uint32(body[len(headMagic):]); {
	case f > Format:
		return h, federation.Errorf(federation.Conflict, "the file has format %d, this program reads format %d", f, Format).
			WithReason(ReasonNewerFormat).
			WithHint("use the release that wrote the file, or move the file away to begin anew")
	case f < formatUnproven:
		return h, federation.Errorf(federation.Conflict, "the file has format %d of an unreleased version, this program reads format %d", f, Format).
			WithReason(ReasonOlderFormat).
			WithHint("move the file away: the zone begins anew, and the global sends it everything")
	}
	r := reader{b: body[prefix:]}
	h.instance, h.zone, h.cluster = r.string(), r.string(), r.string()
	h.revision.History.ID = r.string()
	h.revision.History.Created = r.varint()
	h.revision.Index = r.uvarint()
	if binary.BigEndian.Uint32(body[len(headMagic):]) >= Format {
		if p := r.string(); p != "" {
			h.position = []byte(p)
		}
	}
	h.watermark = r.varint()
	h.vocabulary = r.uvarint()
	h.nextSeq, h.entries, h.carried = r.uvarint(), r.uvarint(), r.uvarint()
	h.live = r.tallies()
	h.earliest = r.varint()
	h.member = r.string()
	h.contact = r.varint()
	for i := range h.sums {
		for j := range h.sums[i] {
			if w := r.bytes(8); w != nil {
				h.sums[i][j] = binary.BigEndian.Uint64(w)
			}
		}
	}
	return h, r.done("the head")
}
