package node

import (
	"crypto/tls"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// sources are all TLS material of the zone that may be replaced while it runs.
func (c *Config) sources() []*tlsutil.Source {
	list := []*tlsutil.Source{c.DPTLS}
	if c.GlobalTLS != nil {
		list = append(list, c.GlobalTLS)
	}
	return list
}

// globalTLS returns how to speak TLS to the global from now on: with one of its nodes,
// of the cluster of the certificate or the CA, else of the first one that answers.
func (c *Config) globalTLS() func() *tls.Config {
	if c.GlobalTLS == nil {
		return demanding(tlsutil.Expect(tlsutil.RoleNode, "", ""), func() *tls.Config { return tlsutil.Client(nil) })
	}
	return demanding(tlsutil.Expect(tlsutil.RoleNode, c.GlobalTLS.Current().Cluster(), ""), c.GlobalTLS.Client)
}

func demanding(e *tlsutil.Expectation, client func() *tls.Config) func() *tls.Config {
	return func() *tls.Config {
		config := client()
		config.VerifyConnection = e.Verify
		return config
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
