package raftstore

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

// signers keeps the keys that were unsealed. A key's material never changes
// between being prepared and removed; a restored backup may hold another key under
// the same name and index, which its fingerprint tells apart.
type signers struct {
	mu     sync.RWMutex
	opened map[cptoken.KeyID]opened
}

type opened struct {
	prepared    uint64
	fingerprint []byte
	key         *issue.SigningKey
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
			WithReason("no_active_key").WithHint("activate one: global keys rotate %s", kind.TokenName())
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
	if ok && o.prepared == k.PreparedIndex && bytes.Equal(o.fingerprint, k.Fingerprint) {
		return o.key, nil
	}
	key, err := unseal(k, s.ClusterID(), s.cfg.Seal)
	if err != nil {
		return nil, err
	}
	s.keep(k, opened{prepared: k.PreparedIndex, fingerprint: k.Fingerprint, key: key})
	return key, nil
}

// unseal opens the key of a record and tests it.
func unseal(k *state.KeyRecord, cluster string, seal *issue.SealKeys) (*issue.SigningKey, error) {
	ref := issue.Ref{Kind: k.ID.Kind, Mesh: k.ID.Mesh, Serial: k.Serial}
	material, err := seal.Open(ref, sealedFrom(k.Sealed()))
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "key %s cannot be unsealed: %w", state.KeyName(k.ID), err).
			WithReason("unseal").WithHint("check that every member is started with the same seal key file")
	}
	defer clear(material)
	key, err := issue.FromMaterial(ref, material)
	if err == nil {
		err = prove(key, k, cluster)
	}
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "key %s cannot be used: %w", state.KeyName(k.ID), err).
			WithReason("key_broken").WithHint("prepare another and remove this one: global keys rotate %s", k.ID.Kind.TokenName())
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

// selfTest opens every key that this node has the seal key of, so that it finds out
// before it works, and not when a token is asked for. One that is broken is so on
// every member; it is logged and refused when it is to sign, because a cluster that
// did not start for it could not remove it either.
func (s *Store) selfTest(st *state.State) {
	lacks := s.lacks(st).keys
	for k := range st.Records() {
		if k.Sealed() == nil || slices.Contains(lacks, k.ID) {
			continue
		}
		if _, err := s.open(k); err != nil {
			s.log.Error("a key is broken", "key", state.KeyName(k.ID), "error", err)
		}
	}
}
