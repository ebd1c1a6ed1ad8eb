package wire

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// fromWire returns what m says. What is malformed is an Invalid error, with which the
// zone refuses the set; what is only newer than this version comes out as skipped. What
// refuses something is taken all the same where it is understood but for a field.
func fromWire(m *kdspb.Change) (out []cptoken.Change, err error) {
	if skipped := unknownIn(m); skipped != nil {
		out = append(out, cptoken.Change{Index: m.GetIndex(), Skipped: skipped})
		if !narrows(m) {
			return out, nil
		}
	}
	c := cptoken.Change{Index: m.GetIndex()}
	if err := readWhat(&c, m); err != nil {
		e := federation.AsError(err)
		return nil, federation.Errorf(e.Code, "change at index %d: %w", c.Index, err).WithHint("%s", e.Hint)
	}
	return append(out, c), nil
}

// readWhat reads a change of which every word is known.
func readWhat(c *cptoken.Change, m *kdspb.Change) (err error) {
	switch w := m.GetWhat().(type) {
	case *kdspb.Change_Key:
		c.Key, err = keyFromWire(w.Key)
	case *kdspb.Change_RemovedKey:
		var id cptoken.KeyID
		id, err = keyIDFromWire(w.RemovedKey)
		c.RemovedKey = &id
	case *kdspb.Change_Revoked:
		c.Revoked, err = idsFromWire(w.Revoked)
	case *kdspb.Change_Withdrawn:
		c.Withdrawn, err = idsFromWire(w.Withdrawn)
	case *kdspb.Change_CutOff:
		var id cptoken.CutOffID
		id, err = cutOffIDFromWire(w.CutOff.GetId())
		c.CutOff = &cptoken.CutOff{CutOffID: id, Before: time.Unix(w.CutOff.GetBeforeS(), 0)}
	case *kdspb.Change_CutOffWithdrawn:
		var id cptoken.CutOffID
		id, err = cutOffIDFromWire(w.CutOffWithdrawn)
		c.CutOffWithdrawn = &id
	default:
		err = federation.Errorf(federation.Invalid, "a change that says nothing")
	}
	return err
}

func scopeFromWire(kind, mesh, kid string) error {
	k := cptoken.Kind(kind)
	if !k.AtZones() { // what is not known at all was skipped
		return notAtZones(kind)
	}
	if len(kid) > cptoken.MaxKIDLen {
		return federation.Errorf(federation.TooLarge, "a kid of %d bytes, want at most %d", len(kid), cptoken.MaxKIDLen)
	}
	return k.ValidateScope(mesh)
}

func notAtZones(kind string) error {
	return federation.Errorf(federation.Invalid, "%.40q is not a kind that zones hold", kind)
}

func keyIDFromWire(m *kdspb.KeyRef) (cptoken.KeyID, error) {
	if m.GetKid() == "" {
		return cptoken.KeyID{}, federation.Errorf(federation.Invalid, "a key without kid")
	}
	id := cptoken.KeyID{Kind: cptoken.Kind(m.GetKind()), Mesh: m.GetMesh(), KID: m.GetKid()}
	return id, scopeFromWire(m.GetKind(), m.GetMesh(), m.GetKid())
}

func cutOffIDFromWire(m *kdspb.KeyRef) (cptoken.CutOffID, error) {
	id := cptoken.CutOffID{Kind: cptoken.Kind(m.GetKind()), Mesh: m.GetMesh(), KID: m.GetKid()}
	return id, scopeFromWire(m.GetKind(), m.GetMesh(), m.GetKid())
}

func keyFromWire(m *kdspb.Key) (*cptoken.PublicKey, error) {
	id, err := keyIDFromWire(m.GetId())
	if err != nil {
		return nil, err
	}
	state := cptoken.KeyState(m.GetState())
	if state == "" || state == cptoken.Removed {
		return nil, federation.Errorf(federation.Invalid, "key %s: %.40q is not a state of a key that zones hold", id, m.GetState())
	}
	var registered *cptoken.Constraints
	if r := m.GetRegistered(); r != nil {
		registered, err = constraintsFromWire(r)
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "key %s: %w", id, err)
		}
	}
	return cptoken.NewPublicKey(id, m.GetAlg(), state, m.GetDer(), registered)
}

func constraintsFromWire(m *kdspb.Constraints) (*cptoken.Constraints, error) {
	const maxSeconds = int64(1<<63-1) / int64(time.Second)
	if s := m.GetMaxLifetimeS(); s < 0 || s > maxSeconds {
		return nil, federation.Errorf(federation.Invalid, "a longest lifetime of %d s", s)
	}
	c := &cptoken.Constraints{
		Zones:         m.GetZones(),
		MaxLifetime:   time.Duration(m.GetMaxLifetimeS()) * time.Second,
		AllowNoExpiry: m.GetAllowNoExpiry(),
		AllowNoID:     m.GetAllowNoId(),
	}
	for _, s := range m.GetScopes() {
		c.Scopes = append(c.Scopes, cptoken.Scope(s))
	}
	return c, nil
}

func idsFromWire(m *kdspb.Ids) (*cptoken.RevokedRun, error) {
	kind := cptoken.Kind(m.GetKind())
	if !kind.Revocable() { // what is not known at all was skipped
		return nil, notAtZones(m.GetKind())
	}
	if err := kind.ValidateScope(m.GetMesh()); err != nil {
		return nil, err
	}
	uuids, others, expires := m.GetUuids(), m.GetOthers(), m.GetExpiresS()
	if len(uuids)%16 != 0 {
		return nil, federation.Errorf(federation.Invalid, "a run of UUIDs of %d bytes", len(uuids))
	}
	n := len(uuids)/16 + len(others)
	if n == 0 || n > kds.MaxRun {
		return nil, federation.Errorf(federation.Invalid, "a run of %d ids, want 1 to %d", n, kds.MaxRun)
	}
	if len(expires) != 0 && len(expires) != n {
		return nil, federation.Errorf(federation.Invalid, "a run of %d ids with %d expiries", n, len(expires))
	}
	run := &cptoken.RevokedRun{Kind: kind, Mesh: m.GetMesh(), IDs: make([]cptoken.RevokedID, 0, n)}
	for ; len(uuids) > 0; uuids = uuids[16:] {
		run.IDs = append(run.IDs, cptoken.RevokedID{ID: cptoken.UUID(uuids).String()})
	}
	for _, id := range others {
		if id == "" || len(id) > cptoken.MaxIDLen {
			return nil, federation.Errorf(federation.Invalid, "an id of %d bytes, want 1 to %d", len(id), cptoken.MaxIDLen)
		}
		run.IDs = append(run.IDs, cptoken.RevokedID{ID: id})
	}
	for i, e := range expires {
		run.IDs[i].Expires = e
	}
	return run, nil
}
