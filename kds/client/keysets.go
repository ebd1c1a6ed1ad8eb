package client

import (
	"context"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/kds"
)

// reportEvery is how often the zone looks whether there is news of the sessions that are
// open with the tokens of each key: they come and go all the time.
const reportEvery = 15 * time.Second

// reportKeySets tells the member which key sets were fetched at this zone, and how many
// sessions each key has here: when the stream is held, and when there is news.
func (l *link) reportKeySets(ctx context.Context, sets kds.KeySets) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	last := ""
	for {
		changed := sets.Changed()
		uses := sets.Uses()
		if text := kds.FormatKeySets(uses); text != last {
			last = text
			m := &discovery.DeltaDiscoveryRequest{
				TypeUrl: kds.KeySetsType, InitialResourceVersions: kds.ReportKeySets(uses),
			}
			if l.acks.say(m) != nil {
				return // the stream is over, and says why to who receives
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
