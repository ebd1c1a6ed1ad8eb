package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// zone is one process of `zone server`.
type zone struct {
	*process
	dir     string
	proxies *apiclient.Proxies
	again   func() (*process, error) // starts it once more
}

// startZone starts a real zone that knows every member's address; more are further flags.
func (c *cluster) startZone(ctx context.Context, name string, more ...string) (*zone, error) {
	issued, err := c.members[0].api.ControlPlaneToken(ctx, apitypes.ControlPlaneTokenRequest{Zone: name})
	if err != nil {
		return nil, err
	}
	z := &zone{dir: filepath.Join(c.dir, name)}
	token := filepath.Join(c.dir, name+".token")
	if err := os.WriteFile(token, []byte(issued.Token), 0o600); err != nil {
		return nil, fmt.Errorf("keeping a token: %w", err)
	}
	args := []string{"server", "--zone", name, "--cp-token-file", token, "--ca-file", filepath.Join(c.trust, "ca.crt"),
		"--data-dir", z.dir, "--dp-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0"}
	for _, m := range c.members {
		args = append(args, "--global-address", m.ends.KDS)
	}
	args = append(args, more...)
	if c.profiles != "" {
		args = append(args, "--pprof")
	}
	z.again = func() (*process, error) { return c.start(name, c.program("zone", args...)) }
	if z.process, err = z.again(); err != nil {
		return nil, err
	}
	return z, z.failure(z.await(ctx))
}

func (z *zone) await(ctx context.Context) error {
	return until(ctx, "the zone to listen", func() (bool, error) {
		target, err := apiclient.Resolve(apiclient.ProxyPort(), apiclient.Flags{DataDir: z.dir}, os.Getenv, nil)
		if err != nil {
			return false, err
		}
		z.proxies, err = apiclient.NewProxies(target, agent)
		return err == nil, err
	})
}

// accepts waits until the zone accepts a token, which takes its keys.
func (z *zone) accepts(ctx context.Context, question apitypes.AuthenticateRequest) error {
	return until(ctx, "the zone to accept a token", func() (bool, error) {
		_, err := z.proxies.Authenticate(ctx, question)
		return err == nil, err
	})
}

// egressQuestion is what a proxy of zone west asks it, with a token of its own.
func (c *cluster) egressQuestion(ctx context.Context) (apitypes.AuthenticateRequest, error) {
	issued, err := c.members[0].api.ZoneToken(ctx, apitypes.ZoneTokenRequest{Zone: "west", Scope: []string{"egress"}})
	return apitypes.AuthenticateRequest{Token: issued.Token, ProxyType: "egress"}, err
}

// revokeBulk revokes n new ids in one request.
func revokeBulk(ctx context.Context, api *apiclient.Global, n int) error {
	var ids strings.Builder
	for range n {
		ids.WriteString(uuid.NewString())
		ids.WriteByte('\n')
	}
	text := ids.String()
	result, err := api.RevokeBulk(ctx, apiclient.Bulk{Kind: "zone-token", Reason: agent, IDs: &apiclient.Upload{From: strings.NewReader(text), Size: int64(len(text))}})
	if err == nil && result.Revision == "" {
		err = fmt.Errorf("the revocation came to %+v", result)
	}
	return err
}
