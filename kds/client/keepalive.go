package client

import (
	"context"
	"strconv"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/kds"
)

// saidBy is how often a member wants something said on the stream; 0 where it does not care,
// or says what no operator may ask for.
func saidBy(header metadata.MD) time.Duration {
	ms, err := strconv.ParseUint(one(header, kds.MDStreamKeepalive), 10, 32)
	every := time.Duration(ms) * time.Millisecond
	if err != nil || (kds.Keepalive{Stream: every}).Validate() != nil {
		return 0
	}
	return every
}

// keepAlive says something on the stream each interval, which the member answers: so that
// something passes in both directions through a balancer that counts messages.
func (l *link) keepAlive(ctx context.Context) {
	ticker := time.NewTicker(l.said)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if l.acks.say(&discovery.DeltaDiscoveryRequest{TypeUrl: kds.KeepaliveType}) != nil {
			return // the stream is over, and says why to who receives
		}
	}
}
