package adminapi

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore"
)

// Store is what the API needs of the replicated state. *raftstore.Store is one.
type Store interface {
	State
	Proposer
	Keeper
}

// State reads this node's copy. It never waits for Raft, but in ReadIndex.
type State interface {
	NodeID() string
	ClusterID() string
	Leader() (id, addr string)
	// MemberNames is what operators call each member, by its id.
	MemberNames() map[string]string
	// MemberID is the id of the member that is called so: by its id, name or address.
	MemberID(word string) string
	Applied() uint64
	// FeatureLevel is the level that the cluster is at: all that a member may write.
	FeatureLevel() uint32
	Head() (cluster string, rev federation.Revision)
	// ReadIndex makes sure that this node still leads, and Requests then has every
	// change that was made under a request id.
	ReadIndex() (uint64, error)
	Requests(prefix string) []raftstore.Request
	Lag(rev federation.Revision) (changes int, since time.Time, ok bool)

	View() cptoken.View
	Keys() []raftstore.Key
	Key(id cptoken.KeyID) (raftstore.Key, bool)
	Signer(kind cptoken.Kind, mesh string) (*issue.SigningKey, error)
	ControlPlaneKey(serial uint64) (key *issue.SigningKey, imported bool)

	Zones() []federation.Zone
	Zone(name string) (federation.Zone, bool)
	Meshes() []raftstore.Mesh
	Mesh(name string) (raftstore.Mesh, bool)

	// Revocations returns at most limit revocations in the order of their ids,
	// from the one behind after.
	Revocations(kind cptoken.Kind, mesh, after string, limit int) []raftstore.Revocation
	RevocationCount(kind cptoken.Kind, mesh string) int
	CutOffs() []raftstore.CutOff

	// Losses are the losses of acknowledged changes that nobody has confirmed.
	Losses() []raftstore.Loss

	// Expelled are the nodes and certificates that are refused on every port.
	Expelled() []raftstore.Expelled
}

// Proposer changes the state of the cluster. Each method is one command, applied
// when it returns nil; on a node that is not the leader it changes nothing.
type Proposer interface {
	PrepareKey(ctx context.Context, o raftstore.Origin, kind cptoken.Kind, mesh string) (raftstore.Key, error)
	ImportKey(ctx context.Context, o raftstore.Origin, ref issue.Ref, data []byte) (raftstore.Key, error)
	ActivateKey(ctx context.Context, o raftstore.Origin, id cptoken.KeyID) (raftstore.Key, error)
	RetireKey(ctx context.Context, o raftstore.Origin, id cptoken.KeyID) (raftstore.Key, error)
	RemoveKey(ctx context.Context, o raftstore.Origin, id cptoken.KeyID, opts raftstore.RemoveOptions) (raftstore.Key, error)
	// RegisterKey adds a public key, or gives one that is there other bounds.
	RegisterKey(ctx context.Context, o raftstore.Origin, pub *cptoken.PublicKey) (raftstore.Key, error)

	Revoke(ctx context.Context, o raftstore.Origin, kind cptoken.Kind, mesh string, ids []cptoken.RevokedID, reason string) (raftstore.Change, error)
	Withdraw(ctx context.Context, o raftstore.Origin, kind cptoken.Kind, mesh string, ids []string) (raftstore.Change, error)

	SetCutOff(ctx context.Context, o raftstore.Origin, c cptoken.CutOff, reason string) (raftstore.Change, error)
	WithdrawCutOff(ctx context.Context, o raftstore.Origin, id cptoken.CutOffID) (raftstore.Change, error)

	ApplyZone(ctx context.Context, o raftstore.Origin, z federation.Zone) (federation.Zone, error)
	DeleteZone(ctx context.Context, o raftstore.Origin, name string) error
	// ApplyMesh makes a mesh with a prepared key; who calls it has it activated.
	ApplyMesh(ctx context.Context, o raftstore.Origin, name string) (raftstore.Mesh, error)
	DeleteMesh(ctx context.Context, o raftstore.Origin, name string) error

	// ConfirmLoss takes the alarms of losses away. With adopt it begins a history above
	// those that were shown.
	ConfirmLoss(ctx context.Context, o raftstore.Origin, adopt bool, shown []federation.History) (losses int, c raftstore.Change, err error)

	Expel(ctx context.Context, o raftstore.Origin, e raftstore.Expelled) error
	Readmit(ctx context.Context, o raftstore.Origin, id string) error
}

// stamp is a time as the API writes it; the zero time is left out.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
