package peer

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"

	"github.com/meridiankds/meridian/federation"
)

// GateConfig is what a Gate is made from.
type GateConfig struct {
	// Node is this node's id.
	Node func() string
	Seal Seal
	// Verify holds the certificates of the other end against the CAs of this moment.
	Verify    func(chain []*x509.Certificate) error
	Admission Admission
	Logger    *slog.Logger
}

// Gate lets connections between members through once both ends have proved the seal
// key, and ends those whose proof is worth nothing any more. The [Port] and the [Dialer]
// of a node share one. It is safe for concurrent use.
type Gate struct {
	node      func() string
	seal      Seal
	verify    func(chain []*x509.Certificate) error
	admission Admission
	log       *slog.Logger

	mu    sync.Mutex
	open  map[*Conn]struct{}
	shown map[string]*x509.Certificate // by node, the one that it showed last
}

// maxShown bounds the nodes whose certificates are remembered; more than any cluster has.
const maxShown = 1000

// NewGate returns a gate.
func NewGate(c GateConfig) *Gate {
	return &Gate{node: c.Node, seal: c.Seal, verify: c.Verify, admission: c.Admission, log: c.Logger, open: map[*Conn]struct{}{}, shown: map[string]*x509.Certificate{}}
}

// Conn is a connection whose both ends have proved the seal key. It shows no method of
// TLS, by which net/http would ask for the protocol "h2" of versions without the proof.
type Conn struct {
	net.Conn
	raw   net.Conn // below TLS
	gate  *Gate
	proof Proof
}

// Proof is what the other end has proved.
func (c *Conn) Proof() Proof { return c.proof }

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.gate.forget(c)
	return c.Conn.Close()
}

// NetConn is the connection of TLS, below which the budget's is found.
func (c *Conn) NetConn() net.Conn { return c.Conn }

func (g *Gate) forget(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

// keep remembers a connection for [Gate.Review]. What has changed since the proof was
// judged is held against it once more: a review may have come in between.
func (g *Gate) keep(conn *tls.Conn, p Proof) (*Conn, error) {
	c := &Conn{Conn: conn, raw: conn.NetConn(), gate: g, proof: p}
	g.mu.Lock()
	g.open[c] = struct{}{}
	if len(g.shown) < maxShown || g.shown[p.Node] != nil {
		g.shown[p.Node] = p.Chain[0]
	}
	g.mu.Unlock()
	if err := g.stillGood(p); err != nil {
		g.forget(c)
		return nil, err
	}
	return c, nil
}

// Certificates are those that a node showed on its connections that are open, and the one
// that it showed last: whose disk was stolen is seldom connected.
func (g *Gate) Certificates(node string) (certs []*x509.Certificate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := g.shown[node]; last != nil {
		certs = append(certs, last)
	}
	for c := range g.open {
		if c.proof.Node == node {
			certs = append(certs, c.proof.Chain[0])
		}
	}
	return certs
}

// Review ends the connections whose certificates are of no CA that is trusted now, whose
// node or certificate was expelled, and those proved under a former seal key. Call it
// after each change of these.
func (g *Gate) Review() {
	g.mu.Lock()
	var ended []*Conn
	for c := range g.open {
		if err := g.stillGood(c.proof); err != nil {
			ended = append(ended, c)
			g.log.Warn("a peer's connection was ended", "node", c.proof.Node, "remote", c.RemoteAddr().String(), "cause", plainCause(err))
		}
	}
	g.mu.Unlock()
	for _, c := range ended {
		// Not the TLS connection's own Close, which waits for who writes to a peer
		// that does not read.
		c.raw.Close()
	}
}

// stillGood judges a proof again, by the state of this moment.
func (g *Gate) stillGood(p Proof) error {
	if g.admission.FormerSealKey(p.SealKey) {
		return federation.Errorf(federation.Unauthenticated, "it was proved with the former seal key %s", p.SealKey).WithReason(reasonSealKey)
	}
	if err := g.verify(p.Chain); err != nil {
		return err
	}
	return g.admission.Expelled(p.Node, p.Chain[0])
}
