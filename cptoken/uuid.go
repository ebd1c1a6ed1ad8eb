package cptoken

import (
	"bytes"
	"encoding/hex"
)

// UUID is a token id that is a UUID in canonical lower-case form (RFC 9562, section
// 4): nearly all are, and 16 bytes instead of a string make a million of them
// affordable. Every other id stays a string, so that each comes back as it was.
type UUID [16]byte

const uuidText = 36

// ParseUUID reads a canonical UUID without allocating.
func ParseUUID(s string) (u UUID, ok bool) {
	if len(s) != uuidText || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	n := 0
	for i := 0; i < len(s); i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			i++
		}
		hi, lo := nibble(s[i]), nibble(s[i+1])
		if hi > 15 || lo > 15 {
			return UUID{}, false
		}
		u[n] = hi<<4 | lo
		n++
	}
	return u, true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// String returns the canonical form.
func (u UUID) String() string {
	var b [uuidText]byte
	return string(u.AppendTo(b[:0]))
}

// AppendTo appends what String returns.
func (u UUID) AppendTo(to []byte) []byte {
	var b [uuidText]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return append(to, b[:]...)
}

// Compare orders UUIDs as their canonical forms are ordered.
func (u UUID) Compare(o UUID) int { return bytes.Compare(u[:], o[:]) }
