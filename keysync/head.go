package keysync

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Buckets of the file. The numbers are hashed into the checksum.
const (
	bucketHead byte = iota
	bucketKeys
	bucketCutOffs
	bucketTombs
	bucketLog
	numBuckets
)

func bucketName(b byte) []byte {
	return []byte([...]string{"head", "keys", "cutoffs", "tombs", "log"}[b])
}

// headKey is the only key of bucketHead.
const headKey = "head"

const (
	headMagic = "MRDNZONE"
	// Format is the number of the file's format; see the package comment.
	Format = 1
)

// head is the record that every transaction writes: where the copy stands, and a
// sum over each bucket.
type head struct {
	instance  string
	zone      string
	cluster   string
	revision  federation.Revision
	watermark int64 // Unix milliseconds

	nextSeq  uint64           // the key of the next record of the log
	entries  uint64           // ids in records of the log that revoke
	carried  uint64           // of these, the ones kept from an older history
	live     [numKinds]uint64 // revoked ids by kind, each once
	earliest int64            // the earliest known expiry in the log, Unix seconds; 0: none

	member  string // from whom the global was last heard
	contact int64  // when, Unix milliseconds; 0: never

	sums [numBuckets]sum // sums[bucketHead] is unused
}

// total returns the number of revoked ids.
func (h *head) total() uint64 {
	var n uint64
	for _, c := range h.live {
		n += c
	}
	return n
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
	b = binary.AppendVarint(b, h.watermark)
	b = binary.AppendUvarint(b, h.nextSeq)
	b = binary.AppendUvarint(b, h.entries)
	b = binary.AppendUvarint(b, h.carried)
	for _, n := range h.live {
		b = binary.AppendUvarint(b, n)
	}
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
	if f := binary.BigEndian.Uint32(body[len(headMagic):]); f != Format {
		return h, federation.Errorf(federation.Conflict, "the file has format %d, this program reads format %d", f, Format).
			WithReason("newer_format").
			WithHint("use the release that wrote the file, or move the file away to begin anew")
	}
	r := reader{b: body[prefix:]}
	h.instance, h.zone, h.cluster = r.string(), r.string(), r.string()
	h.revision.History.ID = r.string()
	h.revision.History.Created = r.varint()
	h.revision.Index = r.uvarint()
	h.watermark = r.varint()
	h.nextSeq, h.entries, h.carried = r.uvarint(), r.uvarint(), r.uvarint()
	for i := range h.live {
		h.live[i] = r.uvarint()
	}
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
