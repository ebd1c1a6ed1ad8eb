package client

import (
	"context"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/kds"
)

// reportKeySets tells the member which key sets were fetched at this zone: when the
// stream is held, and when there is news.
func (l *link) reportKeySets(ctx context.Context, sets kds.KeySets) {
	for {
		changed := sets.Changed()
		if uses := kds.FormatKeySets(sets.Uses()); uses != "" {
			m := &discovery.DeltaDiscoveryRequest{
				TypeUrl: kds.KeySetsType, InitialResourceVersions: map[string]string{kds.VersionKeySets: uses},
			}
			if l.acks.say(m) != nil {
				return // the stream is over, and says why to who receives
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
