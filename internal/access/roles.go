package access

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Role is a set of permissions.
type Role string

// The roles.
const (
	Admin   Role = "admin"   // everything
	Issuer  Role = "issuer"  // issues the tokens that its binding names
	Revoker Role = "revoker" // revokes, and reads what is revoked; withdraws nothing
	Auditor Role = "auditor" // reads everything but backups, and changes nothing
)

// Permission is what a route asks of its caller. The zero Permission is one that
// nobody has, so that a route that names none is closed.
type Permission string

// The permissions.
const (
	// Self is everybody's who proved who they are: to learn who that is.
	Self Permission = "ask who it is"
	// AnyRole is everybody's who is bound to any role.
	AnyRole Permission = "use this API"
	// Read is to see state, settings and the audit log.
	Read Permission = "read"
	// ReadRevocations is to see what is revoked.
	ReadRevocations Permission = "read what is revoked"
	// Issue is to ask for a token. Which one is for [Rights.Issue] to say.
	Issue Permission = "issue tokens"
	// Revoke is to revoke. Of what kind is for [Rights.Revoke] to say.
	Revoke Permission = "revoke tokens"
	// Administer is to do what has no permission of its own.
	Administer Permission = "administer"
)

// granted returns whether a role has a permission.
func (role Role) granted(p Permission) bool {
	switch p {
	case Self, AnyRole:
		return true
	case Read:
		return role == Admin || role == Auditor
	case ReadRevocations:
		return role == Admin || role == Auditor || role == Revoker
	case Issue:
		return role == Admin || role == Issuer
	case Revoke:
		return role == Admin || role == Revoker
	case Administer:
		return role == Admin
	}
	return false
}

// DefaultLongest is how long a token may live that an issuer issues whose binding
// does not say.
const DefaultLongest = 24 * time.Hour

// Any in a list of a binding stands for all of its kind. In Users and Groups of
// what an issuer may issue it does not stand for names that a role is bound to:
// those have to be written out.
const Any = "*"

// Binding gives a role to users and groups.
type Binding struct {
	Role   Role     `json:"role"`
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`

	// Kinds are the kinds of tokens that an issuer may issue, and that a revoker
	// may revoke; for a revoker, none means all.
	Kinds []string `json:"kinds,omitempty"`
	// Zones are those that an issuer may issue control plane and zone tokens for.
	Zones []string `json:"zones,omitempty"`
	// Meshes are those of an issuer's or revoker's dataplane tokens; for a revoker,
	// none means all.
	Meshes []string `json:"meshes,omitempty"`
	// Scopes are those of an issuer's zone tokens; none means ingress and egress.
	Scopes []string `json:"scopes,omitempty"`
	// TokenUsers and TokenGroups are what an issuer's user tokens may say.
	TokenUsers  []string `json:"tokenUsers,omitempty"`
	TokenGroups []string `json:"tokenGroups,omitempty"`
	// MaxValidity is the longest life of an issuer's tokens, as in 720h; empty
	// means [DefaultLongest].
	MaxValidity string `json:"maxValidity,omitempty"`

	kinds   []cptoken.Kind
	longest time.Duration
}

// Roles tells what callers may do. It never changes, and is safe for concurrent use.
type Roles struct {
	bindings []Binding
	digest   string
	// users and groups are those that any binding names, or this program itself.
	users, groups map[string]bool
}

// maxBindings and maxNames bound what is looked through for each request.
const (
	maxBindings = 1000
	maxNames    = 10_000
)

// DefaultRoles are in force where nothing is bound: the group "admin" may do
// everything, and nobody else anything.
func DefaultRoles() *Roles {
	r, err := NewRoles(nil)
	if err != nil {
		panic(err) // an empty list has nothing wrong
	}
	return r
}

// NewRoles returns the roles of some bindings. The group "admin" is bound to the
// role admin whatever they say: the admin socket and the token in a node's data
// folder are of it. An error names the binding at fault.
func NewRoles(bindings []Binding) (*Roles, error) {
	if len(bindings) > maxBindings {
		return nil, federation.InvalidField("bindings", "are more than %d", maxBindings)
	}
	r := &Roles{users: map[string]bool{}, groups: map[string]bool{AdminGroup: true}}
	for _, name := range reserved {
		r.users[name] = true
	}
	for i, b := range bindings {
		if err := b.check(); err != nil {
			e := federation.AsError(err)
			return nil, federation.Errorf(federation.Invalid, "bindings[%d]: %s", i, e.Detail).WithHint("%s", e.Hint)
		}
		r.bindings = append(r.bindings, b)
		for _, name := range b.Users {
			r.users[name] = true
		}
		for _, name := range b.Groups {
			r.groups[name] = true
		}
	}
	text, err := json.Marshal(bindings)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "encoding role bindings: %w", err)
	}
	sum := sha256.Sum256(text)
	r.digest = hex.EncodeToString(sum[:6])
	return r, nil
}

// Digest names the bindings, so that two nodes can be compared.
func (r *Roles) Digest() string { return r.digest }

// Len is the number of bindings.
func (r *Roles) Len() int { return len(r.bindings) }

// Of returns what a caller may do.
func (r *Roles) Of(c Caller) Rights {
	rights := Rights{name: c.Name, roles: r}
	user, groups := c.bringing()
	if slices.Contains(groups, AdminGroup) {
		rights.held = append(rights.held, Binding{Role: Admin})
	}
	for _, b := range r.bindings {
		inGroup := func(g string) bool { return slices.Contains(b.Groups, g) }
		if user != "" && slices.Contains(b.Users, user) || slices.ContainsFunc(groups, inGroup) {
			rights.held = append(rights.held, b)
		}
	}
	return rights
}
