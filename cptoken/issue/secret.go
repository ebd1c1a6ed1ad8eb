package issue

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	"github.com/meridiankds/meridian/federation"
)

// secretSize is the size of a cluster secret in bytes.
const secretSize = 32

// Labels of a cluster secret: of its seal, and of each key that is derived from it.
const (
	secretLabel = "meridian/cluster-secret/v1"
	backupLabel = "meridian/backup-mac/v1"
	// positionLabel is of positions that zones and members show.
	positionLabel = "meridian/position-mac/v1"
)

func secretRef(generation uint32) Ref { return Ref{Serial: uint64(generation)} }

// ClusterSecret is an unsealed generation of the cluster secret.
type ClusterSecret struct{ secret []byte }

// NewClusterSecret makes a generation of a cluster's secret: 32 random bytes, sealed for
// that cluster and generation alone.
func (s *SealKeys) NewClusterSecret(cluster string, generation uint32) (Sealed, error) {
	secret := make([]byte, secretSize)
	defer clear(secret)
	if _, err := rand.Read(secret); err != nil {
		return Sealed{}, federation.Errorf(federation.Internal, "no random bytes for a cluster secret: %w", err)
	}
	return s.sealSecret(cluster, generation, secret)
}

func (s *SealKeys) sealSecret(cluster string, generation uint32, secret []byte) (Sealed, error) {
	return s.seal(append(additional(secretLabel, secretRef(generation)), cluster...), secret)
}

// OpenClusterSecret opens what NewClusterSecret made.
func (s *SealKeys) OpenClusterSecret(cluster string, generation uint32, sealed Sealed) (*ClusterSecret, error) {
	secret, err := s.open("the cluster secret", append(additional(secretLabel, secretRef(generation)), cluster...), sealed)
	if err == nil && len(secret) != secretSize {
		err = damaged("the cluster secret", sealed.SealKeyID)
	}
	if err != nil {
		return nil, err
	}
	return &ClusterSecret{secret}, nil
}

// ResealClusterSecret seals a generation anew under the active seal key.
func (s *SealKeys) ResealClusterSecret(cluster string, generation uint32, sealed Sealed) (Sealed, error) {
	c, err := s.OpenClusterSecret(cluster, generation, sealed)
	if err != nil {
		return Sealed{}, err
	}
	defer clear(c.secret)
	return s.sealSecret(cluster, generation, c.secret)
}

// BackupMAC is the HMAC-SHA256 of a backup whose frames have this digest, under a key
// that HKDF derives for that purpose alone. Compare MACs with [hmac.Equal].
func (c *ClusterSecret) BackupMAC(frames []byte) ([]byte, error) { return c.mac(backupLabel, frames) }

// positionMACSize is what a position has of its MAC: it travels with each set of changes.
const positionMACSize = 16

// PositionMAC is the MAC of a position: the first 16 bytes of an HMAC-SHA256 under a key
// for that purpose alone.
func (c *ClusterSecret) PositionMAC(position []byte) ([]byte, error) {
	mac, err := c.mac(positionLabel, position)
	if err != nil {
		return nil, err
	}
	return mac[:positionMACSize], nil
}

func (c *ClusterSecret) mac(label string, data []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, c.secret, nil, label, sha256.Size)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "deriving a key from the cluster secret: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil), nil
}
