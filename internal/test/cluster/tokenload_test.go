package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// tokenLoad issues tokens of zones at all members, has the zones verify them, and revokes
// them, until it is ended. It finds members and zones by what they write into their
// directories, so that they may come and go, and their disks go back.
type tokenLoad struct {
	t       *testing.T
	globals []string // their directories
	zones   []*zoneLoad
	all     sync.WaitGroup
	cancel  context.CancelFunc
}

// zoneLoad is that of one zone: a token that stays good, and those whose revocation was
// acknowledged, in the order of that, up to where the zone has refused them and from there on.
type zoneLoad struct {
	of        *tokenLoad
	name, dir string
	client    *http.Client
	good      string

	writing sync.Mutex // held from asking for a revocation until the answer is entered

	mu               sync.Mutex
	refused, pending []string
	forgot           int // how often the zone's disk went back
}

// zoneAt is a zone's name, its directory, and the file of the CA that it made.
type zoneAt struct{ name, dir, caFile string }

// newTokenLoad begins a load at zones and members that run.
func newTokenLoad(t *testing.T, globals []string, zones ...zoneAt) *tokenLoad {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &tokenLoad{t: t, globals: globals, cancel: cancel}
	t.Cleanup(func() {
		cancel()
		l.all.Wait()
	})
	for _, z := range zones {
		pool, err := tlsutil.LoadPool(z.caFile)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
		zl := &zoneLoad{of: l, name: z.name, dir: z.dir, client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
		Eventually(t, "zone "+z.name+" to accept a token", func() bool {
			if zl.good == "" {
				zl.good = issueAt(ctx, globals[rand.IntN(len(globals))], z.name)
			}
			return zl.good != "" && zl.ask(ctx, zl.good) == http.StatusOK
		})
		l.zones = append(l.zones, zl)
		l.all.Go(func() { zl.revoke(ctx) })
		l.all.Go(func() { zl.verify(ctx) })
	}
	return l
}

// load begins a load at zones that run.
func (c *nodes) load(zones ...*zoneProcess) *tokenLoad {
	c.t.Helper()
	var globals []string
	for _, m := range c.all {
		globals = append(globals, m.dir)
	}
	var at []zoneAt
	for _, z := range zones {
		at = append(at, zoneAt{z.name, z.dir, z.endpoints(z.dir).CAFile})
	}
	return newTokenLoad(c.t, globals, at...)
}

// loadOn begins a load at a zone and members of this process.
func loadOn(t *testing.T, z *Zone, members ...*Global) *tokenLoad {
	t.Helper()
	var globals []string
	for _, g := range members {
		globals = append(globals, g.Dir)
	}
	return newTokenLoad(t, globals, zoneAt{z.Name, z.Dir, z.Node.Endpoints().CAFile})
}

// issueAt has the member of a directory issue a token of a zone; "" where it does not.
func issueAt(ctx context.Context, dir, zone string) string {
	e, err := endpoints.Read(dir)
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
	e, err := endpoints.Read(zl.dir)
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
	t, globals := zl.of.t, zl.of.globals
	for at := 0; ctx.Err() == nil; at++ {
		pause(ctx)
		token := issueAt(ctx, globals[at%len(globals)], zl.name)
		if token == "" {
			continue
		}
		if status := zl.ask(ctx, token); status != 0 && status != http.StatusOK {
			t.Errorf("zone %s answers %d to a token that was just issued", zl.name, status)
			return
		}
		zl.writing.Lock()
		if postRevocation(globals[(at+1)%len(globals)], revocationID(t, token)) {
			zl.mu.Lock()
			zl.pending = append(zl.pending, token)
			zl.mu.Unlock()
		}
		zl.writing.Unlock()
	}
}

// verify asks about the good token, those that are to be refused next, and one that was
// refused.
func (zl *zoneLoad) verify(ctx context.Context) {
	t := zl.of.t
	for ; ctx.Err() == nil; pause(ctx) {
		if status := zl.ask(ctx, zl.good); status != 0 && status != http.StatusOK {
			t.Errorf("zone %s answers %d to a good token", zl.name, status)
			return
		}
		_, former, forgot := zl.pick()
		if former != "" && zl.ask(ctx, former) == http.StatusOK && !zl.hasForgotten(forgot) {
			t.Errorf("zone %s accepts a token that it had revoked", zl.name)
			return
		}
		for ctx.Err() == nil {
			next, _, forgot := zl.pick()
			if next == "" || zl.ask(ctx, next) != http.StatusUnauthorized || !zl.refuses(next, forgot) {
				break
			}
		}
	}
}

// pick returns the next token that the zone is to refuse, one that it has refused, and how
// often its disk went back until now.
func (zl *zoneLoad) pick() (next, former string, forgot int) {
	zl.mu.Lock()
	defer zl.mu.Unlock()
	if len(zl.pending) > 0 {
		next = zl.pending[0]
	}
	if n := len(zl.refused); n > 0 {
		former = zl.refused[rand.IntN(n)]
	}
	return next, former, zl.forgot
}

// refuses enters that the zone refused the next token, unless its disk went back meanwhile.
func (zl *zoneLoad) refuses(next string, forgot int) bool {
	zl.mu.Lock()
	defer zl.mu.Unlock()
	if forgot != zl.forgot || len(zl.pending) == 0 || zl.pending[0] != next {
		return false
	}
	zl.refused, zl.pending = append(zl.refused, next), zl.pending[1:]
	return true
}

func (zl *zoneLoad) hasForgotten(since int) bool {
	zl.mu.Lock()
	defer zl.mu.Unlock()
	return zl.forgot != since
}

// membersGoBack is told that the disks of the members go back, all of which have ended. What
// was acknowledged and a zone does not have nobody has any more; what it has it goes on
// refusing.
func (l *tokenLoad) membersGoBack() {
	l.t.Helper()
	for _, zl := range l.zones {
		zl.writing.Lock()
		_, _, forgot := zl.pick()
		lost := 0
		for next, _, _ := zl.pick(); next != ""; next, _, _ = zl.pick() {
			status := 0
			Eventually(l.t, "zone "+zl.name+" to answer", func() bool {
				status = zl.ask(context.Background(), next)
				return status != 0
			})
			if status == http.StatusUnauthorized {
				zl.refuses(next, forgot)
				continue
			}
			zl.mu.Lock()
			if len(zl.pending) > 0 && zl.pending[0] == next {
				zl.pending = zl.pending[1:]
				lost++
			}
			zl.mu.Unlock()
		}
		refused, _ := zl.counts()
		l.t.Logf("the members' disks go back; zone %s has %d of their revocations, and lacks %d", zl.name, refused, lost)
		zl.writing.Unlock()
	}
}

// zonesGoBack is told that the disks of the zones go back, which have ended: they are to
// be told of everything anew.
func (l *tokenLoad) zonesGoBack() {
	for _, zl := range l.zones {
		zl.mu.Lock()
		zl.refused, zl.pending = nil, append(zl.refused, zl.pending...)
		zl.forgot++
		zl.mu.Unlock()
	}
}

// zoneIsKilled is told that a zone was killed, and what its file has. A zone refuses before
// it writes, and acknowledges afterwards: of what it refused the file may lack the last, which
// the zone is to be told of once more, and nothing before that.
func (l *tokenLoad) zoneIsKilled(name string, onDisk func(token string) bool) {
	l.t.Helper()
	for _, zl := range l.zones {
		if zl.name != name {
			continue
		}
		zl.mu.Lock()
		kept := len(zl.refused)
		for kept > 0 && !onDisk(zl.refused[kept-1]) {
			kept--
		}
		for _, token := range zl.refused[:kept] {
			if !onDisk(token) {
				l.t.Errorf("zone %s refused %s, and later ones, and its file lacks it", name, revocationID(l.t, token))
			}
		}
		zl.refused, zl.pending = zl.refused[:kept:kept], append(slices.Clone(zl.refused[kept:]), zl.pending...)
		zl.forgot++
		zl.mu.Unlock()
	}
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
	l.t.Helper()
	for _, zl := range l.zones {
		_, before := zl.counts()
		Eventually(l.t, "zone "+zl.name+" to refuse what is revoked, "+when, func() bool {
			refused, _ := zl.counts()
			return refused > before+3
		})
	}
}

// end ends the load, wants everything refused that was acknowledged, and returns its ids.
func (l *tokenLoad) end() (ids []string) {
	l.t.Helper()
	l.cancel()
	l.all.Wait()
	for _, zl := range l.zones {
		zl.holds()
		for _, token := range append(zl.refused, zl.pending...) {
			ids = append(ids, revocationID(l.t, token))
		}
		l.t.Logf("zone %s: %d revocations acknowledged, %d refused under load", zl.name, len(zl.refused)+len(zl.pending), len(zl.refused))
	}
	return ids
}

// holds wants the zone to refuse everything whose revocation was acknowledged, and to accept
// the good token, once the load has ended.
func (zl *zoneLoad) holds() {
	t := zl.of.t
	t.Helper()
	Eventually(t, "zone "+zl.name+" to accept the good token", func() bool {
		return zl.ask(context.Background(), zl.good) == http.StatusOK
	})
	for _, token := range append(zl.refused, zl.pending...) {
		Eventually(t, "zone "+zl.name+" to refuse all that is revoked", func() bool {
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
