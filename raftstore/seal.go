package raftstore

import (
	"context"
	"slices"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// reasonSealed is the reason of errors of a node that lacks a seal key.
const reasonSealed = "sealed"

// Bounds of one Reseal command.
const (
	resealItems = 128
	resealBytes = 256 << 10
)

// Sealing is how a node stands with the cluster's seal keys.
type Sealing struct {
	// Active is the id of the seal key under which the cluster seals: every new key,
	// and after a rotation every key. "" before the cluster is founded.
	Active string
	// Held are the ids in this node's file, in its order. A rotation seals under the
	// first one of the leader.
	Held []string
	// Sealed counts the signing keys under each seal key.
	Sealed map[string]int
	// Secret is the newest generation of the cluster secret, 0 where there is none yet.
	Secret uint32
	// Unopened are the signing keys that this node cannot open, and MissingKeys the
	// seal keys that it lacks for them, both in order.
	Unopened    []cptoken.KeyID
	MissingKeys []string
}

// Sealing tells under which seal keys the signing keys are sealed, and which of
// them this node lacks.
func (s *Store) Sealing() Sealing {
	st := s.fsm.current()
	have := Sealing{Active: st.SealKeyID(), Held: s.cfg.Seal.IDs(), Sealed: map[string]int{}, Secret: st.NextSecret() - 1}
	for _, k := range st.Records() {
		if k.Sealed() != nil {
			have.Sealed[k.Sealed().SealKeyId]++
		}
	}
	lacks := s.lacks(st)
	have.Unopened, have.MissingKeys = lacks.keys, lacks.sealKeys
	return have
}

// CanSign returns nil where this node has the seal key of every signing key, and
// otherwise an Unavailable error that names those it lacks. Such a node replicates
// and answers what needs no key; it signs nothing and admits no zone.
func (s *Store) CanSign() error {
	lacks := s.lacks(s.fsm.current())
	if len(lacks.sealKeys) == 0 {
		return nil
	}
	return federation.Errorf(federation.Unavailable,
		"this node lacks the seal keys %v and cannot open %d signing keys: it replicates, but can neither sign nor admit zones",
		lacks.sealKeys, len(lacks.keys)).WithReason(reasonSealed).
		WithHint("add the lines with these seal keys to the file that --seal-key-file names, and start this node again; other members can help meanwhile")
}

// Usable is the index up to which this node has applied every command and can use
// what they brought: Applied, or less where it cannot open a key. A gate that waits
// for this node to hold a key waits for it.
func (s *Store) Usable() uint64 {
	st := s.fsm.current()
	if first := s.lacks(st).first; first > 0 {
		return min(st.Applied(), first-1)
	}
	return st.Applied()
}

// lacking is what a node cannot open of the keys and check that it was found for.
type lacking struct {
	of    any // State.KeysVersion
	check *storepb.SealCheck

	keys     []cptoken.KeyID
	sealKeys []string
	first    uint64 // the index at which the first of keys was prepared
}

// lackCache remembers the last answer: keys change rarely, and are asked for at
// every admission.
type lackCache struct{ last atomic.Pointer[lacking] }

func (s *Store) lacks(st *state.State) *lacking {
	if last := s.lack.last.Load(); last != nil && last.of == st.KeysVersion() && last.check == st.SealCheck() {
		return last
	}
	l := &lacking{of: st.KeysVersion(), check: st.SealCheck()}
	held := s.cfg.Seal.IDs()
	if id := st.SealKeyID(); id != "" && !slices.Contains(held, id) {
		l.sealKeys = append(l.sealKeys, id)
	}
	for _, k := range st.Records() {
		if k.Sealed() == nil || slices.Contains(held, k.Sealed().SealKeyId) {
			continue
		}
		l.keys, l.sealKeys = append(l.keys, k.ID), append(l.sealKeys, k.Sealed().SealKeyId)
		if l.first == 0 || k.PreparedIndex < l.first {
			l.first = k.PreparedIndex
		}
	}
	slices.Sort(l.sealKeys)
	l.sealKeys = slices.Compact(l.sealKeys)
	s.lack.last.Store(l)
	return l
}

// sealer returns the seal keys with the cluster's own in front: the order in one
// node's file alone changes nothing, so that files can be changed one node after the
// other.
func (s *Store) sealer() (*issue.SealKeys, error) {
	id := s.fsm.current().SealKeyID()
	if id == "" {
		id = s.node.SealCheck.SealKeyID // of the founding
	}
	if seal := s.cfg.Seal.Under(id); seal != nil {
		return seal, nil
	}
	return nil, s.CanSign()
}

// Resealed is what a rotation of the seal key came to.
type Resealed struct {
	// Under is the seal key that now seals everything, Keys how many signing keys this
	// call sealed anew.
	Under string
	Keys  int
	// Dropped are the seal keys that nothing in the state needs any more.
	Dropped []string
	// Secret is the newest generation of the cluster secret.
	Secret uint32
}

// Reseal seals every signing key anew under the first seal key of this node's file,
// in batches, and then makes that one the cluster's. Interrupted, it is completed by
// calling it again; meanwhile every key can be used by who has both seal keys. It ends
// with a new generation of the cluster secret: who had the former seal key may know the
// former ones. It runs on the leader.
func (s *Store) Reseal(ctx context.Context, o Origin) (Resealed, error) {
	done := Resealed{Under: s.cfg.Seal.ActiveID()}
	for {
		if !s.IsLeader() {
			return done, s.notLeader()
		}
		if err := s.CanSign(); err != nil {
			return done, err
		}
		if err := ctx.Err(); err != nil {
			return done, federation.Errorf(federation.Unavailable, "stopped after %d keys: %w", done.Keys, err).
				WithHint("run it again to go on")
		}
		st := s.fsm.current()
		batch, err := resealBatch(st, s.cfg.Seal, func(k *state.KeyRecord) bool { return k.Sealed().SealKeyId != done.Under })
		if err != nil {
			return done, err
		}
		if len(batch.Items) == 0 && len(batch.Secrets) == 0 {
			if err := s.finishReseal(st, batch); err != nil {
				return done, err
			}
			if batch.SealCheck == nil && len(batch.Secrets) == 0 {
				if err := s.ensureSecret(ctx); err != nil {
					return done, err
				}
				done.Secret = s.fsm.current().NextSecret() - 1
				return done, nil
			}
		}
		_, err = s.propose(ctx, Origin{By: o.By}, "", &storepb.Command{Op: &storepb.Command_Reseal{Reseal: batch}})
		switch {
		case federation.CodeOf(err) == federation.Conflict:
			continue // a key was made or removed meanwhile: look again
		case err != nil:
			return done, err
		}
		done.Keys += len(batch.Items)
		done.Dropped = append(done.Dropped, batch.DropSealKeyIds...)
	}
}

// resealBatch seals some of the keys anew that are stale, under the first one of the
// seal keys.
func resealBatch(st *state.State, seal *issue.SealKeys, stale func(*state.KeyRecord) bool) (*storepb.Reseal, error) {
	batch, size := &storepb.Reseal{}, 0
	for _, k := range st.Records() {
		if k.Sealed() == nil || !stale(k) {
			continue
		}
		if len(batch.Items) >= resealItems || size > resealBytes {
			break
		}
		material, err := openMaterial(st, k, seal)
		if err != nil {
			return nil, federation.Errorf(federation.Internal, "key %s cannot be unsealed: %w", k.ID, err).
				WithReason("unseal").WithHint("remove this key, whose material is lost, and run it again")
		}
		sealed, err := seal.Seal(boundTo(st.Cluster(), st.FeatureLevel()), refOf(k), material)
		clear(material)
		if err != nil {
			return nil, err
		}
		item := &storepb.Reseal_Item{Id: state.KeyRef(k.ID), Sealed: sealedTo(sealed)}
		batch.Items, size = append(batch.Items, item), size+proto.Size(item)
	}
	secrets := st.Secrets()
	return batch, retire(batch, st, seal, secrets[:max(0, len(secrets)-1)])
}

// retire seals generations of the cluster secret anew, as former ones, that the first one
// of the seal keys does not seal.
func retire(batch *storepb.Reseal, st *state.State, seal *issue.SealKeys, secrets []*storepb.ClusterSecret) error {
	for _, c := range secrets {
		if c.Sealed.SealKeyId == seal.ActiveID() {
			continue
		}
		sealed, err := seal.RetireClusterSecret(st.Cluster(), c.Generation, sealedFrom(c.Sealed))
		if err != nil {
			return err
		}
		batch.Secrets = append(batch.Secrets, &storepb.ClusterSecret{Generation: c.Generation, Sealed: sealedTo(sealed)})
	}
	return nil
}

// finishReseal makes the first seal key the cluster's: from then on new keys are
// sealed under it, and nodes look for it at their start. The newest generation of the
// cluster secret becomes a former one and is never sealed under it as what it was.
func (s *Store) finishReseal(st *state.State, batch *storepb.Reseal) error {
	if err := retire(batch, st, s.cfg.Seal, st.Secrets()); err != nil || st.SealKeyID() == s.cfg.Seal.ActiveID() {
		return err
	}
	check, err := s.cfg.Seal.NewCheck()
	if err != nil {
		return err
	}
	batch.SealCheck = &storepb.SealCheck{Sealed: sealedTo(check)}
	batch.DropSealKeyIds = []string{st.SealKeyID()}
	return nil
}

// followSealCheck keeps the cluster's seal check beside this node's name, where the
// next start finds it before anything else, and says once what this node lacks.
func (s *Store) followSealCheck(ctx context.Context) error {
	select {
	case <-s.ready: // what is replayed before is not the cluster's any more
	case <-ctx.Done():
		return nil
	}
	node, warned := s.node, ""
	var kept *storepb.SealCheck
	for {
		progress := s.fsm.progress.next()
		st := s.fsm.current()
		if st.SealCheck() != kept {
			var err error
			if node, err = s.keepSealCheck(node, st); err != nil {
				return err
			}
			kept = st.SealCheck()
		}
		warned = s.warnSealed(warned)
		select {
		case <-progress:
		case <-ctx.Done():
			return nil
		}
	}
}

// warnSealed logs what this node lacks, where that is not what it said before.
func (s *Store) warnSealed(said string) string {
	err := s.CanSign()
	switch {
	case err == nil && said != "":
		s.log.Info("this node can open every signing key again")
		return ""
	case err == nil || err.Error() == said:
		return said
	}
	s.log.Error("a seal key is missing", "error", err, "hint", federation.AsError(err).Hint)
	return err.Error()
}

// keepSealCheck stores the cluster's id and the state's seal check in node.json,
// unless they are there; a check that this node could not verify at its next start
// is left out.
func (s *Store) keepSealCheck(node disk.Identity, st *state.State) (disk.Identity, error) {
	sealed := sealedFrom(st.SealCheck().GetSealed())
	known := sealed.SealKeyID == "" || s.cfg.Seal.VerifyCheck(sealed) != nil ||
		string(sealed.Nonce) == string(node.SealCheck.Nonce) && string(sealed.Ciphertext) == string(node.SealCheck.Ciphertext)
	if known && node.Cluster == st.Cluster() {
		return node, nil
	}
	node.Cluster = st.Cluster()
	if !known {
		node.SealCheck = disk.SealCheck(sealed)
	}
	return node, node.Write(s.cfg.Dir)
}
