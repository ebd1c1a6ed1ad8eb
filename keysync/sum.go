package keysync

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/meridiankds/meridian/internal/setsum"
)

// recordHash hashes one record of a bucket. Lengths are part of what is hashed:
// no other split of the same bytes has the same hash.
func recordHash(bucket byte, key, value []byte) setsum.Sum {
	var head [9]byte
	head[0] = bucket
	binary.BigEndian.PutUint32(head[1:], uint32(len(key)))
	binary.BigEndian.PutUint32(head[5:], uint32(len(value)))
	h := sha256.New()
	h.Write(head[:])
	h.Write(key)
	h.Write(value)
	var out [sha256.Size]byte
	h.Sum(out[:0])
	return setsum.Of(out)
}
