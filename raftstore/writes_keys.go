package raftstore

import (
	"context"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// serialAttempts is how often a serial that somebody else took is replaced.
const serialAttempts = 5

// PrepareKey makes the next key of a kind and mesh, which signs nothing until it
// is activated. Where one is prepared already, that one is returned.
func (s *Store) PrepareKey(ctx context.Context, o Origin, kind cptoken.Kind, mesh string) (Key, error) {
	for attempt := 1; ; attempt++ {
		if !s.IsLeader() {
			return Key{}, s.notLeader()
		}
		st := s.fsm.current()
		if _, err := st.Scope(string(kind), mesh, true); err != nil {
			return Key{}, err
		}
		for _, k := range st.KeysOf(kind, mesh) {
			if k.State == cptoken.Prepared {
				return k, nil
			}
		}
		p, err := s.newKey(st, kind, mesh)
		if err != nil {
			return Key{}, err
		}
		id := cptoken.KeyID{Kind: kind, Mesh: mesh, KID: cptoken.SerialKID(p.Serial)}
		out, err := s.propose(ctx, o, "prepare-key", &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: p}})
		if raced(err) && attempt < serialAttempts {
			continue
		}
		if err != nil {
			return Key{}, err
		}
		return preparedAt(out, id)
	}
}

// BlockKey has a key sign nothing any more, because a zone knows it as removed. It says
// whether that is news.
func (s *Store) BlockKey(ctx context.Context, o Origin, id cptoken.KeyID) (Change, error) {
	step := &storepb.KeyStep{Kind: string(id.Kind), Mesh: id.Mesh, Kid: id.KID}
	out, err := s.propose(ctx, o, "block-key", &storepb.Command{Op: &storepb.Command_BlockKey{BlockKey: step}})
	if err != nil {
		return Change{}, err
	}
	return changeOf(out), nil
}

// raced reports whether another proposer was faster with the same thing.
func raced(err error) bool {
	if err == nil {
		return false
	}
	reason := federation.AsError(err).Reason
	return reason == "serial_used" || reason == "already_prepared" || reason == "seal_key_changed"
}

// preparedAt returns the key that a command prepared. For a request id that was
// seen before that is the earlier key, which has another serial than id.
func preparedAt(out outcome, id cptoken.KeyID) (Key, error) {
	if k, ok := out.state.Key(id); ok && k.PreparedIndex == out.result.Index {
		return k, nil
	}
	for _, k := range out.state.KeysOf(id.Kind, id.Mesh) {
		if k.PreparedIndex == out.result.Index {
			return k, nil
		}
	}
	return Key{}, federation.Errorf(federation.Conflict, "the key that this request made was removed since")
}

// newKey generates and seals the next key of a kind and mesh.
func (s *Store) newKey(st *state.State, kind cptoken.Kind, mesh string) (*storepb.PrepareKey, error) {
	key, err := issue.Generate(issue.Ref{Kind: kind, Mesh: mesh, Serial: st.NextSerial(kind, mesh)})
	if err != nil {
		return nil, err
	}
	return s.sealKey(st.Cluster(), st.FeatureLevel(), key)
}

// sealKey turns a key into the form that may be replicated at a feature level.
func (s *Store) sealKey(cluster string, level uint32, key *issue.SigningKey) (*storepb.PrepareKey, error) {
	ref, material := key.Ref(), key.Material()
	defer clear(material)
	seal, err := s.sealer()
	if err != nil {
		return nil, err
	}
	sealed, err := seal.Seal(boundTo(cluster, level), ref, material)
	if err != nil {
		return nil, err
	}
	p := &storepb.PrepareKey{
		Kind: string(ref.Kind), Mesh: ref.Mesh, Serial: ref.Serial, Alg: key.Alg(),
		PublicDer: key.PublicDER(), Sealed: sealedTo(sealed),
	}
	if p.PublicDer == nil {
		p.Fingerprint = key.Fingerprint(cluster)
	}
	return p, nil
}

func sealedTo(s issue.Sealed) *storepb.Sealed {
	return &storepb.Sealed{SealKeyId: s.SealKeyID, Nonce: s.Nonce, Ciphertext: s.Ciphertext}
}

func sealedFrom(s *storepb.Sealed) issue.Sealed {
	return issue.Sealed{SealKeyID: s.GetSealKeyId(), Nonce: s.GetNonce(), Ciphertext: s.GetCiphertext()}
}

// maxImported is the highest serial of a key that an operator brings: what follows it must
// fit a serial too, also after many losses and restores, and a number in JSON.
const maxImported = 1 << 40

// ImportKey takes over a key that an operator brings, as prepared. Its serial
// must be greater than every one before of its kind and mesh.
func (s *Store) ImportKey(ctx context.Context, o Origin, ref issue.Ref, data []byte) (Key, error) {
	if !s.IsLeader() {
		return Key{}, s.notLeader()
	}
	if ref.Serial > maxImported {
		return Key{}, federation.InvalidField("serial", "must be at most %d", int64(maxImported))
	}
	key, err := issue.Import(ref, data)
	if err != nil {
		return Key{}, err
	}
	p, err := s.sealKey(s.ClusterID(), s.FeatureLevel(), key)
	if err != nil {
		return Key{}, err
	}
	p.Imported = true
	out, err := s.propose(ctx, o, "import-key", &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: p}})
	if err != nil {
		return Key{}, err
	}
	return preparedAt(out, ref.KeyID())
}

// ActivateKey makes a prepared key the one that signs; the former one retires in
// the same change. The caller has seen to it that every member and every online
// zone holds the key. One that is broken stays as it is: tokens that it signed would
// verify nowhere.
func (s *Store) ActivateKey(ctx context.Context, o Origin, id cptoken.KeyID) (Key, error) {
	if err := s.brokenIn(s.fsm.current()).errs[id]; err != nil {
		return Key{}, federation.Errorf(federation.Conflict, "key %s is broken and cannot sign: %w", state.KeyName(id), err).
			WithReason("key_broken").WithHint("prepare another and remove this one: global keys rotate %s", id.Kind.Arguments(id.Mesh))
	}
	return s.step(ctx, o, "activate-key", id, &storepb.Command{Op: &storepb.Command_ActivateKey{ActivateKey: keyStep(id)}})
}

// RetireKey stops a key from signing; it verifies until it is removed. Nothing
// signs for its kind and mesh until another key is activated.
func (s *Store) RetireKey(ctx context.Context, o Origin, id cptoken.KeyID) (Key, error) {
	return s.step(ctx, o, "retire-key", id, &storepb.Command{Op: &storepb.Command_RetireKey{RetireKey: keyStep(id)}})
}

// RemoveKey removes a key: what it signed is refused from then on. The key that
// signs is never removed, and one that retires only with Force or Compromised.
// The key is returned as it was, in state Removed.
func (s *Store) RemoveKey(ctx context.Context, o Origin, id cptoken.KeyID, opts RemoveOptions) (Key, error) {
	k, _ := s.Key(id)
	op := keyStep(id)
	op.Force, op.Compromised = opts.Force, opts.Compromised
	out, err := s.propose(ctx, o, "remove-key", &storepb.Command{Op: &storepb.Command_RemoveKey{RemoveKey: op}})
	if err != nil {
		return Key{}, err
	}
	k.ID, k.State, k.Index = id, cptoken.Removed, out.result.Index
	return k, nil
}

// RegisterKey adds a public key whose private half Meridian never has, or gives one
// that is there already the constraints of pub. A kid that has another key, or had
// one that was removed, is a Conflict.
func (s *Store) RegisterKey(ctx context.Context, o Origin, pub *cptoken.PublicKey) (Key, error) {
	constraints := state.ConstraintsTo(pub.Registered)
	if constraints == nil {
		constraints = &storepb.Constraints{}
	}
	op := &storepb.RegisterKey{Id: state.KeyRef(pub.ID), Alg: pub.Alg, PublicDer: pub.DER(), Constraints: constraints}
	cmd := &storepb.Command{Op: &storepb.Command_RegisterKey{RegisterKey: op}}
	// The verbs differ: who registers a key again, because the answer was lost, asks
	// for something else by now, and must not be told that the id was used before.
	verb := "register-key"
	if _, ok := s.Key(pub.ID); ok {
		verb, op.Replace, cmd.Level = "rebind-key", true, state.LevelOutcomes
	}
	return s.step(ctx, o, verb, pub.ID, cmd)
}

// step proposes a command and returns the key that it concerns.
func (s *Store) step(ctx context.Context, o Origin, verb string, id cptoken.KeyID, cmd *storepb.Command) (Key, error) {
	out, err := s.propose(ctx, o, verb, cmd)
	if err != nil {
		return Key{}, err
	}
	k, ok := out.state.Key(id)
	if !ok {
		return Key{}, federation.Errorf(federation.Conflict, "key %s was removed since", state.KeyName(id))
	}
	return k, nil
}

func keyStep(id cptoken.KeyID) *storepb.KeyStep {
	return &storepb.KeyStep{Kind: string(id.Kind), Mesh: id.Mesh, Kid: id.KID}
}
