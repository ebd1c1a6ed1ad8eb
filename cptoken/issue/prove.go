package issue

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/meridiankds/meridian/federation"
)

// peerLabel derives the key of proofs, so that a proof tells nothing about what the
// seal key seals, nor the other way round.
const peerLabel = "meridian/peer-proof/v1"

func peerKey(raw []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, raw, nil, peerLabel, sha256.Size)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "deriving a key from a seal key: %w", err)
	}
	return key, nil
}

// ProvePeer returns the proof that this node holds the seal key of the given id, for
// what is said: an HMAC-SHA256 under a key that HKDF derives from the seal key. It
// returns nil where this node does not hold it. Compare proofs with [hmac.Equal].
func (s *SealKeys) ProvePeer(id string, said []byte) []byte {
	key := s.find(id)
	if key == nil {
		return nil
	}
	mac := hmac.New(sha256.New, key.peer())
	mac.Write(said)
	return mac.Sum(nil)
}
