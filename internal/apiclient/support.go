package apiclient

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

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

// SupportDump has the member that is asked make an archive for a maintainer; the caller
// reads and closes it.
func (g *Global) SupportDump(ctx context.Context, subjects bool) (io.ReadCloser, error) {
	return g.c.supportDump(ctx, subjects)
}

// SupportDump has the zone make an archive for a maintainer, as [Global.SupportDump] does.
func (z *Zone) SupportDump(ctx context.Context, subjects bool) (io.ReadCloser, error) {
	return z.c.supportDump(ctx, subjects)
}

func (c *client) supportDump(ctx context.Context, subjects bool) (io.ReadCloser, error) {
	resp, err := c.stream(ctx, call{
		method: http.MethodGet, path: []string{"v1", "support-dump"}, query: url.Values{"subjects": {strconv.FormatBool(subjects)}},
	})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
