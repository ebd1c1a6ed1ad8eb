// Package setsum is a checksum over a set of records that follows each change at a cost
// that does not depend on how much is in the set: the SHA-256 of each record, added
// modulo 2^256. It finds damage and divergence. It is no defence against somebody who
// chooses the records.
package setsum

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Size is the length of a Sum in bytes.
const Size = sha256.Size

// Sum is the checksum of a set; the zero Sum is that of the empty one.
type Sum [4]uint64

// Of returns the Sum of the one record that has this SHA-256.
func Of(digest [sha256.Size]byte) Sum {
	var s Sum
	for i := range s {
		s[i] = binary.BigEndian.Uint64(digest[8*i:])
	}
	return s
}

// Add adds the records of o.
func (s *Sum) Add(o Sum) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], o[i], carry)
	}
}

// Sub takes the records of o away.
func (s *Sum) Sub(o Sum) {
	var borrow uint64
	for i := range s {
		s[i], borrow = bits.Sub64(s[i], o[i], borrow)
	}
}

// Append appends the Sum to b.
func (s Sum) Append(b []byte) []byte {
	for _, w := range s {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}
