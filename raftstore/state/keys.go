package state

import (
	"bytes"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

const (
	maxSealed      = 16 << 10
	maxFingerprint = 64
	maxConstraints = 1024

	reasonRegistered = "registered"
)

// KeyRecord is a key with what must not leave the package: the sealed material,
// and the place of its last change in the log. It is immutable.
type KeyRecord struct {
	Key
	sealed *storepb.Sealed // nil for a registered key
	at     logKey
}

// putKey replaces the record of a key and makes it a change that zones see.
func (s *State) putKey(index uint64, k *KeyRecord) {
	if old, ok := s.keys.Get(k.ID); ok {
		s.log.Del(s.edit, old.at)
	}
	k.Index = index
	if k.Public != nil {
		k.Public = k.Public.WithState(k.State)
	}
	k.at = s.append(index, logEntry{what: keyChanged, id: k.ID})
	s.keys.Set(s.edit, k.ID, k)
}

// blockKey has a key that a zone knows as removed sign nothing any more: its tokens would
// be refused there. It goes on verifying, for who trusts it.
func (s *State) blockKey(index uint64, op *storepb.KeyStep) (uint64, error) {
	k, err := s.findKey(op)
	if err != nil || k.Blocked {
		return 0, err
	}
	if k.Registered != nil {
		return 0, federation.Errorf(federation.Conflict, "key %s is registered and signs nothing", KeyName(k.ID))
	}
	next := *k
	next.Blocked = true
	s.putKey(index, &next)
	return 1, nil
}

// step returns a copy of the record in another state.
func (s *State) step(index uint64, k *KeyRecord, to cptoken.KeyState) {
	next := *k
	next.State = to
	switch to {
	case cptoken.Active:
		next.Active = millis(s.time)
	case cptoken.Retiring:
		next.Retiring, next.RetiringIndex = millis(s.time), index
	}
	s.putKey(index, &next)
}

// dropKey leaves a tombstone in place of a key.
func (s *State) dropKey(index uint64, k *KeyRecord) {
	s.log.Del(s.edit, k.at)
	s.keys.Del(s.edit, k.ID)
	s.removed.Set(s.edit, k.ID, s.append(index, logEntry{what: keyRemoved, id: k.ID, at: s.time}))
}

// keysOf returns the keys of a kind and mesh.
func (s *State) keysOf(kind cptoken.Kind, mesh string) []*KeyRecord {
	var found []*KeyRecord
	for id, k := range s.keys.From(cptoken.KeyID{Kind: kind, Mesh: mesh, KID: "0"}) {
		if id.Kind != kind || id.Mesh != mesh {
			break
		}
		found = append(found, k)
	}
	return found
}

// Active returns the key that signs for a kind and mesh, or nil.
func (s *State) Active(kind cptoken.Kind, mesh string) *KeyRecord {
	for id, k := range s.keys.From(cptoken.KeyID{Kind: kind, Mesh: mesh, KID: "0"}) {
		if id.Kind != kind || id.Mesh != mesh {
			break
		}
		if k.State == cptoken.Active {
			return k
		}
	}
	return nil
}

// Scope checks kind and mesh. The mesh must exist where mustExist is set.
func (s *State) Scope(kindName, mesh string, mustExist bool) (cptoken.Kind, error) {
	kind := cptoken.Kind(kindName)
	rule, _ := kindOf(kind)
	switch {
	case rule == nil:
		return "", federation.InvalidField("kind", "%.40q is not a kind of token", kindName)
	case rule.perMesh:
		if err := s.validName("mesh", mesh); err != nil {
			return "", err
		}
	case mesh != "":
		return "", federation.InvalidField("mesh", "a %s belongs to no mesh", kind.TokenName())
	}
	if _, ok := s.meshes.Get(mesh); mustExist && rule.perMesh && !ok {
		return "", federation.Errorf(federation.NotFound, "mesh %s does not exist", mesh).
			WithReason("no_mesh").WithHint("apply the mesh first, or check its name with global get meshes")
	}
	return kind, nil
}

// newSigningKey checks a key that is to be prepared and takes its serial.
func (s *State) newSigningKey(index uint64, by string, p *storepb.PrepareKey) (*KeyRecord, error) {
	kind, err := s.Scope(p.GetKind(), p.GetMesh(), true)
	if err != nil {
		return nil, err
	}
	list := listID{kind, p.Mesh}
	highest, _ := s.serials.Get(list)
	switch {
	case p.Serial == 0:
		return nil, federation.InvalidField("serial", "must be 1 or more")
	case p.Serial <= highest:
		return nil, federation.Errorf(federation.Conflict, "serial %d of %s was used before, the highest is %d",
			p.Serial, kind.TokenName(), highest).WithReason("serial_used").
			WithHint("use a serial of %d or more", highest+1)
	case p.Sealed == nil || len(p.Sealed.Ciphertext) == 0 || proto.Size(p.Sealed) > maxSealed:
		return nil, federation.InvalidField("sealed", "must hold the sealed key material, at most %d bytes", maxSealed)
	}
	if want := s.SealKeyID(); p.Sealed.SealKeyId != want {
		return nil, federation.Errorf(federation.Conflict, "the key is sealed under seal key %.16s, the cluster seals under %.16s",
			p.Sealed.SealKeyId, want).WithReason("seal_key_changed").WithHint("try again")
	}
	now := millis(s.time)
	k := &KeyRecord{sealed: p.Sealed, Key: Key{
		ID:     cptoken.KeyID{Kind: kind, Mesh: p.Mesh, KID: cptoken.SerialKID(p.Serial)},
		Serial: p.Serial, Alg: p.Alg, State: cptoken.Prepared, Imported: p.Imported,
		By: by, Created: now, Prepared: now, PreparedIndex: index,
	}}
	if err := k.setPublic(p.PublicDer, p.Fingerprint, nil); err != nil {
		return nil, err
	}
	s.serials.Set(s.edit, list, p.Serial)
	return k, nil
}

// setPublic fills in the public part, or of a symmetric key the fingerprint.
func (k *KeyRecord) setPublic(der, fingerprint []byte, registered *cptoken.Constraints) error {
	if k.ID.Kind == cptoken.ControlPlane {
		if k.Alg != cptoken.AlgHS256 || len(der) > 0 {
			return federation.Errorf(federation.Invalid, "key %s: must be a symmetric key for HS256", KeyName(k.ID))
		}
		if len(fingerprint) == 0 || len(fingerprint) > maxFingerprint {
			return federation.InvalidField("fingerprint", "must have 1 to %d bytes", maxFingerprint)
		}
		k.Fingerprint = fingerprint
		return nil
	}
	if algorithms[k.Alg] == 0 || k.Alg == cptoken.AlgHS256 {
		return federation.Errorf(federation.Invalid, "key %s: must be a public key, and %.20q is no algorithm of one", KeyName(k.ID), k.Alg)
	}
	pub, err := cptoken.NewPublicKey(k.ID, k.Alg, k.State, der, registered)
	if err != nil {
		return err
	}
	sum := pub.Fingerprint()
	k.Public, k.Fingerprint, k.Registered = pub, sum[:], registered
	return nil
}

func (s *State) prepareKey(index uint64, by string, p *storepb.PrepareKey) (uint64, error) {
	k, err := s.newSigningKey(index, by, p)
	if err != nil {
		return 0, err
	}
	for _, other := range s.keysOf(k.ID.Kind, k.ID.Mesh) {
		if other.State == cptoken.Prepared && !p.Imported {
			return 0, federation.Errorf(federation.Conflict, "key %s is prepared already", KeyName(other.ID)).
				WithReason("already_prepared").WithHint("activate or remove it first")
		}
	}
	s.putKey(index, k)
	return 1, nil
}

// findKey returns the key that a step names.
func (s *State) findKey(op *storepb.KeyStep) (*KeyRecord, error) {
	id := cptoken.KeyID{Kind: cptoken.Kind(op.Kind), Mesh: op.Mesh, KID: op.Kid}
	if k, ok := s.keys.Get(id); ok {
		return k, nil
	}
	return nil, federation.Errorf(federation.NotFound, "key %s does not exist", KeyName(id)).
		WithHint("list the keys with global keys list")
}

func (s *State) activateKey(index uint64, op *storepb.KeyStep) (uint64, error) {
	k, err := s.findKey(op)
	if err != nil {
		return 0, err
	}
	switch k.State {
	case cptoken.Active:
		return 0, nil
	case cptoken.Prepared:
	default:
		return 0, federation.Errorf(federation.Conflict, "key %s is %s and cannot sign again", KeyName(k.ID), k.State).
			WithReason("wrong_state").WithHint("prepare a new key")
	}
	if former := s.Active(k.ID.Kind, k.ID.Mesh); former != nil {
		s.step(index, former, cptoken.Retiring)
	}
	s.step(index, k, cptoken.Active)
	return 1, nil
}

func (s *State) retireKey(index uint64, op *storepb.KeyStep) (uint64, error) {
	k, err := s.findKey(op)
	if err != nil {
		return 0, err
	}
	switch k.State {
	case cptoken.Retiring:
		return 0, nil
	case cptoken.Prepared:
		return 0, federation.Errorf(federation.Conflict, "key %s has never signed", KeyName(k.ID)).
			WithReason("wrong_state").WithHint("remove it instead")
	}
	s.step(index, k, cptoken.Retiring)
	return 1, nil
}

func (s *State) removeKey(index uint64, op *storepb.KeyStep) (uint64, error) {
	k, err := s.findKey(op)
	if err != nil {
		return 0, err
	}
	switch {
	case k.State == cptoken.Active:
		return 0, federation.Errorf(federation.Conflict, "key %s is the one that signs", KeyName(k.ID)).
			WithReason("key_active").WithHint("rotate first: global keys rotate %s", k.ID.Kind.Arguments(k.ID.Mesh))
	case k.State == cptoken.Retiring && !op.Force && !op.Compromised:
		return 0, federation.Errorf(federation.Conflict, "tokens that key %s signed may still be in use", KeyName(k.ID)).
			WithReason("may_cut_tokens").WithHint("remove it with --force to refuse them from now on")
	}
	s.dropKey(index, k)
	return 1, nil
}

func (s *State) registerKey(index uint64, by string, op *storepb.RegisterKey) (uint64, error) {
	kind, err := s.Scope(op.GetId().GetKind(), op.GetId().GetMesh(), true)
	if err != nil {
		return 0, err
	}
	id := cptoken.KeyID{Kind: kind, Mesh: op.Id.Mesh, KID: op.Id.Kid}
	if err := cptoken.ValidateKID("kid", id.KID); err != nil {
		return 0, err
	}
	if kind != cptoken.Zone && kind != cptoken.Dataplane {
		return 0, federation.InvalidField("kind", "public keys can be registered for zone and dataplane tokens only")
	}
	constraints, err := s.constraintsFrom(op.Constraints)
	if err != nil {
		return 0, err
	}
	if old, ok := s.keys.Get(id); ok {
		return s.rebindKey(index, old, op, constraints)
	}
	if _, ok := s.removed.Get(id); ok {
		return 0, federation.Errorf(federation.Conflict, "key %s was removed, and its tokens are refused", KeyName(id)).
			WithHint("register the key under another kid")
	}
	now := millis(s.time)
	k := &KeyRecord{Key: Key{
		ID: id, Alg: op.Alg, State: cptoken.Retiring, By: by,
		Created: now, Prepared: now, Retiring: now, PreparedIndex: index, RetiringIndex: index,
	}}
	if err := k.setPublic(op.PublicDer, nil, constraints); err != nil {
		return 0, err
	}
	s.putKey(index, k)
	return 1, nil
}

// rebindKey gives a registered key other constraints, where the command asks for it.
// Its material never changes: what tokens of a kid are verified with is decided once.
func (s *State) rebindKey(index uint64, old *KeyRecord, op *storepb.RegisterKey, c *cptoken.Constraints) (uint64, error) {
	if !op.Replace || old.Registered == nil || old.Alg != op.Alg || !bytes.Equal(old.Public.DER(), op.PublicDer) {
		return 0, federation.Errorf(federation.Conflict, "key %s is registered already", KeyName(old.ID)).
			WithReason(reasonRegistered).WithHint("register another key under another kid")
	}
	if proto.Equal(ConstraintsTo(old.Registered), ConstraintsTo(c)) {
		return 0, nil
	}
	next := *old
	if err := next.setPublic(op.PublicDer, nil, c); err != nil {
		return 0, err
	}
	s.putKey(index, &next)
	return 1, nil
}

func (s *State) constraintsFrom(c *storepb.Constraints) (*cptoken.Constraints, error) {
	out := &cptoken.Constraints{
		Zones:         c.GetZones(),
		MaxLifetime:   time.Duration(c.GetMaxLifetimeS()) * time.Second,
		AllowNoExpiry: c.GetAllowNoExpiry(),
		AllowNoID:     c.GetAllowNoId(),
	}
	if len(out.Zones) > maxConstraints || len(c.GetScopes()) > maxConstraints {
		return nil, federation.InvalidField("constraints", "must name at most %d zones and scopes", maxConstraints)
	}
	const longest = int64(1 << 33) // seconds; a Duration holds 292 years
	if c.GetMaxLifetimeS() < 0 || c.GetMaxLifetimeS() > longest {
		return nil, federation.InvalidField("maxLifetime", "must be between 0 and %d seconds", longest)
	}
	for i, z := range out.Zones {
		if err := s.validName("zones["+strconv.Itoa(i)+"]", z); err != nil {
			return nil, err
		}
	}
	for i, name := range c.GetScopes() {
		if scopes[name] == 0 {
			return nil, federation.InvalidField("scopes["+strconv.Itoa(i)+"]", "%.40q is not a scope", name)
		}
		out.Scopes = append(out.Scopes, cptoken.Scope(name))
	}
	return out, nil
}

// ConstraintsTo returns constraints as commands have them, nil for nil.
func ConstraintsTo(c *cptoken.Constraints) *storepb.Constraints {
	if c == nil {
		return nil
	}
	out := &storepb.Constraints{
		Zones: c.Zones, MaxLifetimeS: int64(c.MaxLifetime / time.Second),
		AllowNoExpiry: c.AllowNoExpiry, AllowNoId: c.AllowNoID,
	}
	for _, s := range c.Scopes {
		out.Scopes = append(out.Scopes, string(s))
	}
	return out
}
