package node

import (
	"context"
	"time"
)

// judgeEvery is how often open sessions are judged though nothing changed: the
// time passes, and a connection without a stream has no other deadline.
const judgeEvery = time.Minute

// judgeSessions ends the KDS sessions of zones whose token was revoked, cut off or
// signed with a key that is removed, and of zones that were disabled or deleted,
// as soon as this member has applied it. Changes that come while sessions are
// judged are taken together by the next round.
func (n *Node) judgeSessions(ctx context.Context) error {
	ticker := time.NewTicker(judgeEvery)
	defer ticker.Stop()
	for {
		changed := n.store.WatchAdmission()
		n.kds.Recheck(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-n.rekeyed:
		case <-ticker.C:
		}
	}
}
