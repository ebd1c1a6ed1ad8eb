package apitypes

import "time"

// ZoneIndex is the answer to GET /.
type ZoneIndex struct {
	Hostname   string `json:"hostname"`
	Tagline    string `json:"tagline"`
	Product    string `json:"product"`
	Version    string `json:"version"`
	InstanceID string `json:"instanceId"`
	ClusterID  string `json:"clusterId"`
	Zone       string `json:"zone"`
}

// ZoneStatus is the answer to GET /v1/status.
type ZoneStatus struct {
	Zone     string `json:"zone"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// Cluster is "" and Revision "none" while the zone knows nothing, which Empty
	// says too: it then refuses every token.
	Cluster  string     `json:"cluster"`
	Revision string     `json:"revision"`
	Empty    bool       `json:"empty"`
	Global   ZoneGlobal `json:"global"`
	// Unwritten is why the zone cannot make durable what it is sent; absent where it can.
	Unwritten string `json:"unwritten,omitempty"`
	// XDSProblems are what is wrong in the folder of resources, each with file and line.
	XDSProblems []string `json:"xdsProblems,omitempty"`
	// NotHeld names what the global sends and this version does not understand.
	NotHeld []string `json:"notHeld,omitempty"`
	// Kept says what the zone refuses beyond the global's list; see [Session].
	Kept []string `json:"kept,omitempty"`
	// Authentication is how proxies prove who they are.
	Authentication ZoneAuthentication `json:"authentication"`
	Keys           []ZoneKey          `json:"keys"`
	// Revocations holds the number of revoked ids of each kind of token.
	Revocations map[string]int `json:"revocations"`
	CutOffs     int            `json:"cutOffs"`
	// KeySets are those that others fetched here in the last 30 days.
	KeySets []KeySetUse `json:"keySets,omitempty"`
	// Certificates are those in use: the one shown to proxies first, then what the
	// zone needs towards the global.
	Certificates []Certificate `json:"certificates"`
}

// ZoneAuthentication is how proxies prove to a zone who they are.
type ZoneAuthentication struct {
	// ZoneProxy and DPProxy are zoneToken, dpToken, serviceAccountToken or none.
	ZoneProxy string `json:"zoneProxy"`
	DPProxy   string `json:"dpProxy"`
	// IgnoredSecrets are the kinds of tokens for which the keys that the global sends
	// do not count here (useSecrets: false).
	IgnoredSecrets []string `json:"ignoredSecrets,omitempty"`
}

// ZoneGlobal is what the zone knows of the global's side.
type ZoneGlobal struct {
	Connected bool   `json:"connected"`
	Address   string `json:"address,omitempty"`
	Member    string `json:"member,omitempty"` // of this connection, or the one heard last
	// Kind is "meridian" or "kuma": which kind of global it is, or was when the zone was
	// connected last.
	Kind string `json:"kind,omitempty"`
	// Since is when the connection was made or lost.
	Since     *time.Time `json:"since,omitempty"`
	LastError string     `json:"lastError,omitempty"`
	// LastHeard is absent where the global was never heard, also not before a
	// restart of the zone. AgeSeconds is the time since then.
	LastHeard  *time.Time `json:"lastHeard,omitempty"`
	AgeSeconds *float64   `json:"ageSeconds,omitempty"`
	// MaxStale is how old that may be, "" for however old; Stale that it is older.
	MaxStale string `json:"maxStale,omitempty"`
	Stale    bool   `json:"stale"`
}

// ZoneKey is a public key that the zone verifies tokens with.
type ZoneKey struct {
	Kind        string `json:"kind"`
	Mesh        string `json:"mesh,omitempty"`
	KID         string `json:"kid"`
	State       string `json:"state"`
	Alg         string `json:"alg"`
	Fingerprint string `json:"fingerprint"` // SHA-256 of the SubjectPublicKeyInfo, hexadecimal
	Registered  bool   `json:"registered,omitempty"`
	Static      bool   `json:"static,omitempty"` // of this zone's own settings
	// NotInKeySet says why the zone's key sets leave the key out; "" where they have it.
	NotInKeySet string `json:"notInKeySet,omitempty"`
}

// ZoneProxies is the answer to GET /v1/proxies: the connections that are open, ordered
// by type, mesh and name.
type ZoneProxies struct {
	Total int         `json:"total"`
	Items []ZoneProxy `json:"items"`
}

// ZoneProxy is an open connection of a proxy.
type ZoneProxy struct {
	Type     string              `json:"type"` // dataplane, ingress or egress
	Mesh     string              `json:"mesh,omitempty"`
	Name     string              `json:"name"`
	Tags     map[string][]string `json:"tags,omitempty"`
	Identity Identity            `json:"identity"` // what it proved, as /v1/authenticate answers
	Remote   string              `json:"remote"`
	Protocol string              `json:"protocol"` // ads or delta-ads
	Version  string              `json:"version,omitempty"`
	Since    time.Time           `json:"since"`
	// Resources is how far it is with each type of resource that it asked for.
	Resources []ZoneProxyResources `json:"resources"`
}

// ZoneProxyResources is how far a proxy is with a type of resource.
type ZoneProxyResources struct {
	Type         string    `json:"type"`
	Sent         string    `json:"sent"` // version
	Nonce        string    `json:"nonce"`
	Acknowledged string    `json:"acknowledged,omitempty"`
	Refused      string    `json:"refused,omitempty"` // why it refused what was sent last, or refuses one of its resources
	At           time.Time `json:"at"`
	// Wanted is how many resources of the type there are for the proxy, of those that it
	// asks for; InPlace how many of them it has acknowledged.
	Wanted  int `json:"wanted,omitempty"`
	InPlace int `json:"inPlace,omitempty"`
	// HeldBack are those that it refuses, or that wait for others.
	HeldBack []HeldBack `json:"heldBack,omitempty"`
	// Removing are the names of those that are removed once nothing uses them any more.
	Removing []string `json:"removing,omitempty"`
}

// ZoneProxyConfigs is the answer of GET /v1/proxies/config: what the connections of a proxy
// have and are to have.
type ZoneProxyConfigs struct {
	Items []ZoneProxyConfig `json:"items"`
}

// ZoneProxyConfig is one connection's.
type ZoneProxyConfig struct {
	Type      string                  `json:"type"` // dataplane, ingress or egress
	Mesh      string                  `json:"mesh,omitempty"`
	Name      string                  `json:"name"`
	Remote    string                  `json:"remote"`
	Protocol  string                  `json:"protocol"`
	Resources []ZoneProxyConfigOfName `json:"resources"`
}

// ZoneProxyConfigOfName is what a connection has, and is to have, of one resource.
type ZoneProxyConfigOfName struct {
	Type string `json:"type"` // the type's URL
	Name string `json:"name"`
	// State is "acknowledged", "sent" (and not answered), "refused", "held back" or "being
	// removed"; Reason is of what is refused or held back.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Has is what the proxy acknowledged last, Wanted what it is to have where that is another;
	// both without secrets.
	Has    any `json:"has,omitempty"`
	Wanted any `json:"wanted,omitempty"`
}

// HeldBack is a resource that a proxy is to have and does not.
type HeldBack struct {
	Name    string `json:"name"`
	Refused bool   `json:"refused,omitempty"` // by the proxy
	Reason  string `json:"reason"`
}

// AuthenticateRequest is the body of POST /v1/authenticate: a token, and either
// which proxy its holder says it is, or in Require who the operator says it must be.
type AuthenticateRequest struct {
	Token string `json:"token"`
	// ProxyType is ingress or egress for zone proxies, which usually show a zone
	// token, or dataplane for data plane proxies, which usually show a dataplane
	// token: the zone's settings say what (dpServer.authn).
	ProxyType string `json:"proxyType"`
	// Mesh, Name and Tags are the proxy's own; a dataplane token is held against
	// them. Mesh is required for data plane proxies. Labels are those of its
	// resource: a dataplane token with a workload is held against kuma.io/workload.
	Mesh   string              `json:"mesh,omitempty"`
	Name   string              `json:"name,omitempty"`
	Tags   map[string][]string `json:"tags,omitempty" maxItems:"256"`
	Labels map[string]string   `json:"labels,omitempty" maxItems:"256"`
	// Require is a statement in the words of context_extensions, in place of a
	// description; an empty one states nothing, and the token only has to be good.
	Require map[string]string `json:"require,omitzero" maxItems:"256"`
}

// Identity is the answer to an accepted token: what it proves.
type Identity struct {
	// Method is how the proxy proved itself: zoneToken, dpToken, serviceAccountToken,
	// or none, where it proved nothing.
	Method string `json:"method"`
	Kind   string `json:"kind,omitempty"` // cptoken.Kind of the token
	Zone   string `json:"zone"`           // the zone that answers, which a zone token also names
	// Scope is of zone tokens, the others of dataplane tokens.
	Scope []string            `json:"scope,omitempty"`
	Mesh  string              `json:"mesh,omitempty"`
	Name  string              `json:"name,omitempty"`
	Tags  map[string][]string `json:"tags,omitempty"`
	// Workload is the label kuma.io/workload that the proxy must have.
	Workload string `json:"workload,omitempty"`

	ServiceAccount string `json:"serviceAccount,omitempty"` // namespace/name
	// ID is under which the token is revoked: its jti, or a hash where it has none.
	ID      string     `json:"jti,omitempty"`
	Expires *time.Time `json:"expires,omitempty"` // absent: never
	// Proved lists what the token proves, of proxyType, zone, mesh, name, workload,
	// tag/NAME and serviceAccount. What the holder says of itself and is not in it is its own word.
	Proved []string `json:"proved"`
	// Revision is what the zone knew when it decided.
	Revision string `json:"revision"`
}
