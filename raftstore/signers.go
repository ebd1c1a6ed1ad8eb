package raftstore

import (
	"bytes"
	"errors"
	"sync"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// signers keeps the keys that were unsealed. What was sealed anew, or came with a
// backup, is unsealed again: each member judges the bytes that all of them hold.
type signers struct {
	mu     sync.RWMutex
	opened map[cptoken.KeyID]opened
}

type opened struct {
	sealed *storepb.Sealed // which key was made of; it is never changed in place
	key    *issue.SigningKey
}

// Signer returns the key that signs for a kind and mesh. It is a Conflict error
// where no key is active, and Unavailable where this node lacks a seal key.
func (s *Store) Signer(kind cptoken.Kind, mesh string) (*issue.SigningKey, error) {
	if err := s.CanSign(); err != nil {
		return nil, err
	}
	st := s.fsm.current()
	if _, err := st.Scope(string(kind), mesh, true); err != nil {
		return nil, err
	}
	k := st.Active(kind, mesh)
	if k == nil {
		return nil, federation.Errorf(federation.Conflict, "no key signs %ss at present", kind.TokenName()).
			WithReason("no_active_key").WithHint("activate one: global keys rotate %s", kind.Arguments(mesh))
	}
	if k.Blocked {
		return nil, federation.Errorf(federation.Unavailable, "key %s signs nothing any more: a zone knows it as removed", state.KeyName(k.ID)).
			WithReason("key_blocked").WithHint("the leader rotates it at once; try again in a moment, or see global keys list")
	}
	return s.open(k)
}

// ControlPlaneKey returns the symmetric key of a serial, in any state, and whether
// it was imported; nil where there is none or it cannot be unsealed here.
func (s *Store) ControlPlaneKey(serial uint64) (*issue.SigningKey, bool) {
	k, ok := s.fsm.current().Record(cptoken.KeyID{Kind: cptoken.ControlPlane, KID: cptoken.SerialKID(serial)})
	if !ok {
		return nil, false
	}
	key, err := s.open(k)
	if err != nil {
		s.log.Error("a key cannot be used", "key", state.KeyName(k.ID), "error", err)
		return nil, false
	}
	return key, k.Imported
}

// open returns the unsealed key of a record. A key is tested before it is used for
// the first time: it must sign what its public part verifies.
func (s *Store) open(k *state.KeyRecord) (*issue.SigningKey, error) {
	s.signers.mu.RLock()
	o, ok := s.signers.opened[k.ID]
	s.signers.mu.RUnlock()
	if ok && o.sealed == k.Sealed() {
		return o.key, nil
	}
	key, err := unseal(s.fsm.current(), k, s.cfg.Seal)
	if err != nil {
		return nil, err
	}
	s.keep(k, opened{sealed: k.Sealed(), key: key})
	return key, nil
}

// unseal opens the key of a state's record and tests it.
func unseal(st *state.State, k *state.KeyRecord, seal *issue.SealKeys) (*issue.SigningKey, error) {
	ref := refOf(k)
	material, err := openMaterial(st, k, seal)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "key %s cannot be unsealed: %w", state.KeyName(k.ID), err).
			WithReason("unseal").WithHint("check that every member is started with the same seal key file")
	}
	defer clear(material)
	key, err := issue.FromMaterial(ref, material)
	if err == nil {
		err = prove(key, k, st.Cluster())
	}
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "key %s cannot be used: %w", state.KeyName(k.ID), err).
			WithReason("key_broken").WithHint("prepare another and remove this one: global keys rotate %s", k.ID.Kind.Arguments(k.ID.Mesh))
	}
	return key, nil
}

// prove checks that a key is the one that its record describes.
func prove(key *issue.SigningKey, k *state.KeyRecord, cluster string) error {
	if k.Public != nil {
		return key.Check(k.Public.DER())
	}
	if !bytes.Equal(key.Fingerprint(cluster), k.Fingerprint) {
		return errors.New("it does not match its fingerprint")
	}
	return key.Check(nil)
}

// keep remembers an unsealed key, and forgets those that were removed.
func (s *Store) keep(k *state.KeyRecord, o opened) {
	s.signers.mu.Lock()
	defer s.signers.mu.Unlock()
	if s.signers.opened == nil {
		s.signers.opened = map[cptoken.KeyID]opened{}
	}
	st := s.fsm.current()
	for id := range s.signers.opened {
		if _, ok := st.Record(id); !ok {
			delete(s.signers.opened, id)
		}
	}
	s.signers.opened[k.ID] = o
}
