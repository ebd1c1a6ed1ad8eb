package apiclient

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

const (
	// continueTimeout is how long a node may think before the backup is sent; it
	// refuses before that what it will not take.
	continueTimeout = 10 * time.Second
	// restoreTimeout is how long a node may take for a backup that it has.
	restoreTimeout = 12 * time.Minute
)

// SaveSnapshot returns a backup as it comes from the node; the caller reads and
// closes it, and must see its end before trusting it. stale takes the state of any
// member, which may be older than the leader's.
func (g *Global) SaveSnapshot(ctx context.Context, stale bool) (io.ReadCloser, error) {
	q := call{method: http.MethodGet, path: []string{"v1", "snapshot"}}
	if stale {
		q.query = url.Values{"stale": {"true"}}
	}
	resp, err := g.c.stream(ctx, q)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// RestoreSnapshot sends a backup and waits until it is the state of the cluster.
func (g *Global) RestoreSnapshot(ctx context.Context, backup *Upload, how apitypes.Restore) (apitypes.RestoreResult, error) {
	var done apitypes.RestoreResult
	query := url.Values{"force": {strconv.FormatBool(how.Force)}}
	if how.Cluster != "" {
		query.Set("cluster", how.Cluster)
	}
	if how.ClusterSecret != 0 {
		query.Set("clusterSecret", strconv.FormatUint(uint64(how.ClusterSecret), 10))
	}
	q := call{
		method: http.MethodPost, path: []string{"v1", "snapshot", "restore"},
		query: query, upload: backup, changes: true,
	}
	resp, err := g.c.stream(ctx, q)
	if err != nil {
		return done, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
	if err != nil {
		return done, g.c.failure(err, true, resp.Request)
	}
	return done, g.c.decode(data, &done)
}

// Seal tells how the node stands with the seal keys.
func (g *Global) Seal(ctx context.Context) (apitypes.Seal, error) {
	return get[apitypes.Seal](ctx, g.c, "the state of the seal keys", nil, "v1", "seal")
}

// RotateSeal seals every signing key anew.
func (g *Global) RotateSeal(ctx context.Context) (apitypes.SealRotation, error) {
	return change[apitypes.SealRotation](ctx, g.c, nil, "v1", "seal", "rotate")
}

// RotateSecret makes a new generation of the cluster secret.
func (g *Global) RotateSecret(ctx context.Context) (apitypes.SecretRotation, error) {
	return change[apitypes.SecretRotation](ctx, g.c, nil, "v1", "seal", "rotate-cluster-secret")
}

// stream sends a request without a bound on its duration, and returns an answer of
// status 2xx, whose body is still to be read.
func (c *client) stream(ctx context.Context, q call) (resp *http.Response, err error) {
	err = c.again(ctx, q, func(q call) error {
		resp, err = c.streamOnce(ctx, q)
		return err
	})
	return resp, err
}

func (c *client) streamOnce(ctx context.Context, q call) (*http.Response, error) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		sent.Store(info.Err == nil)
	}})
	req, err := c.request(ctx, q)
	if err != nil {
		return nil, err
	}
	patient := *c.http
	if t, ok := c.http.Transport.(*http.Transport); ok {
		t = t.Clone()
		t.ResponseHeaderTimeout, t.ExpectContinueTimeout = restoreTimeout, continueTimeout
		t.DisableKeepAlives = true // this transport is for one request
		patient.Transport = t
	}
	if q.upload != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := patient.Do(req)
	if err != nil {
		return nil, c.failure(err, q.changes && sent.Load(), req)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
	if err != nil {
		return nil, c.failure(err, q.changes, req)
	}
	return nil, c.refusal(q, answer{resp.StatusCode, resp.Header, data})
}

// BrokenOff says that a backup ended before its end.
func (g *Global) BrokenOff(err error) error {
	return federation.Errorf(federation.Unavailable, "the backup from the global at %s did not come to its end: %w", g.c.target, err).
		WithHint("run the command again")
}
