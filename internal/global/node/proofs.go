package node

import (
	"context"
	"crypto/x509"
	"slices"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// What follows is peer.Admission: who may be a peer, by the state of this moment.

// FormerSealKey reports whether the cluster seals under a newer key.
func (p *peers) FormerSealKey(id string) bool { return p.store.FormerSealKey(id) }

// Expelled refuses nodes that were expelled, and certificates.
func (p *peers) Expelled(node string, cert *x509.Certificate) error {
	if p.store.IsExpelled(node) {
		return expelled("node " + node)
	}
	return p.expelledCertificate(cert)
}

// expelledCertificate is what every TLS port of this node asks.
func (p *peers) expelledCertificate(cert *x509.Certificate) error {
	if p.store != nil && p.store.IsExpelled(tlsutil.KeyOf(cert)) {
		return expelled("the certificate of " + tlsutil.SubjectOf(cert))
	}
	return nil
}

func expelled(who string) error {
	return federation.Errorf(federation.Forbidden, "%s was expelled", who).WithReason("expelled").
		WithHint(peer.ExpelledHint)
}

// CertificateKeys implements adminapi.Cluster.
func (p *peers) CertificateKeys(node string) (keys []string) {
	if node == p.store.NodeID() {
		return nil
	}
	own := tlsutil.KeyOf(p.source.Current().Certificate.Leaf)
	for _, cert := range p.gate.Certificates(node) {
		if key := tlsutil.KeyOf(cert); key != own && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// OwnCertificateKey implements adminapi.Cluster.
func (p *peers) OwnCertificateKey() string {
	return tlsutil.KeyOf(p.source.Current().Certificate.Leaf)
}

// reviewConnections ends connections that are worth nothing any more: their CA is not
// trusted now, their seal key is a former one, or their node was expelled.
func (n *Node) reviewConnections(ctx context.Context) error {
	for {
		material, state := n.cfg.TLS.Changed(), n.store.WatchTrust()
		n.peers.gate.Review()
		n.cfg.TLS.Review()
		select {
		case <-material:
		case <-state:
		case <-ctx.Done():
			return nil
		}
	}
}
