package proxies

import (
	"cmp"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	proxyres "github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/sessions"
)

// The bounds of a registry.
const (
	// MaxPerName is how many streams of one proxy may be open at once: grpc-go opens one
	// for each target of a process.
	MaxPerName = 32
	// silence is how long a stream may leave unanswered what it was sent, before it gives
	// way to a newer one.
	silence = 30 * time.Second
	// MaxRegistered is how many proxies are known at once.
	MaxRegistered = 20_000
	// keep is how long a proxy without a connection stays known.
	keep = time.Hour
)

// NameTaken is the reason of who claims the name of another proxy.
const NameTaken = "name_taken"

// Displaced is the reason of a silent connection that a newer one of its proxy replaced,
// TooMany of one that was refused because none of the others is silent.
const (
	Displaced = "displaced"
	TooMany   = "too_many_streams"
)

// ID names a proxy.
type ID struct {
	Type string // "dataplane", "ingress" or "egress"
	Mesh string // of a dataplane only
	Name string
}

// IDOf returns the ID of who describes itself so.
func IDOf(r *proxyres.Resource) ID {
	return ID{Type: r.Kind.ProxyType(), Mesh: r.Mesh, Name: r.Name}
}

// NodeID is what Envoy calls itself: "<mesh>.<name>", and ".<name>" for a zone
// proxy, which is of no mesh.
func (id ID) NodeID() string { return id.Mesh + "." + id.Name }

// Config is what [New] needs.
type Config struct {
	Sessions *sessions.Registry
	Logger   *slog.Logger     // nil: no log
	Now      func() time.Time // nil: time.Now
}

// Registry knows proxies. It is safe for concurrent use.
type Registry struct {
	cfg Config

	pacer pacer

	mu     sync.Mutex
	known  map[ID]*entry
	byNode map[string]ID // of the known ones, by type and node id
}

// entry is one known proxy.
type entry struct {
	resource *proxyres.Resource
	seen     time.Time
	by       string        // whose quota it counts against
	open     []*Connection // the oldest first
}

// New returns a registry that knows nobody.
func New(cfg Config) *Registry {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Registry{cfg: cfg, known: map[ID]*entry{}, byNode: map[string]ID{}}
}

// Register keeps the resource of an admitted proxy for its connections to come. It
// is a Conflict error, and changes nothing, where the name is another's. remote is
// the caller's address.
func (r *Registry) Register(resource *proxyres.Resource, a *proxyauth.Admission, remote string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.claim(resource, a, remote)
	return err
}

// Find returns the resource of a known proxy by the id of its Envoy's node, or nil.
func (r *Registry) Find(proxyType, nodeID string) *proxyres.Resource {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.known[r.byNode[proxyType+" "+nodeID]]; e != nil && !r.stale(e) {
		return e.resource
	}
	return nil
}

// claim finds or makes the entry of who may have the name. The lock is held.
func (r *Registry) claim(resource *proxyres.Resource, a *proxyauth.Admission, remote string) (*entry, error) {
	named := IDOf(resource)
	e := r.known[named]
	if e == nil {
		if len(r.known) >= MaxRegistered && !r.evict() {
			return nil, federation.Errorf(federation.Unavailable, "this zone knows %d proxies, which is as many as it can", MaxRegistered)
		}
		e = &entry{}
		r.known[named], r.byNode[named.Type+" "+named.NodeID()] = e, named
	}
	if !e.admits(a, remote) {
		since := e.open[len(e.open)-1].Since
		return nil, federation.Errorf(federation.Conflict, "another proxy is connected as %s since %s", a.Subject(), since.UTC().Format(time.RFC3339)).
			WithReason(NameTaken).
			WithHint("give this proxy a name of its own; where it moved here, wait half a minute, or use a token for this very name")
	}
	id := a.Identity()
	e.resource, e.seen, e.by = resource.WithoutJSON(), r.cfg.Now(), cmp.Or(id.Shared, id.Name)
	return e, nil
}

// admits reports whether a newcomer is the proxy that is connected, if one is.
func (e *entry) admits(a *proxyauth.Admission, remote string) bool {
	if len(e.open) == 0 || a.Named() {
		return true
	}
	return slices.ContainsFunc(e.open, func(c *Connection) bool {
		return sameCredential(c.Admission, a) || hostOf(c.Remote) == hostOf(remote)
	})
}

// givesWay is the connection that gives its place to a newcomer: the oldest if it is
// silent, or else, where what the newcomer presented names it, the oldest of whom nothing
// names. nil: none.
func (e *entry) givesWay(to *proxyauth.Admission, now time.Time) *Connection {
	if e.open[0].silent(now) {
		return e.open[0]
	}
	if to.Named() {
		if i := slices.IndexFunc(e.open, func(c *Connection) bool { return !c.Admission.Named() }); i >= 0 {
			return e.open[i]
		}
	}
	return nil
}

func sameCredential(a, b *proxyauth.Admission) bool {
	switch {
	case a.Method != b.Method:
		return false
	case a.Account != nil && b.Account != nil:
		return a.Account.Namespace == b.Account.Namespace && a.Account.Name == b.Account.Name
	}
	return a.TokenID != "" && a.TokenID == b.TokenID && a.Grant.Key == b.Grant.Key
}

func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// stale reports whether a proxy without a connection was not seen for long.
func (r *Registry) stale(e *entry) bool {
	return len(e.open) == 0 && clock.Elapsed(e.seen, r.cfg.Now()) > keep
}

// evict forgets who is stale, or else, of the token that has most proxies without a
// connection, the one that was not seen for longest. It reports whether there was any.
// The lock is held.
func (r *Registry) evict() bool {
	before := len(r.known)
	closed := map[string]int{}
	for id, e := range r.known {
		switch {
		case len(e.open) > 0:
		case r.stale(e):
			r.forget(id)
		default:
			closed[e.by]++
		}
	}
	if len(r.known) < before {
		return true
	}
	var oldest ID
	var since time.Time
	most := 0
	for id, e := range r.known {
		if n := closed[e.by]; len(e.open) == 0 && (n > most || n == most && clock.Earlier(e.seen, since)) {
			oldest, since, most = id, e.seen, n
		}
	}
	if most > 0 {
		r.forget(oldest)
	}
	return len(r.known) < before
}

func (r *Registry) forget(id ID) {
	delete(r.known, id)
	delete(r.byNode, id.Type+" "+id.NodeID())
}

// Counts is how many proxies are connected, by type, and how many of them refuse a resource
// that they are to have.
type Counts struct {
	Connected map[string]int
	Refusing  int
}

// Counts counts the proxies.
func (r *Registry) Counts() Counts {
	c := Counts{Connected: map[string]int{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, e := range r.known {
		if len(e.open) == 0 {
			continue
		}
		c.Connected[id.Type]++
		if slices.ContainsFunc(e.open, func(o *Connection) bool { return o.refusing.Load() > 0 }) {
			c.Refusing++
		}
	}
	return c
}

// Proxies returns the open connections, by type, mesh, name and time.
func (r *Registry) Proxies() []*Connection {
	r.mu.Lock()
	var list []*Connection
	for _, e := range r.known {
		list = append(list, e.open...)
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b *Connection) int {
		return cmp.Or(cmp.Compare(a.ID.Type, b.ID.Type), cmp.Compare(a.ID.Mesh, b.ID.Mesh), cmp.Compare(a.ID.Name, b.ID.Name),
			clock.Order(a.Since, b.Since), cmp.Compare(a.Remote, b.Remote))
	})
	return list
}
