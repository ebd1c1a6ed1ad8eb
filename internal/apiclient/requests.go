package apiclient

import (
	"context"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// Request tells what became of the request with an id.
func (g *Global) Request(ctx context.Context, id string) (apitypes.RequestOutcome, error) {
	return get[apitypes.RequestOutcome](ctx, g.c, "request "+id, nil, "v1", "requests", id)
}
