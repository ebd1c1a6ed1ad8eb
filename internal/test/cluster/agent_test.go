package cluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/tokenfile"
	"github.com/meridiankds/meridian/internal/zone/agent"
	"github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/raftstore"
)

const backendResource = `type: Dataplane
mesh: default
name: backend-1
networking:
  address: 127.0.0.1
  inbound:
  - {port: 18080, servicePort: 8080, tags: {kuma.io/service: backend}}
`

// dataplaneToken issues a token for backend-1.
func (g *Global) dataplaneToken(validFor time.Duration) string {
	g.t.Helper()
	return g.Issue(cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Name: "backend-1"}, validFor)
}

// agent returns an agent of the zone's for backend-1, whose token is in the file,
// and what it prints and logs.
func (z *Zone) agent(t *testing.T, tokenFile string) (a *agent.Agent, out, log *journal) {
	t.Helper()
	out, log = &journal{}, &journal{}
	r, err := resource.ParseFile([]byte(backendResource))
	if err != nil {
		t.Fatal(err)
	}
	e := z.Node.Endpoints()
	a, err = agent.New(agent.Config{
		Addresses: []string{"https://" + e.DP}, CAFile: e.CAFile, Resource: r, Kind: r.Kind, Mesh: r.Mesh, Name: r.Name,
		Token:  func() (string, error) { return tokenfile.Read(tokenFile, nil) },
		Output: agent.NewPrinter(out, false), Version: "test", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, out, log
}

func writeToken(t *testing.T, path, token string) {
	t.Helper()
	for _, err := range []error{os.WriteFile(path+".new", []byte(token+"\n"), 0o600), os.Rename(path+".new", path)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestAgentAtAZone has an agent configured by a real zone, rotates its token
// without a gap, and revokes what it shows in the end.
func TestAgentAtAZone(t *testing.T) {
	zoneLog := &journal{}
	g := StartGlobal(t, slog.New(slog.NewTextHandler(zoneLog, nil)))
	z := g.StartZone("west", g.KDS())
	z.WaitCurrent(g)
	first, second := g.dataplaneToken(time.Hour), g.dataplaneToken(2*time.Hour)
	file := filepath.Join(t.TempDir(), "token")
	writeToken(t, file, first)
	a, out, log := z.agent(t, file)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.RunADS(ctx) }()
	// A new user sees something real: a listener for the inbound, a cluster behind.
	Eventually(t, "the listener", func() bool { return out.Has("portValue: 18080") && out.Has("portValue: 8080") })
	shown := func(token string) int {
		id, err := cptoken.Inspect(token)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range z.Node.Proxies().Proxies() {
			if c.Admission.TokenID == id.RevocationID() {
				n++
			}
		}
		return n
	}
	if shown(first) != 1 {
		t.Errorf("%d connections with the token", shown(first))
	}
	// From the moment that the file is replaced there is a connection at any time.
	stop, gaps := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				gaps <- n
				return
			default:
				if len(z.Node.Proxies().Proxies()) == 0 {
					n++
				}
			}
		}
	}()
	writeToken(t, file, second)
	Eventually(t, "the connection with the new token alone", func() bool { return shown(second) == 1 && shown(first) == 0 })
	close(stop)
	if n := <-gaps; n > 0 {
		t.Errorf("the proxy was not connected at %d looks", n)
	}
	parsed, err := cptoken.Inspect(second)
	if err != nil {
		t.Fatal(err)
	}
	ids := []cptoken.RevokedID{{ID: parsed.RevocationID(), Expires: parsed.Claims.ExpiresAt.Unix()}}
	if _, err := g.Node.Store().Revoke(context.Background(), raftstore.Origin{By: "test"}, cptoken.Dataplane, "default", ids, "lost"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if e := federation.AsError(err); e == nil || e.Reason != "revoked" {
			t.Errorf("the agent ended with %+v", e)
		}
	case <-time.After(Patience):
		t.Fatal("the agent goes on with a revoked token")
	}
	for _, token := range []string{first, second} {
		for _, j := range []*journal{out, log, zoneLog} {
			if j.Has(token) {
				t.Error("a token was printed or logged")
			}
		}
	}
	if !zoneLog.Has("reason=revoked") || !strings.Contains(log.String(), "connected with the new token") {
		t.Errorf("the logs do not tell: %s", log)
	}
}
