package main

import (
	"context"
	"fmt"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// sessionCut revokes the tokens of zones one after the other, and measures from the
// write that is asked for until the zone's connection is gone. All others must stay.
// Then the same for proxies at a zone.
func sessionCut(ctx context.Context, s *scope) error {
	n, cuts := s.pick(200, 20), s.pick(100, 5)
	g, err := s.startGlobal(ctx, "global", false)
	if err != nil {
		return err
	}
	z, err := s.startZones(ctx, "zone", g, n, g.ends.CAFile, "")
	if err != nil {
		return err
	}
	if _, err := z.connect(ctx); err != nil {
		return err
	}
	if err := z.settle(ctx, federation.Revision{}); err != nil {
		return err
	}
	began, err := ask[[]link](ctx, z.child, "connected", none{})
	if err != nil {
		return err
	}
	var took []time.Duration
	for i := range cuts {
		c, err := ask[committed](ctx, g.child, "revoke", revocation{Token: z.join.Zones[i].Token})
		if err != nil {
			return err
		}
		var now []link
		err = until(ctx, "the session to end", func() (bool, error) {
			now, err = ask[[]link](ctx, z.child, "connected", none{})
			return err == nil && !now[i].Connected, err
		})
		if err != nil {
			return err
		}
		took = append(took, time.Duration(now[i].Since-c.Asked))
		if now[i].Reason == "" {
			return fmt.Errorf("zone %d was not told why", i)
		}
		for other := range now {
			if other > i && (!now[other].Connected || now[other].Since != began[other].Since) {
				return fmt.Errorf("the session of zone %d ended with that of zone %d", other, i)
			}
			if other < i && now[other].Connected {
				return fmt.Errorf("zone %d is connected again with a revoked token", other)
			}
		}
	}
	err = s.report.add(
		measured("session-cut", ms(percentile(took, 99)), "ms"),
		measured("session-cut/p50", ms(median(took)), "ms"),
	)
	if err != nil {
		return err
	}
	return sessionCutZone(ctx, s)
}
