package adminapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// holding tells who holds the last step of a key and whether the next may be
// taken: activation waits until members and zones have the prepared key, removal
// until no member signs with the retiring one. What zones hold of a retiring key
// is shown and not waited for, since to them it verifies as before.
func (api *API) holding(k raftstore.Key) fleet.Holding {
	_, head := api.store.Head()
	need := federation.Revision{History: head.History, Index: neededIndex(k)}
	h := api.fleet.Gate(need, api.cfg.Members(), k.ID)
	if k.State == cptoken.Retiring {
		h.Open = len(h.Members) == 0
	}
	if k.ID.Kind == cptoken.Zone || k.ID.Kind == cptoken.Dataplane {
		h.Offline = api.offline(h)
	}
	return h
}

// awaitGate waits until the gate of a key is open, but at most the given time, and
// returns who holds the key then.
//
// It returns earlier where one of enough is content with what is held.
func (api *API) awaitGate(ctx context.Context, k raftstore.Key, most time.Duration, enough ...func(fleet.Holding) bool) fleet.Holding {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	// The end of a lease is no change that anybody signals.
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for {
		changed := api.fleet.Changed()
		h := api.holding(k)
		if h.Open || slices.ContainsFunc(enough, func(content func(fleet.Holding) bool) bool { return content(h) }) {
			return h
		}
		select {
		case <-changed:
		case <-again.C:
		case <-deadline.C:
			return h
		case <-ctx.Done():
			return h
		}
	}
}

// awaitZones waits until every zone that is online has acknowledged a change to a key,
// but no longer than an import would nor for zones that never can, and returns who has.
func (api *API) awaitZones(ctx context.Context, key cptoken.KeyID, index uint64) fleet.Holding {
	_, head := api.store.Head()
	need := federation.Revision{History: head.History, Index: index}
	deadline := time.NewTimer(api.cfg.ImportWait)
	defer deadline.Stop()
	for {
		changed := api.fleet.Changed()
		h := api.fleet.Dropped(need, api.cfg.Members(), key)
		h.Offline = api.offline(h)
		if h.Open || h.WaitsForKuma() {
			return h
		}
		select {
		case <-changed:
		case <-deadline.C:
			return h
		case <-ctx.Done():
			return h
		}
	}
}

// neededIndex is the Raft index of what a key's next step waits for.
func neededIndex(k raftstore.Key) uint64 {
	switch k.State {
	case cptoken.Prepared:
		return k.PreparedIndex
	case cptoken.Retiring:
		return k.RetiringIndex
	}
	return k.Index
}

// offline names all enabled zones that are not connected: the fleet knows only
// those that once were, since it began.
func (api *API) offline(h fleet.Holding) []string {
	connected := map[string]bool{}
	for _, name := range slices.Concat(h.Held, h.Waiting, h.Unproven) {
		connected[name] = true
	}
	var names []string
	for _, z := range api.zones() {
		if z.Enabled && !connected[z.Name] {
			names = append(names, z.Name)
		}
	}
	return names
}

// notHeld refuses a step whose gate is closed, naming who is waited for.
func notHeld(k raftstore.Key, h fleet.Holding) error {
	var waits []string
	if len(h.Waiting) > 0 && k.State == cptoken.Prepared {
		waits = append(waits, "zones that have not acknowledged it: "+nameList(h.Waiting))
	}
	if len(h.Members) > 0 {
		waits = append(waits, "members that have not reported it: "+nameList(h.Members))
	}
	refusal := federation.Errorf(federation.Conflict, "key %s is not held everywhere; %s", state.KeyName(k.ID), strings.Join(waits, "; ")).
		WithReason("not_held")
	if h.LacksKumaZones() {
		return refusal.WithHint("these zones run Kuma's control plane and cannot acknowledge a dataplane key: put what `global get public-keys --format kuma-zone-config` prints into their configuration, then force the step")
	}
	return refusal.
		WithHint("try again in a moment; disconnect or disable a zone that does not answer, or force the step, which leaves that zone refusing good tokens until it catches up")
}

// holdingOf is who holds a key, and at which zones others fetched the key set with it.
func (api *API) holdingOf(k raftstore.Key, h fleet.Holding) apitypes.Holding {
	j := holdingJSON(h)
	for _, c := range api.fleet.Copies(k.ID) {
		j.Copies = append(j.Copies, apitypes.KeySetCopy{Zone: c.Zone, Last: c.Last.UTC()})
	}
	return j
}

func holdingJSON(h fleet.Holding) apitypes.Holding {
	return apitypes.Holding{
		Open: h.Open, Held: orEmpty(h.Held), Waiting: orEmpty(h.Waiting), Offline: orEmpty(h.Offline),
		Members: orEmpty(h.Members), Kuma: h.Kuma, Unproven: h.Unproven, Silent: h.Silent,
	}
}
