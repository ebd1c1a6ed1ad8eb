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

// Labels of a cluster secret: of its seals, and of each key that is derived from it.
const (
	// newestLabel seals the generation under which backups are written.
	newestLabel = "meridian/cluster-secret/v2"
	// formerLabel seals one that another took the place of. It opens for positions only, so
	// that who knows a former generation writes no backup that is taken.
	formerLabel = "meridian/cluster-secret/v1"
	backupLabel = "meridian/backup-mac/v1"
	// positionLabel is of positions that zones and members show.
	positionLabel = "meridian/position-mac/v1"
)

// PositionSecret is an unsealed generation of the cluster secret, newest or former, which
// vouches for positions only.
type PositionSecret struct{ secret []byte }

// ClusterSecret is the unsealed newest generation, which vouches for backups too.
type ClusterSecret struct{ PositionSecret }

// secretSeal is the additional data of a generation's seal.
func secretSeal(label, cluster string, generation uint32) []byte {
	return append(additional(label, Ref{Serial: uint64(generation)}), cluster...)
}

// NewClusterSecret makes a generation of a cluster's secret: 32 random bytes, sealed for
// that cluster and generation alone, as the newest.
func (s *SealKeys) NewClusterSecret(cluster string, generation uint32) (Sealed, error) {
	secret := make([]byte, secretSize)
	defer clear(secret)
	if _, err := rand.Read(secret); err != nil {
		return Sealed{}, federation.Errorf(federation.Internal, "no random bytes for a cluster secret: %w", err)
	}
	return s.seal(secretSeal(newestLabel, cluster, generation), secret)
}

// OpenClusterSecret opens what NewClusterSecret made, and nothing that
// [SealKeys.RetireClusterSecret] did.
func (s *SealKeys) OpenClusterSecret(cluster string, generation uint32, sealed Sealed) (*ClusterSecret, error) {
	secret, err := s.openSecret(newestLabel, cluster, generation, sealed)
	if err != nil {
		return nil, err
	}
	return &ClusterSecret{PositionSecret{secret}}, nil
}

func (s *SealKeys) openSecret(label, cluster string, generation uint32, sealed Sealed) ([]byte, error) {
	secret, err := s.open("the cluster secret", secretSeal(label, cluster, generation), sealed)
	if err == nil && len(secret) != secretSize {
		err = damaged("the cluster secret", sealed.SealKeyID)
	}
	return secret, err
}

// OpenPositionSecret opens a generation in either form.
func (s *SealKeys) OpenPositionSecret(cluster string, generation uint32, sealed Sealed) (*PositionSecret, error) {
	secret, err := s.openSecret(formerLabel, cluster, generation, sealed)
	if err != nil {
		secret, err = s.openSecret(newestLabel, cluster, generation, sealed)
	}
	if err != nil {
		return nil, err
	}
	return &PositionSecret{secret}, nil
}

// RetireClusterSecret seals a generation, in either form, anew under the active seal key
// as a former one. There is no way back: a generation that vouches for backups is never
// sealed again, so that it does not outlive its seal key.
func (s *SealKeys) RetireClusterSecret(cluster string, generation uint32, sealed Sealed) (Sealed, error) {
	c, err := s.OpenPositionSecret(cluster, generation, sealed)
	if err != nil {
		return Sealed{}, err
	}
	defer clear(c.secret)
	return s.seal(secretSeal(formerLabel, cluster, generation), c.secret)
}

// Is reports whether both are the same secret.
func (c *ClusterSecret) Is(other *PositionSecret) bool { return hmac.Equal(c.secret, other.secret) }

// BackupMAC is the HMAC-SHA256 of a backup whose frames have this digest, under a key
// that HKDF derives for that purpose alone. Compare MACs with [hmac.Equal].
func (c *ClusterSecret) BackupMAC(frames []byte) ([]byte, error) { return c.mac(backupLabel, frames) }

// positionMACSize is what a position has of its MAC: it travels with each set of changes.
const positionMACSize = 16

// PositionMAC is the MAC of a position: the first 16 bytes of an HMAC-SHA256 under a key
// for that purpose alone.
func (c *PositionSecret) PositionMAC(position []byte) ([]byte, error) {
	mac, err := c.mac(positionLabel, position)
	if err != nil {
		return nil, err
	}
	return mac[:positionMACSize], nil
}

func (c *PositionSecret) mac(label string, data []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, c.secret, nil, label, sha256.Size)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "deriving a key from the cluster secret: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil), nil
}
