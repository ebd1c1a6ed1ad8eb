package node

import (
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
)

// openKeyring joins the cluster's keys and those of this node's own settings.
func (n *Node) openKeyring() (err error) {
	n.keyring, err = keyring.New(keyring.Config{
		Source: keySource{n.store}, Settings: n.cfg.Authn, Reload: n.cfg.ReloadAuthn,
		Logger: n.cfg.Logger.With("component", "authn"),
		Replaced: func() {
			select {
			case n.rekeyed <- struct{}{}:
			default: // it is told already
			}
		},
	})
	return err
}

// notIssued are the kinds of tokens that the settings have this node refuse to issue.
func (c *Config) notIssued() (kinds []cptoken.Kind) {
	if !c.Authn.Authn.ZoneProxy.ZoneToken.Issues() {
		kinds = append(kinds, cptoken.Zone)
	}
	if !c.Authn.Authn.DPProxy.DPToken.Issues() {
		kinds = append(kinds, cptoken.Dataplane)
	}
	return kinds
}
