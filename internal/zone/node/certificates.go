package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// sources are all TLS material of the zone that may be replaced while it runs.
func (c *Config) sources() []*tlsutil.Source {
	return []*tlsutil.Source{c.DPTLS, c.GlobalTLS}
}

// globalTLS returns how to speak TLS to the global from now on: with one of its nodes,
// of the cluster of the certificate or the CA, else of the first one that answers.
func (c *Config) globalTLS() func(end func(error)) (*tls.Config, func()) {
	e := tlsutil.Expect(tlsutil.RoleNode, c.GlobalTLS.Current().Cluster())
	return func(end func(error)) (*tls.Config, func()) {
		config, done := c.GlobalTLS.ClientFollowed(end)
		return e.Demand(config), done
	}
}

// trusts names the CAs that the zone takes the global's certificate of.
func (c *Config) trusts() string {
	if c.GlobalPlain {
		return tlsutil.TrustPlain
	}
	return c.GlobalTLS.Current().Trusts()
}

// refuseExpelled has every port and connection of the zone refuse the certificates that
// were expelled at the global, as far as the zone has been told, with the global away too.
func (n *Node) refuseExpelled() {
	for _, source := range n.cfg.sources() {
		source.Refuse(func(cert *x509.Certificate) error {
			if !n.store.View().Revoked(cptoken.Certificate, "", tlsutil.KeyOf(cert)) {
				return nil
			}
			return federation.Errorf(federation.Forbidden, "the certificate of %s was expelled", tlsutil.SubjectOf(cert)).WithReason("expelled").
				WithHint("find out what answers at that address; an administrator can take it back: global certs readmit, see global certs expelled")
		})
	}
}

// reviewConnections ends connections whose certificates are good no longer: their CA was
// dropped, or they were expelled.
func (n *Node) reviewConnections(ctx context.Context) error {
	for {
		changed := n.store.Changed()
		for _, source := range n.cfg.sources() {
			source.Review()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Reload looks at the files that the node follows now. The control plane token is read at
// each connect.
func (n *Node) Reload() {
	n.CheckTLS()
	n.cfg.Roles.Reload()
	n.keyring.Check()
	if n.xdsDir != nil {
		n.xdsDir.Check()
	}
}

// CheckTLS has the node look at its TLS files now, without waiting for the next
// time that it does.
func (n *Node) CheckTLS() {
	for _, source := range n.cfg.sources() {
		source.Check()
	}
}

// Certificates tells when the certificates in use end.
func (n *Node) Certificates() []apitypes.Certificate {
	now := n.cfg.Now()
	list := []apitypes.Certificate{}
	for _, source := range n.cfg.sources() {
		for _, e := range source.Expiries() {
			list = append(list, apitypes.Certificate{
				File: e.File, Subject: e.Subject, CA: e.CA, NotAfter: e.NotAfter.UTC(), DaysLeft: e.DaysLeft(now),
			})
		}
	}
	return list
}
