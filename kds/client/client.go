package client

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// Config is what a [Client] needs. Zone, Addresses, Sink and Logger are
// required.
type Config struct {
	// Zone that the client speaks for.
	Zone string
	// Instance names this control plane among those of the zone: the same after
	// every restart, at most 128 bytes of printable ASCII.
	Instance string
	// Version of this program, for the global to show.
	Version string
	// Addresses of members of the global, host:port each. Any will do; after a
	// failure the next one is tried.
	Addresses []string
	// TLS returns how to speak TLS to the global. It is asked at every connect, so
	// that certificates can be replaced while the client runs. end ends the connection, as
	// soon as the member's certificate is good no longer; done is called when it is over.
	// Nil: in the clear.
	TLS func(end func(why error)) (config *tls.Config, done func())
	// Trusts names the CAs that TLS takes, for the global to know. Where they change the
	// zone connects anew before it leaves the connection that it has. Nil: it does not say.
	Trusts func() string
	// Token returns the zone's token, alone on its line or with white space
	// around it. It is asked at every connect and every TokenEvery, so that a file
	// can be replaced while the client runs: the zone then connects with the new
	// token before it leaves the connection that it has. Nil: the zone presents none.
	Token func() (string, error)
	// TokenEvery defaults to 1 s.
	TokenEvery time.Duration
	Sink       kds.Sink
	// KeySets tells which key sets were fetched here, for the global to hear of it; nil:
	// nobody counts.
	KeySets kds.KeySets
	// Logger gets one line for every connection and for every failed attempt.
	Logger *slog.Logger
	// Now defaults to time.Now; it stamps what Sink.Heard and Status tell.
	Now func() time.Time
	// RanUntil is the latest time at which an earlier process is known to have worked on
	// this copy, by its own clock; zero where none did.
	RanUntil time.Time
	// BackoffMin and BackoffMax bound the wait between attempts. Defaults:
	// 200 ms and 30 s.
	BackoffMin, BackoffMax time.Duration
	// DetectAfter is how long a global may take to say that it is one of Meridian's
	// before it is spoken to as one of Kuma's. Default 2 s.
	DetectAfter time.Duration
	// AnswerTimeout is how long a member may take to connect, and to admit the
	// zone once connected. Default 10 s.
	AnswerTimeout time.Duration
	// Keepalive is what the operator asks for; see [kds.Keepalive].
	Keepalive kds.Keepalive
	// MaxSilence is after how long without a word from a member the zone's owner
	// worries: a member is then asked for one three times as often, whatever interval
	// it names. 0: as often as it says.
	MaxSilence time.Duration

	// Supersede is how long a member may take to end a session that was taken over.
	// Default 1 s; tests make it long, to count on the member.
	Supersede time.Duration
	// AckAfter is how long a change may stay unacknowledged, so that one
	// acknowledgement stands for several. Default 50 ms; tests make it long.
	AckAfter time.Duration
}

// Client keeps a zone's copy current from any member of the global that admits
// it. It never changes the copy but by what a member sends: while no member can
// be reached, everything stays as it is.
type Client struct {
	cfg Config
	// random is in [0, 1); a field so that tests of the waits are exact.
	random func() float64

	// connections counts the attempts to connect, from where no earlier process of this
	// copy can have come to.
	connections atomic.Uint64

	// kumaHeld is what the zone holds of a global of Kuma's; nil: not known yet. Of
	// the goroutine of Run alone.
	kumaHeld *kuma.Held

	mu     sync.Mutex
	status Status
	link   *link  // that requests go through; nil: not connected
	kind   string // of the last global that was connected to
	// unexpected: the last attempt did not meet what the zone holds the state of.
	unexpected bool
}

// Status is what a [Client] is doing.
type Status struct {
	// Connected reports that a member admitted the zone and the stream is open.
	Connected bool
	// Kind is which kind of global it is, KindMeridian or KindKuma: the one that was
	// connected last, or whose state the zone holds; "" where there is neither.
	Kind string
	// Member is the node id of that member, or of the last one. Kuma's have none.
	Member string
	// Address is the one that is in use or was tried last.
	Address string
	// Since is when Connected last changed; zero before the first attempt.
	Since time.Time
	// Current reports that the zone has been brought to where the member stood
	// since it connected.
	Current bool
	// LastError is why the last connection ended or could not be made; "" while
	// connected.
	LastError string
	// LastReason is its machine-readable word, where it has one ("expired").
	LastReason string
	// LastHeard is when a member last answered.
	LastHeard time.Time
}

// New returns a client that dials nobody until Run.
func New(cfg Config) *Client {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.BackoffMin <= 0 {
		cfg.BackoffMin = 200 * time.Millisecond
	}
	if cfg.BackoffMax < cfg.BackoffMin {
		cfg.BackoffMax = max(30*time.Second, cfg.BackoffMin)
	}
	if cfg.TokenEvery <= 0 {
		cfg.TokenEvery = time.Second
	}
	if cfg.AnswerTimeout <= 0 {
		cfg.AnswerTimeout = 10 * time.Second
	}
	if cfg.AckAfter <= 0 {
		cfg.AckAfter = ackAfter
	}
	if cfg.Supersede <= 0 {
		cfg.Supersede = defaultSupersede
	}
	if cfg.DetectAfter <= 0 {
		cfg.DetectAfter = detectAfter
	}
	c := &Client{cfg: cfg, random: rand.Float64}
	c.connections.Store(firstConnection(cfg.Now(), cfg.RanUntil))
	if cfg.Sink != nil {
		_, rev := cfg.Sink.Position()
		c.status.Kind = kuma.KindOf(rev) // until it connects
	}
	return c
}

// firstConnection is where a process begins to count its connections: above all that an
// earlier one of the same copy can have made, also where the clock was set back since.
func firstConnection(now, ranUntil time.Time) uint64 {
	const perSecond = 20 // bits: no client connects a million times a second
	return uint64(clock.Last(now, ranUntil.Add(time.Second)).Unix()) << perSecond
}

// stableAfter is how long a connection must have lasted for the next failure to
// count as the first one; a shorter one has as much less forgotten. A connection that is
// admitted and at once lost again, over and over, must not be made at the pace of a first retry.
const stableAfter = 30 * time.Second

// remembered returns how many of the earlier failures count after a connection that lasted.
// A part of one counts as one: else connections of moments would have none ever add up.
func remembered(failures int, lasted time.Duration) int {
	return int(math.Ceil(float64(failures) * max(0, 1-lasted.Seconds()/stableAfter.Seconds())))
}

// Run connects, and connects again, until ctx ends; it then returns nil. It
// returns an error only where the configuration names no address.
func (c *Client) Run(ctx context.Context) error {
	if len(c.cfg.Addresses) == 0 {
		return federation.InvalidField("addresses", "name at least one address of the global, host:port")
	}
	// Zones that start together spread over the members.
	next := int(c.random() * float64(len(c.cfg.Addresses)))
	failures := 0
	for {
		address := c.cfg.Addresses[next%len(c.cfg.Addresses)]
		began := time.Now()
		err := c.connect(ctx, address)
		if ctx.Err() != nil {
			c.disconnected(address, nil)
			return nil
		}
		failures = remembered(failures, clock.Since(began))
		wait := c.backoff(failures)
		failures++
		next++
		c.retrying(address, err, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			c.disconnected(address, nil)
			return nil
		}
	}
}

// backoff returns how long to wait after a number of earlier failures. It grows
// with each round over all addresses, not with each address: that one member is
// away should not keep a zone from the next. Half of it is random, so that zones
// that lost a member together do not come back together.
func (c *Client) backoff(failures int) time.Duration {
	wait := c.cfg.BackoffMin
	for range failures / len(c.cfg.Addresses) {
		wait *= 2
		if wait >= c.cfg.BackoffMax || wait <= 0 {
			wait = c.cfg.BackoffMax
			break
		}
	}
	return wait/2 + time.Duration(c.random()*float64(wait-wait/2))
}

// retrying logs why a connection ended or could not be made, and when the next
// attempt is.
func (c *Client) retrying(address string, err error, wait time.Duration) {
	e := throughProxy(c.aboutToken(wire.ErrorOf(err)), address, http.ProxyFromEnvironment)
	c.disconnected(address, e)
	attrs := []any{"address", address, "cause", e.Error(), "retry_in", wait.Round(time.Millisecond).String()}
	if e.Reason != "" {
		attrs = append(attrs, "reason", e.Reason)
	}
	if e.Hint != "" {
		attrs = append(attrs, "hint", e.Hint)
	}
	c.cfg.Logger.Warn("no connection to the global, trying again", attrs...)
}

// Status returns what the client is doing.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *Client) connected(address, member, kind string) {
	now := c.cfg.Now()
	c.mu.Lock()
	c.kind = kind
	c.status = Status{Connected: true, Kind: kind, Member: member, Address: address, Since: now, LastHeard: c.status.LastHeard}
	c.mu.Unlock()
	c.heard()
}

// unmet notes that a global was not what it should have been, so that the next
// attempt expects nothing.
func (c *Client) unmet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kind, c.unexpected = "", true
}

// tookOver notes that another connection carries on.
func (c *Client) tookOver(member string) {
	c.mu.Lock()
	c.status.Member = member
	c.mu.Unlock()
	c.heard()
}

// heard notes that a member answered.
func (c *Client) heard() {
	now := c.cfg.Now()
	c.mu.Lock()
	c.status.LastHeard = now
	c.mu.Unlock()
}

// caughtUp reports whether everything that the member sent is durable here.
func (l *link) caughtUp() bool {
	return l.begun.Load() && !l.partial.Load() && l.settler.empty()
}

// applied tells the Sink that its copy is as current as the member of a link was at a
// time, if everything that it sent is applied. A member that only answers proves nothing of that,
// and one that is cut off from the leader has what the cluster had when it last heard it.
func (c *Client) applied(l *link, at time.Time) {
	if l.caughtUp() {
		c.cfg.Sink.Heard(l.member, at.Add(-time.Duration(l.contact.Load())))
	}
}

// noteContact notes how long ago a member heard the leader, as it says in the header of an
// answer. What cannot be read is as long ago as can be. A Kuma global says nothing.
func (l *link) noteContact(header metadata.MD) {
	ms := uint64(0)
	if text := one(header, kds.MDContact); text != "" {
		var err error
		if ms, err = strconv.ParseUint(text, 10, 32); err != nil {
			ms = math.MaxUint32
		}
	}
	l.contact.Store(int64(time.Duration(ms) * time.Millisecond))
}

func (c *Client) current() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Current = true
}

func (c *Client) disconnected(address string, err *federation.Error) {
	now := c.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.status
	if s.Connected || s.Since.IsZero() {
		s.Since = now
	}
	s.Connected, s.Current, s.Address = false, false, address
	if err != nil {
		s.LastError, s.LastReason = err.Error(), err.Reason
	}
}
