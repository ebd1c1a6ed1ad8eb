package raftstore

import (
	"context"
	"crypto/hmac"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// newSecret seals a new generation of the cluster secret.
func newSecret(seal *issue.SealKeys, cluster string, generation uint32) (*storepb.ClusterSecret, error) {
	sealed, err := seal.NewClusterSecret(cluster, generation)
	if err != nil {
		return nil, err
	}
	return &storepb.ClusterSecret{Generation: generation, Sealed: sealedTo(sealed)}, nil
}

// openSecret opens the newest of the generations.
func openSecret(seal *issue.SealKeys, cluster string, secrets []*storepb.ClusterSecret) (*issue.ClusterSecret, error) {
	if len(secrets) == 0 {
		return nil, federation.Errorf(federation.Conflict, "the cluster has no secret yet").
			WithReason("no_cluster_secret").WithHint("upgrade every member; the leader makes the secret then")
	}
	newest := secrets[len(secrets)-1]
	return seal.OpenClusterSecret(cluster, newest.Generation, sealedFrom(newest.Sealed))
}

// RotateSecret makes a new generation of the cluster secret. Backups that were made under
// former ones stay usable, because each carries its own. On the leader only.
func (s *Store) RotateSecret(ctx context.Context, o Origin) (generation uint32, err error) {
	for attempt := 1; ; attempt++ {
		st := s.fsm.current()
		seal, err := s.sealer()
		if err != nil {
			return 0, err
		}
		secret, err := newSecret(seal, st.Cluster(), st.NextSecret())
		if err != nil {
			return 0, err
		}
		cmd := &storepb.Command{Level: state.LevelSecret, Op: &storepb.Command_AddSecret{AddSecret: secret}}
		if _, err = s.propose(ctx, o, "rotate-secret", cmd); err == nil {
			return secret.Generation, nil
		}
		if reason := federation.AsError(err).Reason; attempt >= serialAttempts || reason != "generation" && reason != "seal_key_changed" {
			return 0, err
		}
	}
}

// ensureSecret makes the first generation in a cluster that was founded without one,
// after it has bound the seal of every key: see openMaterial.
func (s *Store) ensureSecret(ctx context.Context) error {
	st := s.fsm.current()
	if st.FeatureLevel() < state.LevelSecret || len(st.Secrets()) > 0 {
		return nil
	}
	if err := s.bindSeals(ctx); err != nil {
		return err
	}
	_, err := s.RotateSecret(ctx, Origin{By: "cluster"})
	return err
}

// checkMAC refuses a backup that was not written by a cluster whose seal key this node
// has. Whoever can write to the place where backups lie could add a key of their own.
func checkMAC(b *state.BackupContents, seal *issue.SealKeys) error {
	if len(b.MAC) == 0 || len(b.Secrets) == 0 {
		return federation.Errorf(federation.Invalid, "the backup carries no MAC: nothing proves who wrote it").
			WithReason("no_mac").WithHint("save one with this version of the program, on a cluster whose members all run it: global snapshot save FILE; nothing was changed")
	}
	secret, err := openSecret(seal, b.Info.ClusterID, b.Secrets)
	if err != nil {
		return federation.Errorf(federation.Invalid, "the cluster secret in the backup cannot be opened: %w", err).
			WithReason("damaged").WithHint("use another backup; nothing was changed")
	}
	want, err := secret.BackupMAC(b.Frames)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, b.MAC) {
		return federation.Errorf(federation.Invalid, "the backup was changed since it was saved, or was not saved by cluster %.64s", b.Info.ClusterID).
			WithReason("wrong_mac").WithHint("use another backup, and find out who can write where this one lay; nothing was changed")
	}
	return nil
}
