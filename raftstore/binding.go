package raftstore

import (
	"context"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// boundTo is the cluster that a key is sealed for at a feature level: none at those at
// which a member may open nothing but seals of the first form.
func boundTo(cluster string, level uint32) string {
	if level < state.LevelSecret {
		return ""
	}
	return cluster
}

func refOf(k *state.KeyRecord) issue.Ref {
	return issue.Ref{Kind: k.ID.Kind, Mesh: k.ID.Mesh, Serial: k.Serial}
}

// openMaterial opens the sealed part of a state's record. A seal that names no cluster
// counts only until the cluster has its secret. Later it could be of another cluster
// with the same seal key, moved here.
func openMaterial(st *state.State, k *state.KeyRecord, seal *issue.SealKeys) ([]byte, error) {
	sealed := sealedFrom(k.Sealed())
	material, err := seal.Open(st.Cluster(), refOf(k), sealed)
	if err != nil && len(st.Secrets()) == 0 {
		return seal.Open("", refOf(k), sealed)
	}
	return material, err
}

// bindSeals seals every key anew whose seal names no cluster. On the leader.
func (s *Store) bindSeals(ctx context.Context) error {
	for {
		seal, err := s.sealer()
		if err != nil {
			return err
		}
		st := s.fsm.current()
		batch, err := resealBatch(st, seal, func(k *state.KeyRecord) bool {
			material, err := seal.Open("", refOf(k), sealedFrom(k.Sealed()))
			clear(material)
			return err == nil
		})
		if err != nil || len(batch.Items) == 0 {
			return err
		}
		_, err = s.propose(ctx, Origin{By: "cluster"}, "", &storepb.Command{Op: &storepb.Command_Reseal{Reseal: batch}})
		if err != nil && federation.CodeOf(err) != federation.Conflict { // a key was removed meanwhile: look again
			return err
		}
	}
}
