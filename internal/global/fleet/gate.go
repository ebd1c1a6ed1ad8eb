package fleet

import (
	"maps"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// Holding says who holds a change and whether the step that waits for it may be
// taken. All lists are sorted.
type Holding struct {
	// Open: nobody is waited for.
	Open bool
	// Held names the zones all of whose sessions acknowledged the change, Waiting
	// those with a session that did not.
	Held    []string
	Waiting []string
	// Offline names the zones without an open session on a live member. They are
	// not waited for: they take the change before anything else when they return.
	Offline []string
	// Kuma names, for a dataplane key and a registered one, the zones that run Kuma's control
	// plane, also those that are offline or unproven: they neither take nor drop one, because
	// they have these keys from their own configuration and from nobody else. Those of them
	// that stand in Waiting are waited for: an operator who put the key there has to say
	// so by forcing the step.
	Kuma []string
	// Unproven names the zones all of whose open sessions are unauthenticated.
	// They are not waited for.
	Unproven []string
	// Members are the members that have not reported in this leadership, or not
	// yet applied the change.
	Members []string
	// Silent are the members whose lease ended. They are not waited for.
	Silent []string
}

// waitsForZones reports whether zones must hold a key of this kind before it
// signs. A control plane key never leaves the members, and a user token is an
// operator's: the few requests that a zone's API would refuse until it catches up
// are not worth making a rotation wait for every zone.
func waitsForZones(kind cptoken.Kind) bool {
	return kind == cptoken.Zone || kind == cptoken.Dataplane
}

// Gate tells who holds the change at revision need, which concerns a key. A zone that
// does not understand it does not hold it. members are the ids of all members of the cluster. Only the leader
// may act on the answer.
//
// For a kind that zones need not hold, only Members, Silent and Open are set.
func (f *Fleet) Gate(need federation.Revision, members []string, key cptoken.KeyID) Holding {
	return f.holding(need, members, key, waitsForZones(key.Kind))
}

// Dropped is Gate for a change that takes a key away: of every kind that zones hold, also
// of those whose rotation waits for none of them, zones accept tokens until they have it.
func (f *Fleet) Dropped(need federation.Revision, members []string, key cptoken.KeyID) Holding {
	return f.holding(need, members, key, key.Kind.AtZones())
}

func (f *Fleet) holding(need federation.Revision, members []string, key cptoken.KeyID, zones bool) Holding {
	f.mu.Lock()
	defer f.mu.Unlock()
	var h Holding
	for _, m := range members {
		switch f.standing(m, need.Index) {
		case waiting:
			h.Members = append(h.Members, m)
		case silent:
			h.Silent = append(h.Silent, m)
		}
	}
	if zones {
		f.countZones(&h, need, key)
	}
	for _, list := range []*[]string{&h.Members, &h.Silent} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	h.Open = len(h.Members) == 0 && len(h.Waiting) == 0
	return h
}

// standing is where a member stands towards a change.
type standing int

const (
	applied standing = iota
	waiting
	silent
)

func (f *Fleet) standing(member string, index uint64) standing {
	now := f.now()
	r, known := f.reports[member]
	switch {
	case slices.Contains(f.diverged, member):
		return waiting
	case !known || r.Told || r.leadership != f.leading:
		if clock.Running(f.since.Add(f.lease), now) || known && clock.Running(r.LeaseUntil, now) {
			return waiting
		}
		return silent
	case !clock.Running(r.LeaseUntil, now):
		return silent
	case r.Applied < index:
		return waiting
	}
	return applied
}

// hold is what a zone's sessions come to. Of two sessions the higher value wins.
type hold int

const (
	offline hold = iota
	unproven
	held
	lacking
)

// countZones sorts every zone that has or had a session into h. A report of a
// former leadership is read like any other: its sessions may be alive, and what
// it says they acknowledged was durable then.
func (f *Fleet) countZones(h *Holding, need federation.Revision, key cptoken.KeyID) {
	now := f.now()
	zones := map[string]hold{}
	for _, r := range f.reports {
		live := clock.Running(r.LeaseUntil, now)
		for i := range r.Sessions {
			s := &r.Sessions[i]
			zones[s.Zone] = max(zones[s.Zone], f.holdOf(s, live, need, key))
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		list := [...]*[]string{offline: &h.Offline, unproven: &h.Unproven, held: &h.Held, lacking: &h.Waiting}[zones[zone]]
		*list = append(*list, zone)
	}
	if _, serial := cptoken.ParseSerialKID(key.KID); key.Kind == cptoken.Dataplane || key.KID != "" && !serial {
		for _, z := range f.kumaZones() {
			h.Kuma = append(h.Kuma, z.Zone)
		}
	}
}

// WaitsForKuma reports whether nobody is waited for but zones that can never
// acknowledge.
func (h Holding) WaitsForKuma() bool {
	return len(h.Members) == 0 && h.LacksKumaZones()
}

// LacksKumaZones reports whether every zone that is waited for can never acknowledge.
func (h Holding) LacksKumaZones() bool {
	return len(h.Waiting) > 0 && !slices.ContainsFunc(h.Waiting, func(zone string) bool { return !slices.Contains(h.Kuma, zone) })
}

func (f *Fleet) holdOf(s *Session, live bool, need federation.Revision, key cptoken.KeyID) hold {
	switch {
	case !live || !s.Open():
		return offline
	case !s.Authenticated && !f.trust:
		return unproven
	case !s.Meridian && key.Kind == cptoken.Dataplane:
		return lacking // whatever it acknowledges
	case s.Acked.Covers(need) && (s.NotHeld == "" || !cptoken.Lacks(s.Lacking(), key)):
		return held
	}
	return lacking
}
