package node

import "github.com/meridiankds/meridian/internal/apitypes"

// certificates tells operators when the certificates in use end.
func (n *Node) certificates() []apitypes.Certificate {
	now := n.cfg.Now()
	list := []apitypes.Certificate{}
	for _, e := range n.cfg.TLS.Expiries() {
		list = append(list, apitypes.Certificate{
			File: e.File, Subject: e.Subject, CA: e.CA, NotAfter: e.NotAfter.UTC(), DaysLeft: e.DaysLeft(now),
		})
	}
	return list
}
