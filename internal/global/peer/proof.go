package peer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"

	"github.com/meridiankds/meridian/federation"
)

// Seal proves that this node holds a seal key; *issue.SealKeys does.
type Seal interface {
	// IDs are the seal keys in this node's file, the newest first.
	IDs() []string
	// ProvePeer is the MAC over what is said under a key that only who holds the seal
	// key can derive, nil where this node does not hold it.
	ProvePeer(id string, said []byte) []byte
}

// Admission says who is let in, by the state of this moment.
type Admission interface {
	// FormerSealKey reports whether the cluster seals under a newer key than this one,
	// which proves nothing any more.
	FormerSealKey(id string) bool
	// Expelled returns an error for a node, or a certificate's key, that was expelled.
	Expelled(node string, cert *x509.Certificate) error
}

// Proof is what the other end of a connection has proved.
type Proof struct {
	// Node is the other node's id, SealKey the seal key that both hold.
	Node, SealKey string
	// Chain is what it showed in the handshake.
	Chain []*x509.Certificate

	state *tls.ConnectionState
}

// The roles of the two ends. The role is part of what each end proves, so that a proof
// that is sent back proves nothing.
const (
	roleDialer   = "dialer"
	roleAcceptor = "acceptor"
)

// bindingLabel is that of the channel binding tls-exporter (RFC 9266).
const bindingLabel = "EXPORTER-Channel-Binding"

// said is what an end proves, under one seal key.
type said struct {
	role     string
	binding  []byte // of the TLS connection
	protocol string
	dialer   [sha256.Size]byte // the certificates of the ends
	acceptor [sha256.Size]byte
	node     string // who dials, as it says
	means    string // whom it means to reach, "" whoever answers
	answers  string // who accepts; of the acceptor's proof only
}

// bytes puts each text behind its length, so that no two proofs run into the same bytes.
func (s said) bytes(sealKey string) []byte {
	var b []byte
	for _, text := range []string{
		"meridian/peer-proof/v1", s.role, string(s.binding), s.protocol, string(s.dialer[:]), string(s.acceptor[:]),
		sealKey, s.node, s.means, s.answers,
	} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return b
}

// claim is the dialer's message: who it is, and a proof for each seal key that it holds.
type claim struct {
	Node   string     `json:"node"`
	Means  string     `json:"means,omitempty"`
	Proofs []keyProof `json:"proofs"`
}

type keyProof struct {
	SealKey string `json:"sealKey"`
	MAC     []byte `json:"mac,omitempty"`
}

// verdict is the acceptor's answer: its own proof under one of the dialer's seal keys, or
// why it takes none.
type verdict struct {
	Node    string     `json:"node,omitempty"`
	Proof   *keyProof  `json:"proof,omitempty"`
	Refusal *refusalOf `json:"refusal,omitempty"`
}

// refusalOf is why an end takes no proof, as it tells the other. Who refuses has proved
// nothing: see told.
type refusalOf struct {
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail"`
}

// maxRefusal bounds what is shown of a refusal's text.
const maxRefusal = 500

// ExpelledHint tells who was expelled what can be done about it.
const ExpelledHint = "an administrator can take that back: global certs readmit, global cluster readmit; see global certs expelled"

// refusalHints are the reasons that the acceptor's part gives, with what to do about each.
var refusalHints = map[string]string{
	reasonSealKey: sealKeyHint,
	"expelled":    ExpelledHint,
	"other_node":  "",
}

// told is the refusal as the dialer takes it: a text to show. A thief with a member's
// certificate can answer so too, and must neither have a node do something for a reason
// that others give after a proof, such as that it was removed, nor tell an operator what
// to type.
func (r *refusalOf) told() error {
	text := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, r.Detail[:min(len(r.Detail), maxRefusal)])
	e := federation.Errorf(federation.Unauthenticated, "%s", text)
	hint, known := refusalHints[r.Reason]
	if known {
		e = e.WithReason(r.Reason)
	}
	if hint != "" {
		e = e.WithHint("%s", hint)
	}
	return e
}

// maxClaim bounds a message: 64 seal keys and two ids.
const maxClaim = 16 << 10

func send(w io.Writer, message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return federation.Errorf(federation.Internal, "encoding a proof: %w", err)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...))
	return err
}

func receive(r io.Reader, into any) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxClaim {
		return fmt.Errorf("a message of %d bytes is no proof", n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// bind is what both ends of a handshake know of it.
func bind(state tls.ConnectionState, dialer, acceptor *x509.Certificate) (said, error) {
	if dialer == nil || acceptor == nil {
		return said{}, federation.Errorf(federation.Internal, "a handshake between members without both certificates")
	}
	binding, err := state.ExportKeyingMaterial(bindingLabel, nil, sha256.Size)
	if err != nil {
		return said{}, federation.Errorf(federation.Internal, "binding a proof to its connection: %w", err)
	}
	return said{
		binding: binding, protocol: state.NegotiatedProtocol,
		dialer: sha256.Sum256(dialer.Raw), acceptor: sha256.Sum256(acceptor.Raw),
	}, nil
}

// usable are the seal keys that prove something, the newest first.
func (g *Gate) usable() (ids []string) {
	for _, id := range g.seal.IDs() {
		if !g.admission.FormerSealKey(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// prove is the dialer's part.
func (g *Gate) prove(conn *tls.Conn, own *x509.Certificate, means string) (Proof, error) {
	state := conn.ConnectionState()
	mine, err := bind(state, own, state.PeerCertificates[0])
	if err != nil {
		return Proof{}, err
	}
	mine.role, mine.node, mine.means = roleDialer, g.node(), means
	c := claim{Node: mine.node, Means: means}
	for _, id := range g.usable() {
		c.Proofs = append(c.Proofs, keyProof{id, g.seal.ProvePeer(id, mine.bytes(id))})
	}
	if err := send(conn, c); err != nil {
		return Proof{}, err
	}
	var v verdict
	if err := receive(conn, &v); err != nil {
		return Proof{}, federation.Errorf(federation.Unavailable, "it ended the connection instead of proving its seal key: %w", err)
	}
	if r := v.Refusal; r != nil {
		return Proof{}, r.told()
	}
	theirs := mine
	theirs.role, theirs.answers = roleAcceptor, v.Node
	switch {
	case v.Proof == nil || len(v.Node) == 0 || len(v.Node) > maxNodeID:
		return Proof{}, federation.Errorf(federation.Unauthenticated, "the peer answered a proof with none of its own").WithReason(reasonSealKey)
	case g.admission.FormerSealKey(v.Proof.SealKey) || !g.holds(v.Proof, theirs):
		return Proof{}, federation.Errorf(federation.Unauthenticated,
			"the peer proves no seal key of this cluster: whoever answers there has a member's certificate and not its seal key").
			WithReason(reasonSealKey).WithHint("find out what runs at that address; this node tells it nothing")
	case means != "" && v.Node != means:
		return Proof{}, federation.Errorf(federation.Unavailable, "node %.64q answers where node %s is meant", v.Node, means).WithReason("other_node")
	}
	return g.admit(Proof{Node: v.Node, SealKey: v.Proof.SealKey, Chain: state.PeerCertificates, state: &state})
}

// check is the acceptor's part. The other end is told why it is refused.
func (g *Gate) check(conn *tls.Conn, own *x509.Certificate) (Proof, error) {
	state := conn.ConnectionState()
	theirs, err := bind(state, state.PeerCertificates[0], own)
	if err != nil {
		return Proof{}, err
	}
	var c claim
	if err := receive(conn, &c); err != nil {
		return Proof{}, federation.Errorf(federation.Unauthenticated, "it ended the connection before it proved a seal key: %w", err).WithReason(reasonSealKey)
	}
	theirs.role, theirs.node, theirs.means = roleDialer, c.Node, c.Means
	proof, v, err := g.judge(theirs, c, state)
	if err != nil {
		e := federation.AsError(err)
		v = verdict{Refusal: &refusalOf{Reason: e.Reason, Detail: e.Detail}}
	}
	if sent := send(conn, v); err == nil && sent != nil {
		return Proof{}, sent
	}
	return proof, err
}

// judge takes a claim, or says why not, and makes the answer.
func (g *Gate) judge(theirs said, c claim, state tls.ConnectionState) (Proof, verdict, error) {
	if c.Node == "" || len(c.Node) > maxNodeID {
		return Proof{}, verdict{}, federation.Errorf(federation.Invalid, "a node proves itself under its id")
	}
	key, err := g.choose(theirs, c)
	if err != nil {
		return Proof{}, verdict{}, err
	}
	if self := g.node(); c.Means != "" && c.Means != self {
		return Proof{}, verdict{}, federation.Errorf(federation.Unavailable, "node %.64q is meant, this is node %s", c.Means, self).WithReason("other_node")
	}
	proof, err := g.admit(Proof{Node: c.Node, SealKey: key, Chain: state.PeerCertificates, state: &state})
	if err != nil {
		return Proof{}, verdict{}, err
	}
	mine := theirs
	mine.role, mine.answers = roleAcceptor, g.node()
	return proof, verdict{Node: mine.answers, Proof: &keyProof{key, g.seal.ProvePeer(key, mine.bytes(key))}}, nil
}

// choose returns the newest seal key that both ends hold. A key that the other end
// names and does not hold is a forgery: it gets no second try under another key.
func (g *Gate) choose(theirs said, c claim) (string, error) {
	usable := g.usable()
	var named []string
	for _, p := range c.Proofs {
		named = append(named, clip(p.SealKey))
		for _, id := range usable {
			if id != p.SealKey {
				continue
			}
			if !g.holds(&p, theirs) {
				return "", wrongSealKey(c.Node, named, usable)
			}
			return id, nil
		}
	}
	return "", wrongSealKey(c.Node, named, usable)
}

// holds reports whether the proof is that of who holds the seal key.
func (g *Gate) holds(p *keyProof, s said) bool {
	want := g.seal.ProvePeer(p.SealKey, s.bytes(p.SealKey))
	return want != nil && hmac.Equal(want, p.MAC)
}

// admit refuses who proved everything and is not wanted.
func (g *Gate) admit(p Proof) (Proof, error) {
	return p, g.stillGood(p)
}

const (
	reasonSealKey = "seal_key"
	sealKeyHint   = "put the cluster's seal key first into the file that --seal-key-file of that node names, and start it again"
	// maxNodeID bounds a node's id on the wire.
	maxNodeID = 255
)

func clip(id string) string { return id[:min(len(id), 16)] }

// wrongSealKey tells both ends which keys each of them has. The ids are no secrets.
func wrongSealKey(node string, theirs, ours []string) error {
	return federation.Errorf(federation.Unauthenticated, "node %.64q proves no seal key that the cluster uses: it shows %s, the cluster has %s",
		node, list(theirs), list(ours)).WithReason(reasonSealKey).
		WithHint(sealKeyHint)
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

type proofKey struct{}

// proofOf is what the other end of a request's connection proved; nil where that is
// nothing.
func proofOf(ctx context.Context) *Proof {
	p, _ := ctx.Value(proofKey{}).(*Proof)
	return p
}

// withProof is an http.Server's ConnContext.
func withProof(ctx context.Context, c net.Conn) context.Context {
	if conn, ok := c.(*Conn); ok {
		return context.WithValue(ctx, proofKey{}, &conn.proof)
	}
	return ctx
}
