package main

import (
	"context"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// startAccepting starts a lone global, and a zone with further flags that accepts an egress:
// question is how that is asked.
func (s *scope) startAccepting(ctx context.Context, flags ...string) (c *cluster, z *zone, question apitypes.AuthenticateRequest, err error) {
	if c, err = s.startCluster(ctx, 1); err != nil {
		return nil, nil, question, err
	}
	if z, err = c.startZone(ctx, "west", flags...); err != nil {
		return nil, nil, question, err
	}
	if question, err = c.egressQuestion(ctx); err != nil {
		return nil, nil, question, err
	}
	if err := z.accepts(ctx, question); err != nil {
		return nil, nil, question, z.failure(err)
	}
	return c, z, question, nil
}
