package server

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"time"
	"unique"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/kds"
)

// listener counts the connections of zones, which the budget has let in.
type listener struct {
	net.Listener
	stats *counters
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.stats.connections.Add(1)
	return &connection{Conn: raw, stats: l.stats}, nil
}

// connection is a zone's connection below TLS. Calls find it through their
// peer's AuthInfo, to close it where an RPC status would not get through.
type connection struct {
	net.Conn
	stats *counters
	once  sync.Once

	mu   sync.Mutex
	said []string   // admissions and refusals that were logged
	open []*session // for health checks to find
}

// Close implements net.Conn.
func (c *connection) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.stats.connections.Add(-1) })
	return err
}

// NetConn returns the connection of the budget below.
func (c *connection) NetConn() net.Conn { return c.Conn }

// proved tells the budget whose the connection is. The error says that this one has as
// many as it may.
func (c *connection) proved(a kds.Admission) error {
	under := c.under()
	if under == nil {
		return nil
	}
	return under.Proved(preauth.Identity{Kind: preauth.Zone, Name: a.Zone, Unproven: !a.Authenticated})
}

// under is the connection of the budget; nil: there is none.
func (c *connection) under() *preauth.Conn {
	if c == nil {
		return nil
	}
	return preauth.Of(c.Conn)
}

// maxSaid bounds the admissions of a connection that are told apart in the log.
const maxSaid = 16

// firstTime reports whether an admission was not yet logged for this connection:
// a zone makes six calls at once and a health check every now and then, which
// are one event to an operator. Beyond maxSaid it cannot tell, and says so.
func (c *connection) firstTime(admission string) (first, certain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case slices.Contains(c.said, admission):
		return false, true
	case len(c.said) >= maxSaid:
		return false, false
	}
	c.said = append(c.said, admission)
	return true, true
}

func (c *connection) add(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, s)
}

func (c *connection) remove(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.open, s); i >= 0 {
		c.open = slices.Delete(c.open, i, i+1)
	}
}

// heard notes a sign of life for the sessions of a zone on this connection.
func (c *connection) heard(zone string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.open {
		if s.key().zone == zone {
			s.heard(now)
		}
	}
}

// transport is the server's transport security: TLS or none, plus the
// connection itself for the calls to find.
type transport struct {
	credentials.TransportCredentials
}

func newTransport(cfg *tls.Config) transport {
	inner := insecure.NewCredentials()
	if cfg != nil {
		inner = credentials.NewTLS(cfg)
	}
	return transport{inner}
}

// ServerHandshake implements credentials.TransportCredentials.
func (t transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	c, _ := raw.(*connection)
	return watch(conn, c.under()), authInfo{AuthInfo: info, conn: c}, nil
}

// Clone implements credentials.TransportCredentials.
func (t transport) Clone() credentials.TransportCredentials {
	t.TransportCredentials = t.TransportCredentials.Clone()
	return t
}

type authInfo struct {
	credentials.AuthInfo
	conn *connection
}

// callerOf returns the connection that a call came over, its address and the
// client certificate that TLS verified, if there is one.
func callerOf(ctx context.Context, creds *kds.Credentials) *connection {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	creds.Remote = p.Addr
	info, ok := p.AuthInfo.(authInfo)
	if !ok {
		return nil
	}
	if t, ok := info.AuthInfo.(credentials.TLSInfo); ok {
		if chains := t.State.VerifiedChains; len(chains) > 0 && len(chains[0]) > 0 {
			creds.Certificate = chains[0][0]
			creds.Shows = unique.Make(tlsutil.ShownBy(t.State)).Value()
		}
	}
	return info.conn
}
