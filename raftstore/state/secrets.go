package state

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// maxSecrets bounds the generations of the cluster secret that are kept.
const maxSecrets = 64

// maxGeneration bounds their number: more than anybody rotates.
const maxGeneration = 1 << 24

// Secrets are the generations of the cluster secret, the newest last; empty before
// LevelSecret.
func (s *State) Secrets() []*storepb.ClusterSecret { return s.secrets }

// addSecret makes the next generation. The keys of MACs are derived from it from then
// on; the former ones stay, to check what was made under them.
func (s *State) addSecret(op *storepb.ClusterSecret) (uint64, error) {
	if s.level < LevelSecret {
		return 0, federation.Errorf(federation.Conflict, "a cluster secret needs feature level %d and the cluster is at %d", LevelSecret, s.level).
			WithReason("level").WithHint("upgrade every member first")
	}
	if err := checkSecret(op); err != nil {
		return 0, err
	}
	if want := s.NextSecret(); op.Generation != want {
		return 0, federation.Errorf(federation.Conflict, "generation %d of the cluster secret is not the next one, %d", op.Generation, want).
			WithReason("generation").WithHint("try again")
	}
	if op.Sealed.SealKeyId != s.SealKeyID() {
		return 0, federation.Errorf(federation.Conflict, "the secret is sealed under seal key %.16s, the cluster seals under %.16s",
			op.Sealed.SealKeyId, s.SealKeyID()).WithReason("seal_key_changed").WithHint("try again")
	}
	kept := s.secrets[max(0, len(s.secrets)+1-maxSecrets):]
	s.secrets = append(slices.Clone(kept), op)
	return 1, nil
}

// NextSecret is the generation after the newest.
func (s *State) NextSecret() uint32 {
	if len(s.secrets) == 0 {
		return 1
	}
	return s.secrets[len(s.secrets)-1].Generation + 1
}

func checkSecret(c *storepb.ClusterSecret) error {
	if c.GetGeneration() == 0 || c.Generation > maxGeneration || len(c.GetSealed().GetCiphertext()) == 0 || proto.Size(c) > maxSealed {
		return federation.InvalidField("secret", "must have a generation and a sealed secret of at most %d bytes", maxSealed)
	}
	return nil
}

// resealSecret replaces the sealed form of a generation.
func (s *State) resealSecret(next *storepb.ClusterSecret) error {
	if err := checkSecret(next); err != nil {
		return err
	}
	for i, c := range s.secrets {
		if c.Generation == next.Generation {
			s.secrets = slices.Clone(s.secrets)
			s.secrets[i] = next
			return nil
		}
	}
	return federation.Errorf(federation.Conflict, "generation %d of the cluster secret does not exist", next.Generation)
}

// keepSecrets has a state that goes back in time keep the generations that the replaced
// one has and the backup lacks: the former ones, and those made since.
func (s *State) keepSecrets(replaced *State) {
	next, was := s.NextSecret(), replaced.NextSecret()
	if s.cluster == replaced.cluster && (was > next || was == next && replaced.level >= LevelWithdrawals) {
		s.secrets = replaced.secrets
	}
}

// secret adds one of a snapshot. The first may be any: a backup has the newest alone.
func (rs *restorer) secret(c *storepb.ClusterSecret) error {
	if s := rs.state; len(s.secrets) > 0 && c.Generation != s.NextSecret() || len(s.secrets) >= maxSecrets {
		return errors.New("the generations of the cluster secret are not in order")
	}
	rs.state.secrets = append(rs.state.secrets, c)
	return nil
}
