package cluster

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
)

// TestANodeThatLacksASealKey: after a rotation a node comes back with the old seal key
// alone. It runs and says so, is not ready, signs nothing and admits no zone; with the
// new key it is as before.
func TestANodeThatLacksASealKey(t *testing.T) {
	g := StartGlobal(t, quiet)
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	token := g.ZoneToken("west", cptoken.ScopeEgress)
	g.Stop()
	west.Stop()
	seal, node := filepath.Join(g.Dir, "seal.key"), filepath.Join(g.Dir, "node.json")
	read := func(path string) []byte {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, identity := read(seal), read(node)
	fresh, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	write(seal, append(fresh, old...))
	g.Start()
	if done, err := g.Node.Store().Reseal(context.Background(), operator); err != nil || done.Keys != 4 {
		t.Fatalf("rotated %+v: %v", done, err)
	}
	if status(t, g) != http.StatusOK {
		t.Error("not ready with both seal keys")
	}
	g.Stop()

	write(seal, old)
	write(node, identity) // of a node that was down during the rotation
	g.Start()
	if status(t, g) != http.StatusServiceUnavailable {
		t.Error("ready without the seal key")
	}
	if _, err := g.Node.Store().Signer(cptoken.Zone, ""); federation.AsError(err).Reason != "sealed" {
		t.Errorf("signer: %v", err)
	}
	if lacks := g.Node.Store().Sealing(); len(lacks.Unopened) != 4 || len(lacks.MissingKeys) != 1 {
		t.Errorf("sealing %+v", lacks)
	}
	west.globals = []string{g.KDS()}
	west.Start()
	Eventually(t, "west to be turned away", func() bool { return west.Node.Link().LastError != "" })
	if west.Node.Link().Connected {
		t.Error("west is connected")
	}
	west.Expect("a token meanwhile", token, "egress", Accepted)
	g.Stop()

	write(seal, append(fresh, old...))
	g.Start()
	if status(t, g) != http.StatusOK {
		t.Error("not ready with the seal key back")
	}
	west.Stop()
	west.globals = []string{g.KDS()}
	west.Start()
	west.WaitFor(revoke(t, g, token))
	west.Expect("a token that was revoked since", token, "egress", Refused("revoked"))
}

// status is what a global's readiness probe answers.
func status(t *testing.T, g *Global) int {
	t.Helper()
	resp, err := http.Get("http://" + g.Node.Endpoints().Diagnostics + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
