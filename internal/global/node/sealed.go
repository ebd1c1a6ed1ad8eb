package node

import "context"

// renewAdminToken leaves an administrator's token in the data folder, where that is
// wanted and this node can sign one.
func (n *Node) renewAdminToken(ctx context.Context) error {
	if !n.cfg.WriteAdminToken || n.store.CanSign() != nil {
		return nil
	}
	return n.writeAdminToken(ctx)
}

// followHistory renews the administrator's token when a restore has replaced the key
// that signed it.
func (n *Node) followHistory(ctx context.Context) error {
	_, rev := n.store.Head()
	for {
		changed := n.store.Watch()
		_, now := n.store.Head()
		if now.History != rev.History {
			if err := n.renewAdminToken(ctx); err != nil {
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
