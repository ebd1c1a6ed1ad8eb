package keysync

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// sum is a hash of a multiset of records: the SHA-256 of each, added modulo
// 2^256. A record is added or taken away in the same time whatever else is in
// the set, so the file's checksum over everything is kept up to date by each
// transaction instead of being computed anew. It finds damage; it is no defence
// against somebody who may write the file and who could compute it as well.
type sum [4]uint64

// recordHash hashes one record of a bucket. Lengths are part of what is hashed:
// no other split of the same bytes has the same hash.
func recordHash(bucket byte, key, value []byte) sum {
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
	var s sum
	for i := range s {
		s[i] = binary.BigEndian.Uint64(out[8*i:])
	}
	return s
}

func (s *sum) add(o sum) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], o[i], carry)
	}
}

func (s *sum) sub(o sum) {
	var borrow uint64
	for i := range s {
		s[i], borrow = bits.Sub64(s[i], o[i], borrow)
	}
}
