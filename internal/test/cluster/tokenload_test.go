package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// tokenLoad issues tokens of zones at all members, has the zones verify them, and revokes
// them, until it is ended.
type tokenLoad struct {
	c      *nodes
	zones  []*zoneLoad
	all    sync.WaitGroup
	cancel context.CancelFunc
}

// zoneLoad is that of one zone: a token that stays good, and those whose revocation was
// acknowledged, in the order of that, up to where the zone has refused them and from there on.
type zoneLoad struct {
	z      *zoneProcess
	client *http.Client
	good   string

	mu               sync.Mutex
	refused, pending []string
}

// load begins a load at zones that run.
func (c *nodes) load(zones ...*zoneProcess) *tokenLoad {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &tokenLoad{c: c, cancel: cancel}
	c.t.Cleanup(func() {
		cancel()
		l.all.Wait()
	})
	for _, z := range zones {
		pool, err := tlsutil.LoadPool(z.endpoints(z.dir).CAFile)
		if err != nil {
			c.t.Fatal(err)
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
		zl := &zoneLoad{z: z, client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
		Eventually(c.t, "zone "+z.name+" to accept a token", func() bool {
			if zl.good == "" {
				zl.good = c.issue(ctx, rand.IntN(len(c.all)), z.name)
			}
			return zl.good != "" && zl.ask(ctx, zl.good) == http.StatusOK
		})
		l.zones = append(l.zones, zl)
		l.all.Go(func() { zl.revoke(ctx) })
		l.all.Go(func() { zl.verify(ctx) })
	}
	return l
}

// issue has a member issue a token of a zone; "" where it does not.
func (c *nodes) issue(ctx context.Context, at int, zone string) string {
	e, err := endpoints.Read(c.all[at].dir)
	if err != nil {
		return ""
	}
	body, err := json.Marshal(apitypes.ZoneTokenRequest{Zone: zone, Scope: []string{"egress"}, ValidFor: "24h"})
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.API+"/tokens/zone", bytes.NewReader(body))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	token, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(bytes.TrimSpace(token))
}

// ask has the zone verify a token, and returns the status; 0 where it does not answer.
func (zl *zoneLoad) ask(ctx context.Context, token string) int {
	e, err := endpoints.Read(zl.z.dir)
	if err != nil {
		return 0
	}
	body, err := json.Marshal(apitypes.AuthenticateRequest{Token: token, ProxyType: "egress"})
	if err != nil {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+e.DP+"/v1/authenticate", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := zl.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection is used again
	return resp.StatusCode
}

// pause is between two attempts of a client.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// revoke issues tokens at one member and revokes them at the next one. A new token is
// valid at once, wherever the zone stands.
func (zl *zoneLoad) revoke(ctx context.Context) {
	c := zl.z.of
	for at := 0; ctx.Err() == nil; at++ {
		pause(ctx)
		token := c.issue(ctx, at%len(c.all), zl.z.name)
		if token == "" {
			continue
		}
		if status := zl.ask(ctx, token); status != 0 && status != http.StatusOK {
			c.t.Errorf("zone %s answers %d to a token that was just issued", zl.z.name, status)
			return
		}
		if c.all[(at+1)%len(c.all)].post(revocationID(c.t, token)) {
			zl.mu.Lock()
			zl.pending = append(zl.pending, token)
			zl.mu.Unlock()
		}
	}
}

// verify asks about the good token, the next one that is revoked, and one that was refused.
func (zl *zoneLoad) verify(ctx context.Context) {
	t := zl.z.of.t
	for ; ctx.Err() == nil; pause(ctx) {
		if status := zl.ask(ctx, zl.good); status != 0 && status != http.StatusOK {
			t.Errorf("zone %s answers %d to a good token", zl.z.name, status)
			return
		}
		next, former := zl.pick()
		if former != "" && zl.ask(ctx, former) == http.StatusOK {
			t.Errorf("zone %s accepts a token that it had revoked", zl.z.name)
			return
		}
		if next != "" && zl.ask(ctx, next) == http.StatusUnauthorized {
			zl.mu.Lock()
			zl.refused, zl.pending = append(zl.refused, next), zl.pending[1:]
			zl.mu.Unlock()
		}
	}
}

// pick returns the next token that the zone is to refuse, and one that it has refused.
func (zl *zoneLoad) pick() (next, former string) {
	zl.mu.Lock()
	defer zl.mu.Unlock()
	if len(zl.pending) > 0 {
		next = zl.pending[0]
	}
	if n := len(zl.refused); n > 0 {
		former = zl.refused[rand.IntN(n)]
	}
	return next, former
}

// counts are how many revocations the zone has, and how many were acknowledged.
func (zl *zoneLoad) counts() (refused, acknowledged int) {
	zl.mu.Lock()
	defer zl.mu.Unlock()
	return len(zl.refused), len(zl.refused) + len(zl.pending)
}

// goesOn waits until each zone has refused some tokens whose revocation was acknowledged
// from now on.
func (l *tokenLoad) goesOn(when string) {
	l.c.t.Helper()
	for _, zl := range l.zones {
		_, before := zl.counts()
		Eventually(l.c.t, "zone "+zl.z.name+" to refuse what is revoked, "+when, func() bool {
			refused, _ := zl.counts()
			return refused > before+3
		})
	}
}

// end ends the load, wants everything refused that was acknowledged, and returns its ids.
func (l *tokenLoad) end() (ids []string) {
	l.c.t.Helper()
	l.cancel()
	l.all.Wait()
	for _, zl := range l.zones {
		zl.holds()
		for _, token := range append(zl.refused, zl.pending...) {
			ids = append(ids, revocationID(l.c.t, token))
		}
		l.c.t.Logf("zone %s: %d revocations acknowledged, %d refused under load", zl.z.name, len(zl.refused)+len(zl.pending), len(zl.refused))
	}
	return ids
}

// holds wants the zone to refuse everything whose revocation was acknowledged, and to accept
// the good token, once the load has ended.
func (zl *zoneLoad) holds() {
	t := zl.z.of.t
	t.Helper()
	Eventually(t, "zone "+zl.z.name+" to accept the good token", func() bool {
		return zl.ask(context.Background(), zl.good) == http.StatusOK
	})
	for _, token := range append(zl.refused, zl.pending...) {
		Eventually(t, "zone "+zl.z.name+" to refuse all that is revoked", func() bool {
			return zl.ask(context.Background(), token) == http.StatusUnauthorized
		})
	}
	zl.client.CloseIdleConnections()
}

// revocationID is what a token is revoked by.
func revocationID(t testing.TB, token string) string {
	parsed, err := cptoken.Parse(token)
	if err != nil {
		t.Errorf("an issued token: %v", err)
		return ""
	}
	return parsed.RevocationID()
}
