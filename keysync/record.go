package keysync

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// Operations: the first byte of a staged change, and of a record of the log for
// the first two.
const (
	opRevoked byte = iota + 1
	opWithdrawn
	opKey
	opRemovedKey
	opCutOff
	opCutOffWithdrawn
	opSkipped
)

// maxKind bounds the name of a kind, known or not.
const maxKind = 64

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendKeyRef(b []byte, kind cptoken.Kind, mesh, kid string) []byte {
	return appendString(appendString(appendString(b, string(kind)), mesh), kid)
}

// appendKey writes what is held of a public key beside its name.
func appendKey(b []byte, k *cptoken.PublicKey) []byte {
	b = appendString(b, k.Alg)
	b = appendString(b, string(k.State))
	b = appendString(b, string(k.DER()))
	r := k.Registered
	if r == nil {
		return append(b, 0)
	}
	flags := byte(1)
	if r.AllowNoExpiry {
		flags |= 2
	}
	if r.AllowNoID {
		flags |= 4
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(r.MaxLifetime/time.Second))
	b = binary.AppendUvarint(b, uint64(len(r.Zones)))
	for _, z := range r.Zones {
		b = appendString(b, z)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Scopes)))
	for _, s := range r.Scopes {
		b = appendString(b, string(s))
	}
	return b
}

// Tags of an id in a run: how it is spelled, and whether its expiry follows.
const (
	idIsText  byte = 1 // else 16 bytes of a UUID in canonical lower-case form
	idExpires byte = 2
)

// appendID writes one id of a run.
func appendID(b []byte, id string, expires int64) []byte {
	var tag byte
	if expires != 0 {
		tag |= idExpires
	}
	if uuid, ok := cptoken.ParseUUID(id); ok {
		b = append(append(b, tag), uuid[:]...)
	} else {
		b = appendString(append(b, tag|idIsText), id)
	}
	if expires != 0 {
		b = binary.AppendVarint(b, expires)
	}
	return b
}

// maxText bounds a string in a record: the longest is an RSA key of 8192 bits.
const maxText = 4 << 10

// reader takes records apart. The first thing that does not fit sets bad, after
// which everything reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes returns the next n bytes, of the buffer itself.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() []byte {
	n := r.uvarint()
	if n > maxText {
		r.fail()
		return nil
	}
	return r.bytes(int(n))
}

func (r *reader) string() string { return string(r.text()) }

func (r *reader) count(max int) int {
	n := r.uvarint()
	if n > uint64(max) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) fail() { r.bad, r.b = true, nil }

// done reports an error unless the record was read whole and without a fault.
func (r *reader) done(what string) error {
	if r.bad || len(r.b) != 0 {
		return damagef("%s cannot be read", what)
	}
	return nil
}

func (r *reader) keyRef() (kind cptoken.Kind, mesh, kid string) {
	return r.kind(), r.string(), r.string()
}

// kind reads a kind, which may be one that this version does not know.
func (r *reader) kind() cptoken.Kind {
	k := cptoken.Kind(r.string())
	if k == "" || len(k) > maxKind {
		r.fail()
	}
	return k
}

// key reads what is held of a key. It is nil where the record is whole, and has a word
// that this version does not know: a newer one wrote it.
func (r *reader) key(id cptoken.KeyID) (*cptoken.PublicKey, error) {
	alg, state := r.string(), cptoken.KeyState(r.string())
	der := append([]byte(nil), r.text()...)
	var registered *cptoken.Constraints
	if flags := r.byte(); flags != 0 {
		registered = &cptoken.Constraints{
			AllowNoExpiry: flags&2 != 0,
			AllowNoID:     flags&4 != 0,
			MaxLifetime:   time.Duration(r.uvarint()) * time.Second,
		}
		for range r.count(maxText) {
			registered.Zones = append(registered.Zones, r.string())
		}
		for range r.count(maxText) {
			registered.Scopes = append(registered.Scopes, cptoken.Scope(r.string()))
		}
	}
	if r.bad {
		return nil, damagef("key %s cannot be read", id)
	}
	if !understood(id.Kind, alg, state, registered) {
		return nil, nil
	}
	return cptoken.NewPublicKey(id, alg, state, der, registered)
}

func understood(kind cptoken.Kind, alg string, state cptoken.KeyState, r *cptoken.Constraints) bool {
	return kind.Valid() && cptoken.KnownAlgorithm(alg) && state.Valid() &&
		(r == nil || !slices.ContainsFunc(r.Scopes, func(s cptoken.Scope) bool { return !s.Valid() }))
}

// id reads one id of a run. text is the id as tokens have it, valid until the
// next call with the same scratch.
func (r *reader) id(scratch *[36]byte) (text []byte, expires int64) {
	tag := r.byte()
	if tag&idIsText != 0 {
		text = r.text()
		if len(text) > cptoken.MaxIDLen {
			r.fail()
			return nil, 0
		}
	} else if raw := r.bytes(16); raw != nil {
		text = cptoken.UUID(raw).AppendTo(scratch[:0])
	}
	if tag&idExpires != 0 {
		expires = r.varint()
	}
	return text, expires
}
