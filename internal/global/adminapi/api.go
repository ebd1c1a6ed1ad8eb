package adminapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/auditlist"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/turns"
	"github.com/meridiankds/meridian/internal/runlog"
	"github.com/meridiankds/meridian/internal/support"
)

// Access is how the callers of a listener may prove who they are.
type Access int

const (
	// Network: a user token or a user's client certificate.
	Network Access = iota
	// Loopback: a user token or, where Config.LocalhostIsAdmin is set, a
	// connection from this machine.
	Loopback
	// Socket: the node's admin socket. Who can open it is an admin.
	Socket
	// Peer: requests that other members forward, each with its caller.
	Peer
)

// Config is what an API is made from. Store, Leads, Fleet and Verifier are required.
type Config struct {
	Store Store
	// Leads reports whether this node leads and may judge gates: a leader does only
	// once its fleet has begun anew, because gates are judged by what members report.
	Leads    func() bool
	Fleet    *fleet.Fleet
	Verifier *cptoken.Verifier
	// Roles tells what callers may do; nil: the group "admin" everything, others
	// nothing.
	Roles func() *access.Roles
	// UserCertificate tells whom a client certificate names, for handlers for
	// [Network]; nil: none is asked for.
	UserCertificate func(state *tls.ConnectionState) (user string, err error)
	// LocalhostIsAdmin applies to handlers for [Loopback].
	LocalhostIsAdmin bool
	// Members returns the ids of all members of the cluster; nil means that this
	// node is alone.
	Members func() []string
	// Certificates tells when the certificates in use end; nil: there are none.
	Certificates func() []apitypes.Certificate
	// Cluster are the other members; nil: there are none.
	Cluster Cluster
	// Losses knows of histories that nobody here knows; nil disables it.
	Losses Losses
	// ImportWait is how long a PUT of a key waits for zones and members before it
	// answers that they have it not yet; 0 means [DefaultImportWait].
	ImportWait time.Duration

	// NotIssued are the kinds of tokens that this node's settings have it refuse to
	// issue, because they are issued elsewhere: cptoken.Zone and cptoken.Dataplane.
	NotIssued []cptoken.Kind
	// Audit keeps what is done and who is refused; nil: nobody does. AuditOf asks
	// another member for its part; nil: there is none.
	Audit   *audit.Log
	AuditOf func(ctx context.Context, member string, q audit.Query) (audit.Page, error)
	// Refused counts requests that were refused, by reason; nil: nobody does.
	Refused func(reason ...string)
	// Slow waits before a failure of an address is answered, and returns what to answer;
	// nil: nothing is slowed. See throttle.Limiter.Answer.
	Slow func(ctx context.Context, remote string, err error) error
	// Verified is told of every user token that is shown: its kind, and "accepted" or
	// the reason of its refusal; nil: nobody is.
	Verified func(labels ...string)
	// Issued is told of every token that is issued, by its kind; nil: nobody is.
	Issued func(kind ...string)

	// Support makes archives for maintainers; nil: nobody does.
	Support *support.Source
	// RunLog is the log of this process, whose level may be set; nil: it may not.
	RunLog *runlog.Log

	Version  string
	Hostname string           // shown by GET /
	Logger   *slog.Logger     // nil: slog.Default
	Now      func() time.Time // nil: time.Now
}

// DefaultImportWait is well below what HTTP clients wait for an answer.
const DefaultImportWait = 10 * time.Second

// maxAudits is how many read the audit log at a time.
const maxAudits = 2

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
	bulk    *turns.Turns      // of the one list of ids that is taken at a time
	lines   *loglimit.Limiter // of all listeners together

	zoneWrites sync.Mutex // from reading a zone's record to writing it
	logs       *auditlist.Logs
	audits     *turns.Turns // of who reads them
	large      *turns.Turns // of the one large body that is dealt with
	listBody   int64        // maxListBody; tests make it small
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
	if cfg.Roles == nil {
		roles := access.DefaultRoles()
		cfg.Roles = func() *access.Roles { return roles }
	}
	if cfg.Issued == nil {
		cfg.Issued = func(...string) {}
	}
	if cfg.Verified == nil {
		cfg.Verified = func(...string) {}
	}
	if cfg.Refused == nil {
		cfg.Refused = func(...string) {}
	}
	if cfg.Members == nil {
		cfg.Members = func() []string { return []string{cfg.Store.NodeID()} }
	}
	return &API{
		cfg: cfg, store: cfg.Store, fleet: cfg.Fleet, log: cfg.Logger,
		streams: make(chan struct{}, maxStreams), bulk: turns.New(1),
		lines:  loglimit.New(loglimit.PerSecond, cfg.Now),
		logs:   &auditlist.Logs{Members: cfg.Members, Self: cfg.Store.NodeID(), Own: cfg.Audit, Of: cfg.AuditOf, Logger: cfg.Logger},
		audits: turns.New(maxAudits),
		large:  turns.New(1), listBody: maxListBody,
	}
}

// Handler serves the API on a listener of the given kind.
func (api *API) Handler(a Access) http.Handler {
	rt := newRouter(api.log, api.lines, access.Policy{
		Verify:           api.verifyUser,
		LocalhostIsAdmin: a == Loopback && api.cfg.LocalhostIsAdmin,
		Granted:          access.WarnOnce(api.log),
		Socket:           a == Socket,
		Forwarded:        a == Peer,
		Certificate:      api.certificate(a),
	}, api.cfg.Roles, api.routes())
	rt.elsewhere, rt.trail, rt.slowed = api.elsewhere, api.newTrail(), api.cfg.Slow
	rt.stranger, rt.members = api.getStrangersIndex, api.store.MemberNames
	if a == Peer {
		rt.elsewhere = api.oneHop
	}
	return rt
}

// certificate is how a listener of the given kind takes client certificates.
func (api *API) certificate(a Access) func(*tls.ConnectionState) (string, error) {
	if a != Network {
		return nil
	}
	return api.cfg.UserCertificate
}

// verifyUser checks an operator's token against the keys and revocations of now.
func (api *API) verifyUser(ctx context.Context, token string) (*cptoken.Claims, error) {
	claims, err := api.cfg.Verifier.Verify(api.store.View(), cptoken.User, token)
	if cptoken.ReasonOf(err) == cptoken.UnknownKey && api.cfg.Cluster != nil && api.cfg.Cluster.Refresh(ctx) {
		claims, err = api.cfg.Verifier.Verify(api.store.View(), cptoken.User, token)
	}
	if cptoken.ReasonOf(err) == cptoken.UnknownKey {
		if api.store.CanSign() != nil { // it may be the key of which this member cannot tell whether it is whole
			err = federation.Errorf(federation.Unavailable, "this member cannot check the token now, as it lacks a seal key").WithReason("sealed").
				WithHint("ask another member; which seal key this one lacks is in its log and in global seal status")
		}
	}
	result := "accepted"
	if err != nil {
		result = string(cptoken.ReasonOf(err))
	}
	api.cfg.Verified(string(cptoken.User), result)
	return claims, err
}

// routes is the table of contents of the API: what each route does, what it asks of its
// caller, and the command that it is to the audit log. PUT of a secret and POST of a list of ids ask for more where they
// do more than revoke.
func (api *API) routes() map[string]route {
	return map[string]route{
		"GET /{$}":       {access.AnyRole, "version", api.getIndex},
		"GET /who-am-i":  {access.Self, "who-am-i", api.getWhoAmI},
		"GET /v1/status": {access.Read, "status", api.getStatus},

		"GET /zones":           {access.Read, "get zones", api.listZones},
		"GET /zones/_overview": {access.Read, "inspect zones", api.listOverviews},
		"GET /zones+insights":  {access.Read, "inspect zones", api.listOverviews}, // its name for older clients of Kuma's
		"GET /zones/{zone}":    {access.Read, "get zone", api.getZone},
		"PUT /zones/{zone}":    {access.Administer, "apply zone", api.putZone},
		"DELETE /zones/{zone}": {access.Administer, "delete zone", api.deleteZone},
		"GET /v1/zones":        {access.Read, "inspect zones", api.listZoneStates},
		"GET /v1/zones/{zone}": {access.Read, "inspect zone", api.getZoneDetail},
		"PUT /v1/zones/{zone}": {access.Administer, "apply zone", api.applyZone},

		"GET /v1/requests/{id}": {access.AnyRole, "get request", api.getRequest},

		"GET /v1/audit": {access.Read, "get audit", api.listAudit},

		"GET /v1/log-level":    {access.Read, "log-level", api.getLogLevel},
		"POST /v1/log-level":   {access.Administer, "log-level", api.postLogLevel},
		"GET /v1/support-dump": {access.Administer, "support dump", api.getSupport},

		"GET /v1/cluster":                  {access.Read, "cluster status", api.getCluster},
		"POST /v1/cluster/transfer-leader": {access.Administer, "cluster transfer-leader", api.postTransferLeader},
		"POST /v1/cluster/remove":          {access.Administer, "cluster remove", api.postRemoveMember},
		"POST /v1/cluster/confirm-loss":    {access.Administer, "cluster confirm-loss", api.postConfirmLoss},

		"GET /v1/trust":            {access.Read, "certs trusted", api.getTrust},
		"GET /v1/expelled":         {access.Read, "certs expelled", api.listExpelled},
		"POST /v1/expelled":        {access.Administer, "certs expel", api.postExpel},
		"DELETE /v1/expelled/{id}": {access.Administer, "certs readmit", api.deleteExpelled},

		"GET /meshes":           {access.Read, "get meshes", api.listMeshes},
		"GET /meshes/{mesh}":    {access.Read, "get mesh", api.getMesh},
		"PUT /meshes/{mesh}":    {access.Administer, "apply mesh", api.putMesh},
		"DELETE /meshes/{mesh}": {access.Administer, "delete mesh", api.deleteMesh},

		"GET /global-secrets":                  {access.Read, "get global-secrets", api.listSecrets},
		"GET /global-secrets/{name}":           {access.Read, "get global-secret", api.getSecret},
		"PUT /global-secrets/{name}":           {access.Revoke, "apply global-secret", api.putSecret},
		"DELETE /global-secrets/{name}":        {access.Administer, "delete global-secret", api.deleteSecret},
		"GET /globalsecrets":                   {access.Read, "get global-secrets", api.listSecrets}, // their path for kumactl since 2.11
		"GET /globalsecrets/{name}":            {access.Read, "get global-secret", api.getSecret},
		"PUT /globalsecrets/{name}":            {access.Revoke, "apply global-secret", api.putSecret},
		"DELETE /globalsecrets/{name}":         {access.Administer, "delete global-secret", api.deleteSecret},
		"GET /meshes/{mesh}/secrets":           {access.Read, "get secrets", api.listSecrets},
		"GET /meshes/{mesh}/secrets/{name}":    {access.Read, "get secret", api.getSecret},
		"PUT /meshes/{mesh}/secrets/{name}":    {access.Revoke, "apply secret", api.putSecret},
		"DELETE /meshes/{mesh}/secrets/{name}": {access.Administer, "delete secret", api.deleteSecret},
		"POST /tokens/control-plane":           {access.Issue, "generate control-plane-token", api.postControlPlaneToken},
		"POST /tokens/zone":                    {access.Issue, "generate zone-token", api.postZoneToken},
		"POST /tokens/dataplane":               {access.Issue, "generate dataplane-token", api.postDataplaneToken},
		"POST /tokens/user":                    {access.Issue, "generate user-token", api.postUserToken},
		"GET /v1/keys":                         {access.Read, "keys list", api.listKeys},
		"GET /v1/keys/{kind}/{kid}/holding":    {access.Read, "keys list", api.getHolding},
		"POST /v1/keys/prepare":                {access.Administer, "keys prepare", api.postPrepare},
		"POST /v1/keys/activate":               {access.Administer, "keys activate", api.postActivate},
		"POST /v1/keys/retire":                 {access.Administer, "keys retire", api.postRetire},
		"POST /v1/keys/remove":                 {access.Administer, "keys remove", api.postRemove},
		"GET /v1/public-keys":                  {access.Read, "get public-keys", api.listPublicKeys},
		"GET /v1/public-keys/{kind}/{kid}":     {access.Read, "get public-key", api.getPublicKey},
		"PUT /v1/public-keys/{kind}/{kid}":     {access.Administer, "apply public-key", api.putPublicKey},
		"DELETE /v1/public-keys/{kind}/{kid}":  {access.Administer, "delete public-key", api.deletePublicKey},
		"GET /v1/revocations":                  {access.ReadRevocations, "get revocations", api.listRevocations},
		"POST /v1/revocations":                 {access.Revoke, "revoke", api.postRevocations},
		"POST /v1/revocations/withdraw":        {access.Administer, "revoke --withdraw", api.postWithdraw},
		"GET /v1/snapshot":                     {access.Administer, "snapshot save", api.getSnapshot},
		"POST /v1/snapshot/restore":            {access.Administer, "snapshot restore", api.postRestore},
		"GET /v1/seal":                         {access.Read, "seal status", api.getSeal},
		"POST /v1/seal/rotate":                 {access.Administer, "seal rotate", api.postSealRotate},
		"POST /v1/seal/rotate-cluster-secret":  {access.Administer, "seal rotate --cluster-secret", api.postRotateSecret},
		"POST /v1/revocations/bulk":            {access.Revoke, "revoke --ids-file", api.postBulk},
		"GET /v1/revocation-lists":             {access.ReadRevocations, "get revocations", api.listRevocationLists},
		"GET /v1/cut-offs":                     {access.ReadRevocations, "get cut-offs", api.listCutOffs},
		"POST /v1/cut-offs":                    {access.Revoke, "revoke --before", api.postCutOff},
		"POST /v1/cut-offs/withdraw":           {access.Administer, "revoke --withdraw --cut-off", api.postWithdrawCutOff},
	}
}

// notLeader refuses a step whose gate only the leader can judge.
func (api *API) notLeader() error {
	if api.cfg.Leads() {
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
