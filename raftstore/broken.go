package raftstore

import (
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

// brokenKeys are the keys of one state whose sealed private part does not open, with a
// seal key that this node has, to what their public part says.
type brokenKeys struct {
	of   any // State.KeysVersion
	errs map[cptoken.KeyID]error
	ids  []cptoken.KeyID // of errs, by kind, mesh and serial
}

// brokenCache remembers the last answer: keys change rarely, and every verification asks.
type brokenCache struct {
	mu   sync.Mutex
	last *brokenKeys
}

// Broken returns the keys that sign and verify nothing, in order, because the sealed
// private part of each does not belong to its public part. Members that have the seal
// keys find the same ones, as they hold the same sealed bytes.
func (s *Store) Broken() []cptoken.KeyID {
	return s.brokenIn(s.fsm.current()).ids
}

// brokenIn opens and tests the keys of a state that were not tested yet. It is asked
// before a key is shown to anybody, so that no key is believed first and tested later.
func (s *Store) brokenIn(st *state.State) *brokenKeys {
	s.broken.mu.Lock()
	defer s.broken.mu.Unlock()
	last := s.broken.last
	if last != nil && last.of == st.KeysVersion() {
		return last
	}
	b := &brokenKeys{of: st.KeysVersion(), errs: map[cptoken.KeyID]error{}}
	held := s.cfg.Seal.IDs()
	for _, k := range st.Records() {
		if k.Sealed() == nil || !slices.Contains(held, k.Sealed().SealKeyId) {
			continue
		}
		_, err := s.open(k)
		if err == nil {
			continue
		}
		b.errs[k.ID], b.ids = err, append(b.ids, k.ID)
		if last == nil || last.errs[k.ID] == nil {
			s.log.Error("a key is broken: it signs and verifies nothing", "key", state.KeyName(k.ID), "error", err)
		}
	}
	s.broken.last = b
	return b
}

// trusted is what verifiers see: without the keys that are broken, and without those of
// which this node cannot tell, as it lacks their seal key.
type trusted struct {
	view   cptoken.View
	broken *brokenKeys
	lacks  *lacking
}

// Key implements [cptoken.View].
func (t trusted) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if t.broken.errs[id] != nil || slices.Contains(t.lacks.keys, id) {
		return nil
	}
	return t.view.Key(id)
}

// Revoked implements [cptoken.View].
func (t trusted) Revoked(kind cptoken.Kind, mesh, id string) bool {
	return t.view.Revoked(kind, mesh, id)
}

// CutOff implements [cptoken.View].
func (t trusted) CutOff(kind cptoken.Kind, mesh, kid string) time.Time {
	return t.view.CutOff(kind, mesh, kid)
}

// Pruned implements [cptoken.View].
func (t trusted) Pruned() time.Time { return t.view.Pruned() }

// withhold has a zone be told, in place of a broken key, that the key is removed.
func (b *brokenKeys) withhold(d cptoken.Delta) cptoken.Delta {
	if len(b.errs) == 0 {
		return d
	}
	all := d.Changes
	d.Changes = func(yield func(cptoken.Change) bool) {
		for c := range all {
			if c.Key != nil && b.errs[c.Key.ID] != nil {
				id := c.Key.ID
				c = cptoken.Change{Index: c.Index, RemovedKey: &id}
			}
			if !yield(c) {
				return
			}
		}
	}
	return d
}

// Picture is the state at one moment as lists show it, without the keys that are
// broken. Two are equal (==) only where nothing was applied between them.
type Picture struct {
	view   state.ReadView
	broken *brokenKeys
}

// Head returns the cluster's id and the revision.
func (p Picture) Head() (cluster string, rev federation.Revision) { return p.view.Head() }

// Meshes returns the names of the meshes, in order.
func (p Picture) Meshes() []string { return p.view.Meshes() }

// Keys returns the public keys of a kind that are not removed, by mesh and serial.
func (p Picture) Keys(kind cptoken.Kind) []*cptoken.PublicKey {
	return slices.DeleteFunc(p.view.Keys(kind), func(k *cptoken.PublicKey) bool { return p.broken.errs[k.ID] != nil })
}

// Revoked returns the revoked ids of a kind and mesh, as [state.ReadView.Revoked] does.
func (p Picture) Revoked(kind cptoken.Kind, mesh string) (version any, ids iter.Seq[[]byte]) {
	return p.view.Revoked(kind, mesh)
}
