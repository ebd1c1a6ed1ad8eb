package wire

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// toWire returns the wire form of c: one message, or several where a run has
// more than MaxRun ids, or none for what zones do not hold.
func toWire(c cptoken.Change) []*kdspb.Change {
	one := func(kind cptoken.Kind, m *kdspb.Change) []*kdspb.Change {
		if !kind.AtZones() {
			return nil
		}
		m.Index = c.Index
		return []*kdspb.Change{m}
	}
	switch {
	case c.Key != nil:
		return one(c.Key.ID.Kind, &kdspb.Change{What: &kdspb.Change_Key{Key: keyToWire(c.Key)}})
	case c.RemovedKey != nil:
		return one(c.RemovedKey.Kind, &kdspb.Change{What: &kdspb.Change_RemovedKey{RemovedKey: refToWire(*c.RemovedKey)}})
	case c.CutOff != nil:
		return one(c.CutOff.Kind, &kdspb.Change{What: &kdspb.Change_CutOff{CutOff: &kdspb.CutOff{
			Id: refToWire(cptoken.KeyID(c.CutOff.CutOffID)), BeforeS: c.CutOff.Before.Unix(),
		}}})
	case c.CutOffWithdrawn != nil:
		return one(c.CutOffWithdrawn.Kind, &kdspb.Change{What: &kdspb.Change_CutOffWithdrawn{
			CutOffWithdrawn: refToWire(cptoken.KeyID(*c.CutOffWithdrawn)),
		}})
	case c.Revoked != nil:
		return runsToWire(c.Index, c.Revoked, func(ids *kdspb.Ids) *kdspb.Change {
			return &kdspb.Change{What: &kdspb.Change_Revoked{Revoked: ids}}
		})
	case c.Withdrawn != nil:
		return runsToWire(c.Index, c.Withdrawn, func(ids *kdspb.Ids) *kdspb.Change {
			return &kdspb.Change{What: &kdspb.Change_Withdrawn{Withdrawn: ids}}
		})
	}
	return nil
}

func refToWire(id cptoken.KeyID) *kdspb.KeyRef {
	return &kdspb.KeyRef{Kind: string(id.Kind), Mesh: id.Mesh, Kid: id.KID}
}

func keyToWire(k *cptoken.PublicKey) *kdspb.Key {
	m := &kdspb.Key{Id: refToWire(k.ID), Alg: k.Alg, Der: k.DER(), State: string(k.State)}
	if r := k.Registered; r != nil {
		m.Registered = &kdspb.Constraints{
			Zones:         r.Zones,
			MaxLifetimeS:  int64(r.MaxLifetime / time.Second),
			AllowNoExpiry: r.AllowNoExpiry,
			AllowNoId:     r.AllowNoID,
		}
		for _, s := range r.Scopes {
			m.Registered.Scopes = append(m.Registered.Scopes, string(s))
		}
	}
	return m
}

// runsToWire cuts a run into messages of at most MaxRun ids.
func runsToWire(index uint64, run *cptoken.RevokedRun, wrap func(*kdspb.Ids) *kdspb.Change) []*kdspb.Change {
	if !run.Kind.Revocable() {
		return nil
	}
	var out []*kdspb.Change
	for ids := run.IDs; len(ids) > 0; {
		n := min(len(ids), kds.MaxRun)
		m := wrap(idsToWire(run.Kind, run.Mesh, ids[:n]))
		m.Index = index
		out = append(out, m)
		ids = ids[n:]
	}
	return out
}

func idsToWire(kind cptoken.Kind, mesh string, ids []cptoken.RevokedID) *kdspb.Ids {
	m := &kdspb.Ids{Kind: string(kind), Mesh: mesh}
	var uuids, others []int64 // expiries
	known := false
	for _, id := range ids {
		known = known || id.Expires != 0
		if u, ok := cptoken.ParseUUID(id.ID); ok {
			m.Uuids = append(m.Uuids, u[:]...)
			uuids = append(uuids, id.Expires)
			continue
		}
		m.Others = append(m.Others, id.ID)
		others = append(others, id.Expires)
	}
	if known {
		m.ExpiresS = append(uuids, others...)
	}
	return m
}
