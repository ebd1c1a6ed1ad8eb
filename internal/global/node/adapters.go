package node

import (
	"cmp"
	"context"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/admission"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/loss"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/metrics"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/raftstore"
)

// Each adapter has the methods of the one interface that it serves and no others, and
// each of these interfaces has a method that the store itself lacks. So none of them
// compiles in the place of another, nor does the bare store in the place of any.
var (
	_ admission.Store   = admissionStore{}
	_ keyring.Source    = keySource{}
	_ kds.Catalog       = kumaCatalog{}
	_ kds.Source        = zoneSource{}
	_ kds.Authenticator = sealedGate{}
	_ kds.Judge         = sealedGate{} // the gate must not hide that the Authenticator can
)

// admissionStore is the state that admission decides by: the keys of this node's own
// settings verify zone tokens too, and that a zone joined is recorded by the leader.
type admissionStore struct {
	store *raftstore.Store
	peers *peers
	keys  *keyring.Keyring
}

// VerifyingKeys implements admission.Store.
func (a admissionStore) VerifyingKeys() cptoken.View { return a.keys.View() }

// ControlPlaneKey implements admission.Store.
func (a admissionStore) ControlPlaneKey(serial uint64) (key *issue.SigningKey, imported bool) {
	return a.store.ControlPlaneKey(serial)
}

// Zone implements admission.Store.
func (a admissionStore) Zone(name string) (federation.Zone, bool) { return a.store.Zone(name) }

// Zones implements admission.Store.
func (a admissionStore) Zones() []federation.Zone { return a.store.Zones() }

// RecordZone implements admission.Store.
func (a admissionStore) RecordZone(ctx context.Context, name string) (federation.Zone, error) {
	if z, known := a.store.Zone(name); a.store.IsLeader() || known && !z.Deleted && !z.FirstSeen.IsZero() {
		return a.store.SeeZone(ctx, name)
	}
	to, err := a.peers.leader()
	if err != nil {
		return federation.Zone{}, err
	}
	return a.peers.client.SeeZone(ctx, to, name)
}

// keySource is the cluster's keys and revocations as the keyring joins them with this
// node's own.
type keySource struct{ store *raftstore.Store }

// View implements keyring.Source.
func (k keySource) View() cptoken.View { return k.store.View() }

// Changed implements keyring.Source: it tells of what may concern whom the keys let in.
func (k keySource) Changed() <-chan struct{} { return k.store.WatchAdmission() }

// zoneSource is the state as Meridian zones get it.
type zoneSource struct {
	store  *raftstore.Store
	losses *loss.Watch
	// current waits a moment until this member has all that was acknowledged before, and
	// reports whether it does: not where it cannot tell.
	current func(context.Context) bool
}

// Head implements kds.Source.
func (z zoneSource) Head() (cluster string, rev federation.Revision) { return z.store.Head() }

// Watch implements kds.Source.
func (z zoneSource) Watch() <-chan struct{} { return z.store.Watch() }

// Since implements kds.Source.
func (z zoneSource) Since(rev federation.Revision) (cptoken.Delta, error) { return z.store.Since(rev) }

// Place implements kds.Source. What this member does not know may be lost: whoever leads
// finds out. That nothing proves a position is said only by a member that has everything:
// one that lags may lack the secret that the position is under, and the state that merges
// would take from the zone what it has.
func (z zoneSource) Place(ctx context.Context, zone string, position []byte) (cptoken.Standing, federation.Revision) {
	shown := z.store.Place(position)
	if shown.Standing == cptoken.Unproven {
		if !z.current(ctx) {
			return cptoken.Ahead, shown.Revision
		}
		shown = z.store.Place(position)
	}
	if shown.Standing == cptoken.Ahead || shown.More || shown.Unproved {
		z.losses.Note(fleet.Shown{By: "zone " + zone, Position: position})
	}
	return shown.Standing, shown.Revision
}

// freshFor is how long ago this member may have heard the leader to begin a Kuma zone
// with what it has: less than an election takes to be noticed.
const freshFor = 2 * time.Second

// kumaCatalog is the state as Kuma zones are shown it.
type kumaCatalog struct{ store *raftstore.Store }

// Picture implements kds.Catalog.
func (c kumaCatalog) Picture() kds.Picture { return c.store.Picture() }

// WatchPicture implements kds.Catalog.
func (c kumaCatalog) WatchPicture() <-chan struct{} { return c.store.WatchPicture() }

// Fresh implements kds.Catalog. The leader has everything; a member that heard it just
// now is behind by less than zones could notice.
func (c kumaCatalog) Fresh() bool {
	return c.store.IsLeader() || c.store.LeaderContact() < freshFor && !c.leaderless()
}

// leaderless reports that there is nobody to have heard.
func (c kumaCatalog) leaderless() bool {
	id, _ := c.store.Leader()
	return id == ""
}

// sealedGate admits no zone while this member lacks a seal key: it could not verify
// every control plane token, and the zone finds a member that can. It judges open
// sessions as the Authenticator does.
type sealedGate struct {
	zones    *admission.Authenticator
	store    *raftstore.Store
	verified metrics.Counter
}

// Authenticate implements kds.Authenticator.
func (g sealedGate) Authenticate(ctx context.Context, c kds.Credentials) (kds.Admission, error) {
	if err := g.store.CanSign(); err != nil {
		return kds.Admission{}, err
	}
	a, err := g.zones.Authenticate(ctx, c)
	switch {
	case err != nil:
		e := federation.AsError(err)
		g.verified.Add(string(cptoken.ControlPlane), cmp.Or(e.Reason, string(e.Code)))
	case a.Authenticated:
		g.verified.Add(string(cptoken.ControlPlane), "accepted")
	}
	return a, err
}

// Judge implements kds.Judge.
func (g sealedGate) Judge(a kds.Admission) error { return g.zones.Judge(a) }
