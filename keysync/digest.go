package keysync

import (
	"hash/fnv"
	"math/bits"

	"github.com/meridiankds/meridian/cptoken"
)

// digest stands for one revoked id of one kind and mesh in memory: SipHash-1-3
// with 128 bits of output over (kind, mesh, id), under a key that this process
// drew at random when it opened the file. The lowest bit of lo is always 0: a
// slot of a table keeps its sign there. So 127 bits decide.
//
// Two ids with the same digest would be taken for one. What that could do: a
// token that nobody revoked is refused, or withdrawing one id brings back
// another. The digests and their key never leave the process, and what a caller
// can learn of them is whether an id is revoked, so nobody can search for a
// collision: trying ids against a live zone is all there is, and of those the
// global must have signed each. By chance, among n ids and q lookups some pair
// collides with probability below (n²/2 + n·q) / 2^127: for a million ids and a
// million lookups a second for ten years, below 2^-58. Holding the ids themselves
// instead would cost three times the memory, and a cryptographic hash ten times
// the time of a lookup.
type digest struct{ hi, lo uint64 }

// hashKey is the secret of one process's digests.
type hashKey struct{ k0, k1 uint64 }

// maxMeshLen is federation.MaxNameLen, as a constant of this package's formats.
const maxMeshLen = 63

// Rounds of SipHash for each block and at the end.
const sipC, sipD = 1, 3

// of returns the digest of an id. ok is false for ids that cannot be revoked
// (too long, or of no kind), which no table holds. It does not allocate.
func (k hashKey) of(kind cptoken.Kind, mesh, id string) (d digest, ok bool) {
	if kind == "" || len(mesh) > maxMeshLen || len(id) > cptoken.MaxIDLen {
		return digest{}, false
	}
	return newDigest(k.start(kind, mesh, len(id)), id), true
}

// ofBytes is of for a valid id that is not a string yet.
func (k hashKey) ofBytes(kind cptoken.Kind, mesh string, id []byte) digest {
	return newDigest(k.start(kind, mesh, len(id)), id)
}

// codeOf tells kinds apart in a digest: a small number for those that lookups ask for,
// and a hash in the upper half of the word for one that this version does not know, of
// which the file may have ids.
func codeOf(kind cptoken.Kind) uint64 {
	switch kind {
	case cptoken.ControlPlane:
		return 1
	case cptoken.Zone:
		return 2
	case cptoken.Dataplane:
		return 3
	case cptoken.User:
		return 4
	case cptoken.Certificate:
		return 5
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(kind)) // never fails
	return 0xff | uint64(h.Sum32())<<32
}

// start absorbs what goes before the id: one block with the kind and both
// lengths, so that no two names read alike, and the mesh, padded to whole blocks.
func (k hashKey) start(kind cptoken.Kind, mesh string, idLen int) sipState {
	s := k.init().block(codeOf(kind)|uint64(len(mesh))<<8|uint64(idLen)<<16, sipC)
	for i := 0; i < len(mesh); i += 8 {
		s = s.block(word(mesh, i), sipC)
	}
	return s
}

func newDigest[T bytestring](s sipState, id T) digest {
	hi, lo := sipHash128(s, sipC, sipD, id)
	lo &^= 1
	if hi == 0 && lo == 0 {
		lo = 2 // all zeros marks an empty slot
	}
	return digest{hi: hi, lo: lo}
}

type bytestring interface{ ~string | ~[]byte }

// sipState is the state of SipHash (Aumasson and Bernstein, 2012; the longer
// output as in their reference implementation).
type sipState struct{ v0, v1, v2, v3 uint64 }

func (k hashKey) init() sipState {
	return sipState{
		k.k0 ^ 0x736f6d6570736575, k.k1 ^ 0x646f72616e646f6d ^ 0xee,
		k.k0 ^ 0x6c7967656e657261, k.k1 ^ 0x7465646279746573,
	}
}

func (s sipState) block(m uint64, rounds int) sipState {
	s.v3 ^= m
	for range rounds {
		s.v0, s.v1, s.v2, s.v3 = sipRound(s.v0, s.v1, s.v2, s.v3)
	}
	s.v0 ^= m
	return s
}

// sipHash128 absorbs the last bytes of a message, of which whole blocks went
// before, and returns the hash.
func sipHash128[T bytestring](s sipState, c, d int, b T) (first, second uint64) {
	v0, v1, v2, v3 := s.v0, s.v1, s.v2, s.v3
	for end, i := len(b)&^7, 0; i <= end; i += 8 {
		var m uint64
		if i < end {
			m = uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
				uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
		} else {
			m = word(b, i) | uint64(len(b))<<56
		}
		v3 ^= m
		for range c {
			v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		}
		v0 ^= m
	}
	v2 ^= 0xee
	for range d {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	first = v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	for range d {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return first, v0 ^ v1 ^ v2 ^ v3
}

// word reads up to eight bytes from i, the first one lowest.
func word[T bytestring](b T, i int) (m uint64) {
	for shift := 0; i < len(b) && shift < 64; i, shift = i+1, shift+8 {
		m |= uint64(b[i]) << shift
	}
	return m
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
