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

// openSecret opens the newest of the generations, under which backups are written.
func openSecret(seal *issue.SealKeys, cluster string, secrets []*storepb.ClusterSecret) (*issue.ClusterSecret, error) {
	if len(secrets) == 0 {
		return nil, federation.Errorf(federation.Conflict, "the cluster has no secret yet").
			WithReason("no_cluster_secret").WithHint("upgrade every member; the leader makes the secret then")
	}
	newest := secrets[len(secrets)-1]
	return seal.OpenClusterSecret(cluster, newest.Generation, sealedFrom(newest.Sealed))
}

// RotateSecret makes a new generation of the cluster secret. Backups under former ones are
// restored only where the operator names the generation. On the leader only.
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
		out, err := s.propose(ctx, o, "rotate-secret", cmd)
		if err == nil {
			return out.state.NextSecret() - 1, nil
		}
		if reason := federation.AsError(err).Reason; attempt >= serialAttempts || reason != "generation" && reason != "seal_key_changed" {
			return 0, err
		}
	}
}

// ensureSecret makes the first generation in a cluster that was founded without one,
// after it has bound the seal of every key: see openMaterial. It makes another where the
// newest vouches for positions only: a rotation of the seal key left it so, or an earlier
// version, which had one form for all.
func (s *Store) ensureSecret(ctx context.Context) error {
	st := s.fsm.current()
	if st.FeatureLevel() < state.LevelSecret {
		return nil
	}
	if secrets := st.Secrets(); len(secrets) == 0 {
		if err := s.bindSeals(ctx); err != nil {
			return err
		}
	} else if _, err := openSecret(s.cfg.Seal, st.Cluster(), secrets); err == nil {
		return nil
	} else if _, _, noForm := s.secretOf(st, 0); noForm != nil {
		return err
	}
	_, err := s.RotateSecret(ctx, Origin{By: "cluster"})
	return err
}

// checkMAC refuses a backup that was not written by a cluster whose seal key this node
// has. Whoever can write to the place where backups lie could add a key of their own.
func checkMAC(b *state.BackupContents, seal *issue.SealKeys) (*issue.ClusterSecret, error) {
	if len(b.MAC) == 0 || len(b.Secrets) == 0 {
		return nil, federation.Errorf(federation.Invalid, "the backup carries no MAC: nothing proves who wrote it").
			WithReason("no_mac").WithHint("save one with this version of the program, on a cluster whose members all run it: global snapshot save FILE; nothing was changed")
	}
	secret, err := openSecret(seal, b.Info.ClusterID, b.Secrets)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "the cluster secret in the backup vouches for no backup: %w", err).
			WithReason("damaged").WithHint("use another backup, which this version of the program saved; nothing was changed")
	}
	want, err := secret.BackupMAC(b.Frames)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(want, b.MAC) {
		return nil, wrongMAC(b)
	}
	return secret, nil
}

func wrongMAC(b *state.BackupContents) error {
	return federation.Errorf(federation.Invalid, "the backup was changed since it was saved, or was not saved by cluster %.64s", b.Info.ClusterID).
		WithReason("wrong_mac").WithHint("use another backup, and find out who can write where this one lay; nothing was changed")
}

// mayTakePlace refuses a backup that the present state does not vouch for: of another
// cluster, or under another generation of the cluster secret, unless the operator names
// it. Somebody may have known a former generation, or have a cluster of their own.
func (s *Store) mayTakePlace(st *state.State, b *state.BackupContents, secret *issue.ClusterSecret, opts RestoreOptions) error {
	of, generation, newest := b.Info.ClusterID, b.Info.Secret, st.NextSecret()-1
	switch {
	case opts.Cluster != "" && opts.Cluster != of:
		return federation.Errorf(federation.Invalid, "the backup is of cluster %.64s, not of %.64s", of, opts.Cluster).
			WithReason("another_cluster").WithHint("name the cluster that global snapshot inspect shows; nothing was changed")
	case opts.Generation != 0 && opts.Generation != generation:
		return federation.Errorf(federation.Invalid, "the backup is under generation %d of the cluster secret, not under %d", generation, opts.Generation).
			WithReason("secret_generation").WithHint("name the generation that global snapshot inspect shows; nothing was changed")
	case of != st.Cluster() && opts.Cluster == "" && st.MayBeReplaced(false) != nil:
		return federation.Errorf(federation.Conflict, "the backup is of cluster %.64s, and this cluster, %s, holds state", of, st.Cluster()).
			WithReason("another_cluster").WithHint("to have that cluster take the place of this one, name it: --force --cluster %.64s; nothing was changed", of)
	case of != st.Cluster():
		return nil
	case generation != newest && opts.Generation == 0:
		return federation.Errorf(federation.Conflict, "the backup is under generation %d of the cluster secret, and the cluster is at %d: who knew that generation could have written it", generation, newest).
			WithReason("secret_generation").WithHint("use a backup that was saved after the rotation; if you know that this one is genuine, name its generation: --secret-generation %d; nothing was changed", generation)
	}
	if _, err := openSecret(s.cfg.Seal, st.Cluster(), st.Secrets()); err != nil && opts.Generation == 0 {
		return federation.Errorf(federation.Conflict, "generation %d of the cluster secret vouches for no backup any more, and no other was made yet: a rotation of the seal key was interrupted: %w", newest, err).
			WithReason("secret_generation").WithHint("finish the rotation, global seal rotate; if you know that this backup is genuine, name its generation: --secret-generation %d; nothing was changed", generation)
	}
	// A seal key that this node holds to open old backups may be in other hands too: a
	// generation that this cluster knows is compared with its own.
	if own, _, err := s.secretOf(st, generation); err == nil && !secret.Is(own) {
		return wrongMAC(b)
	}
	return nil
}
