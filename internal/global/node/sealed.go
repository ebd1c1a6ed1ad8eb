package node

import (
	"cmp"
	"context"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/admission"
	"github.com/meridiankds/meridian/internal/metrics"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/raftstore"
)

// The gate must not hide what the Authenticator can do beside admitting.
var _ kds.Judge = sealedGate{}

// sealedGate admits no zone while this member lacks a seal key: it could not verify
// every control plane token, and the zone finds a member that can. It judges open
// sessions as the Authenticator does.
type sealedGate struct {
	*admission.Authenticator
	store    *raftstore.Store
	verified metrics.Counter
}

// Authenticate implements kds.Authenticator.
func (g sealedGate) Authenticate(ctx context.Context, c kds.Credentials) (kds.Admission, error) {
	if err := g.store.CanSign(); err != nil {
		return kds.Admission{}, err
	}
	a, err := g.Authenticator.Authenticate(ctx, c)
	switch {
	case err != nil:
		e := federation.AsError(err)
		g.verified.Add(string(cptoken.ControlPlane), cmp.Or(e.Reason, string(e.Code)))
	case a.Authenticated:
		g.verified.Add(string(cptoken.ControlPlane), "accepted")
	}
	return a, err
}

// renewAdminToken leaves an administrator's token in the data folder, where that is
// wanted and this node can sign one.
func (n *Node) renewAdminToken() error {
	if !n.cfg.WriteAdminToken || n.store.CanSign() != nil {
		return nil
	}
	return n.writeAdminToken()
}

// followHistory renews the administrator's token when a restore has replaced the key
// that signed it.
func (n *Node) followHistory(ctx context.Context) error {
	_, rev := n.store.Head()
	for {
		changed := n.store.Watch()
		_, now := n.store.Head()
		if now.History != rev.History {
			if err := n.renewAdminToken(); err != nil {
				n.cfg.Logger.Warn("no new administrator's token was written", "error", err)
			}
		}
		rev = now
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
