package proxies

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	proxyres "github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/rollout"
	"github.com/meridiankds/meridian/internal/zone/sessions"
)

// Caller is where a connection comes from.
type Caller struct {
	Remote   string // address
	Protocol string // "ads" or "delta-ads"
	Version  string // what it calls its version, "" where it does not
}

// Connection is one of a proxy's open connections.
type Connection struct {
	ID ID
	Caller
	Resource  *proxyres.Resource
	Admission *proxyauth.Admission
	Since     time.Time

	registry *Registry
	session  *sessions.Session
	ctx      context.Context
	cancel   context.CancelCauseFunc

	mu      sync.Mutex
	types   map[string]*Subscription
	watched Watched // nil: nobody tells

	refusing atomic.Int64
}

// Subscription is how far a connection is with resources of a type.
type Subscription struct {
	Type string // the type's URL
	// Sent and Acknowledged are versions; "" is none yet.
	Sent, SentNonce, Acknowledged string
	// Refused is why the proxy refuses what it was sent last, or a resource of those that
	// it is to have; "" where it does not.
	Refused string
	At      time.Time // of the last of these
	// Status counts the resources, and names those that the proxy refuses, and those that
	// are held back and why.
	Status rollout.Status
}

// Attach opens a connection of an admitted proxy. Its context ends with parent,
// when what the proxy presented holds no longer, or when a newer connection takes
// its place; the cause is then the federation.Error or cptoken.Refusal to tell. An
// error is that of a name that is taken, or of a token that was revoked just now.
// The caller closes the connection.
func (r *Registry) Attach(parent context.Context, resource *proxyres.Resource, a *proxyauth.Admission, from Caller) (*Connection, error) {
	if err := r.pacer.wait(parent, paced{IDOf(resource), a.Identity().Shared}); err != nil {
		return nil, err
	}
	session, err := r.cfg.Sessions.Open(parent, sessions.Opening{
		Grant: a.Grant, Subject: a.Subject(), Remote: from.Remote, Protocol: from.Protocol, Review: a.Review,
	})
	if err != nil {
		return nil, err
	}
	c := &Connection{ID: IDOf(resource), Caller: from, Admission: a, Since: session.Opened,
		registry: r, session: session, types: map[string]*Subscription{}}
	c.ctx, c.cancel = context.WithCancelCause(session.Context())
	r.mu.Lock()
	e, err := r.claim(resource, a, from.Remote)
	var oldest *Connection
	if err == nil && len(e.open) >= MaxPerName {
		if oldest = e.givesWay(a, r.cfg.Now()); oldest == nil {
			err = tooMany(c.ID)
		}
	}
	if err != nil {
		r.mu.Unlock()
		session.Close()
		c.cancel(err)
		return nil, err
	}
	c.Resource = e.resource
	e.open = append(e.open, c)
	if oldest != nil {
		e.open = slices.DeleteFunc(e.open, func(o *Connection) bool { return o == oldest })
	}
	r.mu.Unlock()
	if oldest != nil {
		oldest.End(federation.Errorf(federation.Conflict, "a newer connection of this proxy took the place of this one").WithReason(Displaced))
		r.cfg.Logger.Info("connection displaced by a newer one of its proxy", "proxy", a.Subject(), "remote", oldest.Remote, "by", from.Remote)
	}
	return c, nil
}

func tooMany(id ID) error {
	e := federation.Errorf(federation.Unavailable, "%s %.80q has %d streams open, as many as it may", id.Type, id.NodeID(), MaxPerName).WithReason(TooMany)
	e.RetryAfter = paceLongest
	return e.WithHint("close streams that are not used, or give each proxy a name of its own")
}

// silent reports whether the proxy has long left unanswered what it was sent, or has
// asked for nothing since the connection was opened.
func (c *Connection) silent(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.types {
		if s.Sent != "" && s.Sent != s.Acknowledged && s.Refused == "" && clock.Elapsed(s.At, now) > silence {
			return true
		}
	}
	return len(c.types) == 0 && clock.Elapsed(c.Since, now) > silence
}

// Context is what the connection is served under.
func (c *Connection) Context() context.Context { return c.ctx }

// End ends the connection; cause is what its proxy is told.
func (c *Connection) End(cause error) { c.cancel(cause) }

// Check returns why nothing may be sent on the connection any more, or nil. It
// looks at what the zone knows this very moment.
func (c *Connection) Check() error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return c.session.Check()
}

// Close ends the connection for its own reasons. It may be called again.
func (c *Connection) Close() {
	c.session.Close()
	c.cancel(context.Canceled)
	r := c.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[c.ID]
	if e == nil {
		return
	}
	if i := slices.Index(e.open, c); i >= 0 {
		e.open = slices.Delete(e.open, i, i+1)
		e.seen = r.cfg.Now()
	}
}

// Watched tells how far a connection is.
type Watched interface {
	Status() []rollout.Status
	Holdings() []rollout.Holding
}

// Observe has w asked how far the connection is.
func (c *Connection) Observe(w Watched) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = w
}

// Holdings returns what the proxy has and is to have.
func (c *Connection) Holdings() []rollout.Holding {
	c.mu.Lock()
	w := c.watched
	c.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Holdings()
}

// Refuses notes how many resources the proxy is to have and refuses.
func (c *Connection) Refuses(n int) { c.refusing.Store(int64(n)) }

// Sent notes that a version is on its way.
func (c *Connection) Sent(typeURL, version, nonce string) {
	c.note(typeURL, func(s *Subscription) { s.Sent, s.SentNonce, s.Refused = version, nonce, "" })
}

// Answered notes what the proxy says of what was sent last: refused is "" where it
// acknowledges. An answer to anything else counts for nothing.
func (c *Connection) Answered(typeURL, nonce, refused string) {
	c.mu.Lock()
	s := c.types[typeURL]
	current := s != nil && s.SentNonce == nonce && nonce != ""
	c.mu.Unlock()
	if !current {
		return
	}
	c.note(typeURL, func(s *Subscription) {
		if s.Refused = refused; refused == "" {
			s.Acknowledged = s.Sent
		}
	})
}

func (c *Connection) note(typeURL string, change func(*Subscription)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.types[typeURL]
	if s == nil {
		s = &Subscription{Type: typeURL}
		c.types[typeURL] = s
	}
	change(s)
	s.At = c.registry.cfg.Now()
}

// Subscriptions returns how far the connection is, by type.
func (c *Connection) Subscriptions() []Subscription {
	c.mu.Lock()
	w := c.watched
	c.mu.Unlock()
	byType := map[string]rollout.Status{}
	if w != nil {
		for _, s := range w.Status() {
			byType[envoyres.URL(s.Kind)] = s
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for url := range byType {
		if c.types[url] == nil {
			c.types[url] = &Subscription{Type: url}
		}
	}
	list := make([]Subscription, 0, len(c.types))
	for _, s := range c.types {
		one := *s
		one.Status = byType[s.Type]
		if len(one.Status.Refused) > 0 {
			one.Refused = one.Status.Refused[0].Reason
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Subscription) int { return cmp.Compare(a.Type, b.Type) })
	return list
}
