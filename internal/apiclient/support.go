package apiclient

import (
	"context"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// LogLevel tells what the log of the member that is asked writes.
func (g *Global) LogLevel(ctx context.Context) (apitypes.LogLevel, error) { return g.c.logLevel(ctx) }

// SetLogLevel sets it.
func (g *Global) SetLogLevel(ctx context.Context, r apitypes.LogLevelRequest) (apitypes.LogLevel, error) {
	return g.c.setLogLevel(ctx, r)
}

// LogLevel tells what the zone's log writes.
func (z *Zone) LogLevel(ctx context.Context) (apitypes.LogLevel, error) { return z.c.logLevel(ctx) }

// SetLogLevel sets it.
func (z *Zone) SetLogLevel(ctx context.Context, r apitypes.LogLevelRequest) (apitypes.LogLevel, error) {
	return z.c.setLogLevel(ctx, r)
}

func (c *client) logLevel(ctx context.Context) (apitypes.LogLevel, error) {
	return get[apitypes.LogLevel](ctx, c, "the level of the log", nil, "v1", "log-level")
}

func (c *client) setLogLevel(ctx context.Context, r apitypes.LogLevelRequest) (apitypes.LogLevel, error) {
	return change[apitypes.LogLevel](ctx, c, r, "v1", "log-level")
}

// AcceptXDS lets go what a part of the zone's folder of resources held whose files are gone.
func (z *Zone) AcceptXDS(ctx context.Context, digest string) (apitypes.XDSAccept, error) {
	return change[apitypes.XDSAccept](ctx, z.c, apitypes.XDSAccept{Digest: digest}, "v1", "xds", "accept")
}
