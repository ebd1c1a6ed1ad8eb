package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/adminapi/apitypes"
	"github.com/meridiankds/meridian/internal/fleet"
	"github.com/meridiankds/meridian/internal/loglimit"
)

// Access is how the callers of a listener may prove who they are.
type Access int

const (
	// Network: a user token.
	Network Access = iota
	// Loopback: a user token or, where Config.LocalhostIsAdmin is set, a
	// connection from this machine.
	Loopback
	// Socket: the node's admin socket. Who can open it is an admin.
	Socket
	// Peer: requests that other members forward, each with its caller.
	Peer
)

// Config is what an API is made from. Store, Fleet and Verifier are required.
type Config struct {
	Store    Store
	Fleet    *fleet.Fleet
	Verifier *cptoken.Verifier
	// LocalhostIsAdmin applies to handlers for [Loopback].
	LocalhostIsAdmin bool
	// Members returns the ids of all members of the cluster; nil means that this
	// node is alone.
	Members func() []string
	// Certificates tells when the certificates in use end; nil: there are none.
	Certificates func() []apitypes.Certificate
	// Cluster are the other members; nil: there are none.
	Cluster Cluster
	// ImportWait is how long a PUT of a key waits for zones and members before it
	// answers that they have it not yet; 0 means [DefaultImportWait].
	ImportWait time.Duration

	// Issued is told of every token that is issued, by its kind; nil: nobody is.
	Issued func(kind ...string)

	Version  string
	Hostname string           // shown by GET /
	Logger   *slog.Logger     // nil: slog.Default
	Now      func() time.Time // nil: time.Now
}

// DefaultImportWait is well below what HTTP clients wait for an answer.
const DefaultImportWait = 10 * time.Second

// maxBody bounds request bodies, maxListBody those that may hold a whole list of
// revocations: a million ids and more. One of these is read at a time, because in
// memory it takes several times its size.
const (
	maxBody     = 1 << 20
	maxListBody = 64 << 20
	// listBodyTime is how long such a body may take to arrive, instead of the time
	// that others have.
	listBodyTime = 2 * time.Minute
)

// API serves the global's HTTP API.
type API struct {
	cfg   Config
	store Store
	fleet *fleet.Fleet
	log   *slog.Logger
	// streams holds a place for each backup that is under way.
	streams chan struct{}
	bulk    chan struct{}     // the place of the one list of ids that is taken at a time
	lines   *loglimit.Limiter // of all listeners together

	zoneWrites sync.Mutex    // from reading a zone's record to writing it
	large      chan struct{} // holds a token while a large body is dealt with
	listBody   int64         // maxListBody; tests make it small
}

// New returns an API. It starts nothing.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ImportWait <= 0 {
		cfg.ImportWait = DefaultImportWait
	}
	if cfg.Certificates == nil {
		cfg.Certificates = func() []apitypes.Certificate { return []apitypes.Certificate{} }
	}
	if cfg.Issued == nil {
		cfg.Issued = func(...string) {}
	}
	if cfg.Members == nil {
		cfg.Members = func() []string { return []string{cfg.Store.NodeID()} }
	}
	return &API{
		cfg: cfg, store: cfg.Store, fleet: cfg.Fleet, log: cfg.Logger,
		streams: make(chan struct{}, maxStreams), bulk: make(chan struct{}, 1),
		lines: loglimit.New(loglimit.PerSecond, cfg.Now),
		large: make(chan struct{}, 1), listBody: maxListBody,
	}
}

// Handler serves the API on a listener of the given kind.
func (api *API) Handler(a Access) http.Handler {
	rt := newRouter(api.log, api.lines, access.Policy{
		Verify:           api.verifyUser,
		LocalhostIsAdmin: a == Loopback && api.cfg.LocalhostIsAdmin,
		Socket:           a == Socket,
		Forwarded:        a == Peer,
	}, api.routes())
	rt.elsewhere = api.elsewhere
	if a == Peer {
		rt.elsewhere = api.oneHop
	}
	return rt
}

// verifyUser checks an operator's token against the keys and revocations of now.
func (api *API) verifyUser(ctx context.Context, token string) (*cptoken.Claims, error) {
	claims, err := api.cfg.Verifier.Verify(api.store.View(), cptoken.User, token)
	if cptoken.ReasonOf(err) == cptoken.UnknownKey && api.cfg.Cluster != nil && api.cfg.Cluster.Refresh(ctx) {
		return api.cfg.Verifier.Verify(api.store.View(), cptoken.User, token)
	}
	return claims, err
}

// routes is the table of contents of the API.
func (api *API) routes() map[string]handler {
	return map[string]handler{
		"GET /{$}":       api.getIndex,
		"GET /who-am-i":  api.getWhoAmI,
		"GET /v1/status": api.getStatus,

		"GET /zones":           api.listZones,
		"GET /zones/_overview": api.listOverviews,
		"GET /zones/{zone}":    api.getZone,
		"PUT /zones/{zone}":    api.putZone,
		"DELETE /zones/{zone}": api.deleteZone,
		"GET /v1/zones":        api.listZoneStates,
		"GET /v1/zones/{zone}": api.getZoneDetail,

		"GET /v1/requests/{id}": api.getRequest,

		"GET /v1/cluster":                  api.getCluster,
		"POST /v1/cluster/transfer-leader": api.postTransferLeader,
		"POST /v1/cluster/remove":          api.postRemoveMember,

		"GET /meshes":           api.listMeshes,
		"GET /meshes/{mesh}":    api.getMesh,
		"PUT /meshes/{mesh}":    api.putMesh,
		"DELETE /meshes/{mesh}": api.deleteMesh,

		"GET /global-secrets":                  api.listSecrets,
		"GET /global-secrets/{name}":           api.getSecret,
		"PUT /global-secrets/{name}":           api.putSecret,
		"DELETE /global-secrets/{name}":        api.deleteSecret,
		"GET /meshes/{mesh}/secrets":           api.listSecrets,
		"GET /meshes/{mesh}/secrets/{name}":    api.getSecret,
		"PUT /meshes/{mesh}/secrets/{name}":    api.putSecret,
		"DELETE /meshes/{mesh}/secrets/{name}": api.deleteSecret,
		"POST /tokens/control-plane":           api.postControlPlaneToken,
		"POST /tokens/zone":                    api.postZoneToken,
		"POST /tokens/dataplane":               api.postDataplaneToken,
		"POST /tokens/user":                    api.postUserToken,
		"GET /v1/keys":                         api.listKeys,
		"GET /v1/keys/{kind}/{kid}/holding":    api.getHolding,
		"POST /v1/keys/prepare":                api.postPrepare,
		"POST /v1/keys/activate":               api.postActivate,
		"POST /v1/keys/retire":                 api.postRetire,
		"POST /v1/keys/remove":                 api.postRemove,
		"GET /v1/revocations":                  api.listRevocations,
		"POST /v1/revocations":                 api.postRevocations,
		"POST /v1/revocations/withdraw":        api.postWithdraw,
		"GET /v1/snapshot":                     api.getSnapshot,
		"POST /v1/snapshot/restore":            api.postRestore,
		"GET /v1/seal":                         api.getSeal,
		"POST /v1/seal/rotate":                 api.postSealRotate,
		"POST /v1/revocations/bulk":            api.postBulk,
		"GET /v1/revocation-lists":             api.listRevocationLists,
		"GET /v1/cut-offs":                     api.listCutOffs,
		"POST /v1/cut-offs":                    api.postCutOff,
		"POST /v1/cut-offs/withdraw":           api.postWithdrawCutOff,
	}
}

// notLeader refuses a step whose gate only the leader can judge.
func (api *API) notLeader() error {
	if api.store.IsLeader() {
		return nil
	}
	id, addr := api.store.Leader()
	err := federation.Errorf(federation.Unavailable, "this node is not the leader").WithReason("not_leader")
	err.RetryAfter = time.Second
	if id == "" {
		return err.WithHint("no leader is known; try again in a moment")
	}
	return err.WithHint("ask the leader, node %s at %s", id, addr)
}
