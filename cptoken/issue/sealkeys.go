package issue

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// Bounds on a seal key file.
const (
	maxSealFile = 64 << 10
	maxSealKeys = 64
)

// SealKeys are the key-encryption keys of a node, which never enter Raft. The
// first seals; all of them open. It is immutable and safe for concurrent use.
type SealKeys struct {
	keys []*sealKey
}

type sealKey struct {
	id   string
	aead func() cipher.AEAD // a function, as SigningKey.secret is
	peer func() []byte      // the key of [SealKeys.ProvePeer]
}

// NewSealKey returns the line of a seal key file for a new random key.
func NewSealKey() (line []byte, err error) {
	var key [sha256.Size]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, federation.Errorf(federation.Internal, "no random bytes for a seal key: %w", err)
	}
	defer clear(key[:])
	return append(base64.StdEncoding.AppendEncode(nil, key[:]), '\n'), nil
}

// LoadSealKeys reads a seal key file as ReadSealFile does.
func LoadSealKeys(path string) (*SealKeys, error) {
	data, err := ReadSealFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	keys, err := ParseSealKeys(data)
	if err != nil {
		e := *federation.AsError(err)
		e.Detail = "seal key file " + path + ": " + e.Detail
		return nil, &e
	}
	return keys, nil
}

// ReadSealFile returns what a seal key file holds, for who wipes it. It refuses one that
// others may read or write, because whoever reads it can open every backup.
func ReadSealFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, sealFileError(path, "cannot be opened: %v", errors.Unwrap(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, sealFileError(path, "cannot be examined: %v", errors.Unwrap(err))
	case !info.Mode().IsRegular():
		return nil, sealFileError(path, "is not a regular file")
	case info.Size() > maxSealFile:
		return nil, sealFileError(path, "has %d bytes, at most %d are read", info.Size(), maxSealFile)
	}
	if err := disk.CheckSecret("seal key file", path, info); err != nil {
		return nil, err
	}
	// One buffer of the file's size, so that there is one copy to wipe.
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		clear(data)
		return nil, sealFileError(path, "cannot be read: %v", err)
	}
	return data, nil
}

func sealFileError(path, format string, args ...any) *federation.Error {
	return federation.Errorf(federation.Invalid, "seal key file %s %s", path, fmt.Sprintf(format, args...)).
		WithHint("name the file that the other members have, or had, with --seal-key-file; a new cluster's is made with: (umask 077 && global generate seal-key > seal.key)")
}

// ParseSealKeys reads the content of a seal key file: on each line the standard
// base64 of 32 bytes. Blank lines and lines that begin with # are passed over.
func ParseSealKeys(data []byte) (*SealKeys, error) {
	if len(data) > maxSealFile {
		return nil, sealKeysError("it has %d bytes, at most %d are read", len(data), maxSealFile)
	}
	s := &SealKeys{}
	for i, line := range bytes.Split(data, []byte{'\n'}) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		raw, err := base64.StdEncoding.Strict().AppendDecode(nil, line)
		if err != nil || len(raw) != sha256.Size {
			clear(raw)
			return nil, sealKeysError("line %d is not the base64 of 32 bytes", i+1)
		}
		key, err := newSealKey(raw)
		clear(raw) // the cipher keeps its own, expanded
		if err != nil {
			return nil, err
		}
		if s.find(key.id) != nil {
			return nil, sealKeysError("line %d repeats the seal key %s", i+1, key.id)
		}
		if s.keys = append(s.keys, key); len(s.keys) > maxSealKeys {
			return nil, sealKeysError("it has more than %d keys", maxSealKeys)
		}
	}
	if len(s.keys) == 0 {
		return nil, sealKeysError("it has no key")
	}
	return s, nil
}

func sealKeysError(format string, args ...any) *federation.Error {
	return federation.Errorf(federation.Invalid, format, args...).
		WithHint("a seal key is one line as made by: global generate seal-key")
}

func newSealKey(raw []byte) (*sealKey, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "seal key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "seal key: %w", err)
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("meridian seal key id"))
	peer, err := peerKey(raw)
	if err != nil {
		return nil, err
	}
	return &sealKey{
		id:   hex.EncodeToString(mac.Sum(nil)[:4]),
		aead: func() cipher.AEAD { return aead }, peer: func() []byte { return peer },
	}, nil
}

// ActiveID returns the id of the key that seals: eight hexadecimal digits, from
// which nothing of the key can be told.
func (s *SealKeys) ActiveID() string { return s.keys[0].id }

// IDs returns the ids of all keys, the active one first.
func (s *SealKeys) IDs() []string {
	ids := make([]string, len(s.keys))
	for i, k := range s.keys {
		ids[i] = k.id
	}
	return ids
}

// Under returns the same keys with the one of the given id active, nil where it is
// not among them.
func (s *SealKeys) Under(id string) *SealKeys {
	first := s.find(id)
	if first == nil {
		return nil
	}
	keys := []*sealKey{first}
	for _, k := range s.keys {
		if k != first {
			keys = append(keys, k)
		}
	}
	return &SealKeys{keys: keys}
}

func (s *SealKeys) find(id string) *sealKey {
	for _, k := range s.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// String returns the ids, never the keys.
func (s SealKeys) String() string { return "seal keys " + strings.Join(s.IDs(), ", ") }

// Format prints String for every verb.
func (s SealKeys) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue logs String.
func (s SealKeys) LogValue() slog.Value { return slog.StringValue(s.String()) }
