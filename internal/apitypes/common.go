package apitypes

// List is a page of items. Total counts all items, not those of the page; Next
// is the address of the next page, null on the last one.
type List[T any] struct {
	Total int     `json:"total"`
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// Paging of lists: ?size= and ?offset= of the Kuma-shaped lists, ?limit= of the
// list of revocations.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Error is the body of every answer of status 400 and above; clients read it into
// [federation.Error]. Details and Causes repeat Detail and InvalidParameters under the
// names that older clients of Kuma read.
type Error struct {
	Type              string             `json:"type"` // "/std-errors"
	Status            int                `json:"status"`
	Title             string             `json:"title"`
	Detail            string             `json:"detail"`
	InvalidParameters []InvalidParameter `json:"invalid_parameters,omitempty"`
	Details           string             `json:"details"`
	Causes            []Cause            `json:"causes,omitempty"`
	// Reason is a machine-readable word where the status is too coarse, such as
	// "expired", "not_leader" or "not_held".
	Reason string `json:"reason,omitempty"`
	// Hint is one line: what to do next.
	Hint string `json:"hint,omitempty"`
}

// InvalidParameter names an input that was wrong and why.
type InvalidParameter struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// Cause is an InvalidParameter under its older name.
type Cause struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Index is the answer of GET /: who answers. kumactl asks for it before every
// command, and may do so without a credential: a stranger is told no name and id.
type Index struct {
	Hostname   string `json:"hostname"`
	Tagline    string `json:"tagline"`    // "Kuma", as Kuma's clients want it
	Product    string `json:"product"`    // the same
	Version    string `json:"version"`    // Meridian's; "unknown" to strangers; of a kumactl that it can serve, its own
	InstanceID string `json:"instanceId"` // the node's id
	ClusterID  string `json:"clusterId"`
	GUI        string `json:"gui"` // always empty: Kuma has the member, Meridian no such page
	// Implementation is "Meridian".
	Implementation string `json:"implementation"`
}

// WhoAmI is the answer of GET /who-am-i: the caller as the API sees it.
type WhoAmI struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
	// Via is how the caller proved it: token, cert, socket or loopback.
	Via string `json:"via"`
	// Roles are those of the caller at the node that answers: admin, issuer,
	// revoker, auditor. Without any the caller may do nothing else.
	Roles []string `json:"roles"`
	// Bounds say how far the roles issuer and revoker reach: one for each binding. For a
	// revoker no kinds or meshes means all.
	Bounds []Bounds `json:"bounds,omitempty"`
}

// Bounds are what a binding of a role allows.
type Bounds struct {
	Role   string   `json:"role"`
	Kinds  []string `json:"kinds,omitempty"`
	Zones  []string `json:"zones,omitempty"`
	Meshes []string `json:"meshes,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// TokenUsers and TokenGroups are what issued user tokens may say.
	TokenUsers  []string `json:"tokenUsers,omitempty"`
	TokenGroups []string `json:"tokenGroups,omitempty"`
	MaxValidity string   `json:"maxValidity,omitempty"`
}

// HeaderService names, in every answer of a node's HTTP ports, what answers: "global" or
// "zone". The ports of both have the same defaults, and the wrong one would be believed.
const HeaderService = "Meridian-Service"
